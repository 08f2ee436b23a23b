//! Do linearizable answers form one order?
//!
//! Registers are judged as such. For `primary` and `leader` nobody but the system writes: each value
//! that was seen is a transition of its own that happened at an unknown time, in the order of epochs or
//! terms, and within one from nobody to somebody.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{
    Call, Consistency, Operation, Outcome, Register, RegisterAction, Setup, Status,
};

use super::wgl::{self, Entry, Found};
use super::{Evidence, Verdict};

/// More operations on one register are not judged: the search may take for ever.
pub const OPERATIONS_LIMIT: usize = 500;
const STEPS_LIMIT: u64 = 20_000_000;

/// Judges `register`, and `status` with `consistency=linearizable`.
pub fn check(calls: &[Call], _: &Setup) -> Option<Verdict> {
    let (mut registers, mut statuses) = (BTreeMap::new(), BTreeMap::new());
    for call in calls {
        match &call.operation {
            Operation::Register(register) => {
                let of_key: &mut Vec<_> = registers.entry(register.key.as_str()).or_default();
                of_key.push((call, register));
            }
            Operation::Status(status) if status.consistency == Consistency::Linearizable => {
                let of_name: &mut Vec<_> = statuses.entry(status.register.as_str()).or_default();
                of_name.push((call, status));
            }
            _ => {}
        }
    }
    if registers.is_empty() && statuses.is_empty() {
        return None;
    }
    let of_registers = registers
        .iter()
        .map(|(key, calls)| verdict(key, &register_entries(calls), 0, register_step));
    let of_statuses = statuses.iter().map(|(name, calls)| status(name, calls));
    Some(together(of_registers.chain(of_statuses)))
}

/// A violation outweighs what is not known.
fn together(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    let (mut evidence, mut unknown) = (vec![], None);
    for verdict in verdicts {
        match verdict {
            Verdict::Valid => {}
            Verdict::Invalid(more) => evidence.extend(more),
            Verdict::Unknown(why) => unknown = Some(why),
        }
    }
    match (evidence.is_empty(), unknown) {
        (true, Some(why)) => Verdict::Unknown(why),
        (_, _) => Verdict::of(evidence),
    }
}

/// An action and the event that shows it.
type Shown<A> = (A, u64);

fn verdict<S: Clone + Eq + std::hash::Hash, A>(
    name: &str,
    entries: &[Entry<Shown<A>>],
    initial: S,
    step: impl Fn(&S, &A) -> Option<S>,
) -> Verdict {
    if entries.len() > OPERATIONS_LIMIT {
        return Verdict::Unknown(format!(
            "{name} has {} operations; {OPERATIONS_LIMIT} is the limit",
            entries.len()
        ));
    }
    let found = wgl::search(
        entries,
        initial,
        |state, (it, _)| step(state, it),
        STEPS_LIMIT,
    );
    match found {
        Found::Linearizable => Verdict::Valid,
        Found::GivenUp => {
            Verdict::Unknown(format!("{name} was not decided within {STEPS_LIMIT} steps"))
        }
        Found::Not { stuck } => Verdict::Invalid(vec![Evidence {
            anomaly: "not-linearizable",
            detail: format!("no order of the operations on {name} explains what was answered"),
            events: vec![entries[stuck].action.1],
        }]),
    }
}

/// What surely or possibly happened to a register.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// It held this.
    Read(i64),
    /// It was set.
    Write(i64),
    /// It was compared; whether it was set is known or not.
    Cas(i64, i64, Option<bool>),
}

/// What an action makes of a register.
pub fn register_step(state: &i64, action: &Action) -> Option<i64> {
    match *action {
        Action::Read(value) => (value == *state).then_some(value),
        Action::Write(value) => Some(value),
        Action::Cas(from, to, done) => {
            let does = from == *state;
            let is_possible = done.is_none_or(|done| done == does);
            is_possible.then_some(if does { to } else { *state })
        }
    }
}

