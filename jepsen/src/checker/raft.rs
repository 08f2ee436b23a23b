//! Do the peers keep what they promised each other?
//!
//! At most one leader in a term, and no peer's term ever falls, power cuts included. Its committed and applied index
//! do not fall either, as long as it answers: what is committed is volatile in Raft (Ongaro and Ousterhout 2014, fig. 2),
//! so a peer that was restarted may know less until a leader tells it. After openraft's own list
//! (`tests-turmoil/README.md` there), as far as it can be seen from outside.

use std::collections::BTreeMap;

use crate::history::{Call, Operation, Outcome, PeerState, Setup};

use super::{Evidence, Verdict};

/// A number that only grows, if the peer tells it.
type Part = fn(&PeerState) -> Option<u64>;

/// What a peer forgets when it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Durable,
    Volatile,
}

/// Judges what peers said of themselves.
pub fn check(calls: &[Call], _: &Setup) -> Option<Verdict> {
    let looks: Vec<(&Call, &PeerState)> = calls
        .iter()
        .filter_map(|call| match &call.operation {
            Operation::Peer(state) if call.outcome == Outcome::Ok => Some((call, state)),
            _ => None,
        })
        .collect();
    if looks.is_empty() {
        return None;
    }
    let mut evidence = leaders(&looks);
    let parts: [(&'static str, Memory, Part); 3] = [
        ("term-fell", Memory::Durable, |state| Some(state.term)),
        ("committed-fell", Memory::Volatile, |state| state.committed),
        ("applied-fell", Memory::Volatile, |state| state.applied),
    ];
    let silences: Vec<(&Call, &str)> = calls
        .iter()
        .filter_map(|call| match &call.operation {
            Operation::Peer(state) if call.outcome == Outcome::Failed => {
                Some((call, state.peer.as_str()))
            }
            _ => None,
        })
        .collect();
    for (anomaly, memory, part) in parts {
        let forgets = match memory {
            Memory::Durable => &[],
            Memory::Volatile => silences.as_slice(),
        };
        evidence.extend(fell(anomaly, part, &looks, forgets));
    }
    Some(Verdict::of(evidence))
}

fn leaders(looks: &[(&Call, &PeerState)]) -> Vec<Evidence> {
    let mut first: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for (call, state) in looks.iter().filter(|(_, state)| state.leads) {
        let key = (state.term, state.peer.as_str());
        first.entry(key).or_insert(call.shown());
    }
    let first: Vec<_> = first.into_iter().collect();
    first
        .windows(2)
        .filter(|pair| pair[0].0.0 == pair[1].0.0)
        .map(|pair| Evidence {
            anomaly: "two-leaders",
            detail: format!(
                "{} and {} led in term {}",
                pair[0].0.1, pair[1].0.1, pair[0].0.0
            ),
            events: vec![pair[0].1, pair[1].1],
        })
        .collect()
}

/// The first fall of each peer, between looks of which one ended before the other began, and without a silence in
/// which it may have forgotten.
fn fell(
    anomaly: &'static str,
    part: Part,
    looks: &[(&Call, &PeerState)],
    silences: &[(&Call, &str)],
) -> Vec<Evidence> {
    // Looks are in the order of invocation; of the earlier ones only the highest that ended counts.
    let mut of_peer: BTreeMap<&str, Vec<(&Call, u64)>> = BTreeMap::new();
    for (call, state) in looks {
        if let Some(value) = part(state) {
            of_peer.entry(&state.peer).or_default().push((call, value));
        }
    }
    of_peer
        .into_iter()
        .filter_map(|(peer, values)| {
            let mut ended = values.clone();
            ended.sort_by_key(|(call, _)| call.shown());
            let mut ended = ended.into_iter().peekable();
            let mut silent = silences.iter().filter(|(_, it)| *it == peer).peekable();
            let mut highest: Option<(&Call, u64)> = None;
            values.into_iter().find_map(|(call, value)| {
                while let Some(before) = ended.next_if(|(it, _)| it.shown() < call.invoked) {
                    while silent
                        .next_if(|(it, _)| it.shown() < before.0.invoked)
                        .is_some()
                    {
                        highest = None;
                    }
                    if highest.is_none_or(|(_, highest)| highest < before.1) {
                        highest = Some(before);
                    }
                }
                while silent
                    .next_if(|(it, _)| it.shown() < call.invoked)
                    .is_some()
                {
                    highest = None;
                }
                let (before, was) = highest.filter(|(_, was)| value < *was)?;
                Some(Evidence {
                    anomaly,
                    detail: format!("{peer} went from {was} back to {value}"),
                    events: vec![before.shown(), call.shown()],
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::history::{Event, History, Phase, Process};

    /// The anomalies of looks at one peer: term and applied index, or silence.
    fn check(looks: &[Option<(u64, u64)>], expected: &[&str]) {
        let events = looks.iter().enumerate().flat_map(|(number, told)| {
            let event = |phase, index, (term, applied)| Event {
                index,
                phase,
                process: Process::Client(1),
                operation: Operation::Peer(PeerState {
                    peer: "p1".to_owned(),
                    term,
                    leads: false,
                    committed: None,
                    applied: Some(applied),
                }),
                time: Moment(index),
                answerer: None,
                session: None,
                error: None,
            };
            let index = 2 * number as u64;
            let end = match told {
                Some(told) => event(Phase::Ok, index + 1, *told),
                None => event(Phase::Fail, index + 1, (0, 0)),
            };
            [event(Phase::Invoke, index, (0, 0)), end]
        });
        let history = History::indexed(events.collect()).unwrap();
        let verdict = super::check(&history.calls().unwrap(), &Setup::default()).unwrap();
        assert_eq!(verdict.anomalies(), expected, "{looks:?}");
    }

    #[test]
    fn a_restart_may_forget_what_was_committed_and_never_the_term() {
        check(&[Some((2, 18)), Some((2, 17))], &["applied-fell"]);
        check(&[Some((2, 18)), None, Some((2, 17)), Some((3, 19))], &[]);
        check(&[Some((2, 18)), None, Some((1, 18))], &["term-fell"]);
        let later = [Some((2, 18)), None, Some((2, 17)), Some((2, 16))];
        check(&later, &["applied-fell"]);
    }
}