fn register_entries(calls: &[(&Call, &Register)]) -> Vec<Entry<Shown<Action>>> {
    let entries = calls.iter().filter_map(|(call, register)| {
        let action = match (register.action, call.outcome) {
            (RegisterAction::Read(Some(value)), Outcome::Ok) => Action::Read(value),
            // What read nothing, or wrote nothing, says nothing.
            (RegisterAction::Read(_), _) | (RegisterAction::Write(_), Outcome::Failed) => {
                return None;
            }
            (RegisterAction::Write(value), Outcome::Ok | Outcome::Unknown) => Action::Write(value),
            (RegisterAction::Cas(from, to), outcome) => Action::Cas(
                from,
                to,
                match outcome {
                    Outcome::Ok => Some(true),
                    Outcome::Failed => Some(false),
                    Outcome::Unknown => None,
                },
            ),
        };
        Some(Entry {
            invoked: call.invoked,
            returned: call.completed.map(|it| it.index),
            action: (action, call.shown()),
        })
    });
    entries.collect()
}

/// What happened to a status: values by their place in the only order they can have had.
#[derive(Debug, Clone, Copy)]
enum Change {
    Seen(usize),
    To(usize),
}

fn status(name: &str, calls: &[(&Call, &Status)]) -> Verdict {
    let seen: Vec<(&Call, (u64, Option<&str>))> = calls
        .iter()
        .filter(|(call, _)| call.outcome == Outcome::Ok)
        .filter_map(|(call, status)| Some((*call, (status.number?, status.holder.as_deref()))))
        .collect();
    let values: BTreeSet<_> = seen.iter().map(|(_, value)| *value).collect();
    let values: Vec<_> = values.into_iter().collect();
    if let Some(two) = two_holders(name, &values, &seen) {
        return Verdict::Invalid(vec![two]);
    }
    // Place 0 is whatever was before the first that was seen.
    let place = |value| values.iter().position(|it| *it == value).unwrap_or(0) + 1;
    let transitions = (1..=values.len()).map(|to| Entry {
        invoked: 0,
        returned: None,
        action: (Change::To(to), 0),
    });
    let answers = seen.iter().map(|(call, value)| Entry {
        invoked: call.invoked,
        returned: call.completed.map(|it| it.index),
        action: (Change::Seen(place(*value)), call.shown()),
    });
    let entries: Vec<_> = transitions.chain(answers).collect();
    verdict(name, &entries, 0, |state, change| match *change {
        Change::Seen(value) => (value == *state).then_some(value),
        Change::To(value) => (value == *state + 1).then_some(value),
    })
}

fn two_holders(
    name: &str,
    values: &[(u64, Option<&str>)],
    seen: &[(&Call, (u64, Option<&str>))],
) -> Option<Evidence> {
    let pair = values
        .windows(2)
        .find(|pair| pair[0].0 == pair[1].0 && pair[0].1.is_some() && pair[1].1.is_some())?;
    let shown = pair.iter().filter_map(|value| {
        let (call, _) = seen.iter().find(|(_, it)| it == value)?;
        Some(call.shown())
    });
    Some(Evidence {
        anomaly: "two-holders",
        detail: format!(
            "{name} of {} was {} and {}",
            pair[0].0,
            pair[0].1.unwrap_or_default(),
            pair[1].1.unwrap_or_default()
        ),
        events: shown.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Event, History, Phase, Process};

    #[test]
    fn more_operations_than_the_limit_are_not_judged() {
        let check = |count: u64, expected: bool| {
            let write = Operation::Register(Register {
                key: "x".to_owned(),
                action: RegisterAction::Write(1),
            });
            let events = (0..count * 2).map(|index| Event {
                index,
                phase: if index % 2 == 0 {
                    Phase::Invoke
                } else {
                    Phase::Ok
                },
                process: Process::Client(0),
                operation: write.clone(),
                time: crate::clock::Moment(index),
                answerer: None,
                session: None,
                error: None,
            });
            let history = History::indexed(events.collect()).unwrap();
            let verdict = super::check(&history.calls().unwrap(), &Setup::default()).unwrap();
            assert_eq!(verdict == Verdict::Valid, expected, "{count}: {verdict}");
        };
        check(500, true);
        check(501, false);
    }
}
