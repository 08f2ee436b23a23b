//! What the evidence of a round says: pure.

use std::time::Duration;

use jepsen::checker::{self, Evidence, Verdict};
use jepsen::history::Call;

use super::plan::RoundPlan;
use super::round::Taken;
use crate::nemesis::coverage;
use crate::report::Ruling;

/// What is said about one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// By checker.
    pub verdicts: Vec<(&'static str, Verdict)>,
    /// Why it proves too little: the harness, or faults that did not happen.
    pub troubles: Vec<String>,
}

impl Judgement {
    /// A round that did not take place.
    pub fn failed(why: String) -> Judgement {
        Judgement {
            verdicts: vec![],
            troubles: vec![why],
        }
    }

    /// For people: all of it.
    pub fn text(&self) -> String {
        let verdicts = self.verdicts.iter();
        let verdicts = verdicts.map(|(name, verdict)| format!("{name:<16} {verdict}\n"));
        let troubles = self.troubles.iter().map(|why| format!("harness: {why}\n"));
        verdicts.chain(troubles).collect()
    }

    /// The worst of it.
    pub fn ruling(&self) -> Ruling {
        let of_verdict = |(_, verdict): &(&str, Verdict)| match verdict {
            Verdict::Valid => Ruling::Valid,
            Verdict::Unknown(_) => Ruling::Unknown,
            Verdict::Invalid(_) => Ruling::Violation,
        };
        let of_harness = if self.troubles.is_empty() {
            Ruling::Valid
        } else {
            Ruling::Unknown
        };
        let all = self.verdicts.iter().map(of_verdict);
        all.fold(of_harness, Ruling::max)
    }
}

/// Judges a round by all checkers, and by what must be so after it.
pub fn judge(taken: &Taken, plan: &RoundPlan) -> Judgement {
    let mut troubles = taken.troubles.clone();
    let required: Vec<_> = plan.strikes.iter().map(|strike| strike.fault).collect();
    let uncovered = coverage::check(&required, &taken.records);
    troubles.extend(uncovered.iter().map(ToString::to_string));
    let (judged, calls) = match (checker::judge(&taken.history), taken.history.calls()) {
        (Ok(judged), Ok(calls)) => (judged, calls),
        (Err(error), _) | (_, Err(error)) => {
            troubles.push(format!("the history contradicts itself: {error}"));
            (vec![], vec![])
        }
    };
    let mut verdicts = judged;
    let within = plan.expectations().healed_within;
    verdicts.push(("healing", healing(taken, &calls, within)));
    let names: Vec<_> = verdicts.iter().map(|(name, _)| *name).collect();
    // Without these a round shows nothing, whatever the others say.
    for name in ["set", "append", "bank", "epoch"] {
        if !names.contains(&name) {
            troubles.push(format!("{name} found nothing to judge"));
        }
    }
    Judgement { verdicts, troubles }
}

/// `within` the last fault's healing every member streams again, and clients in every zone can write.
fn healing(taken: &Taken, calls: &[Call], within: Duration) -> Verdict {
    let healed = match &taken.healed {
        Ok(healed) => *healed,
        Err(why) => {
            return Verdict::Invalid(vec![Evidence {
                anomaly: "not-healed",
                detail: format!("within {} s: {why}", within.as_secs()),
                events: vec![],
            }]);
        }
    };
    let is_served = |place: &&String| {
        calls.iter().any(|call| {
            call.operation.is_write()
                && call.acknowledged().is_some()
                && call.invoked_at >= healed
                && taken.places.get(&call.process) == Some(*place)
        })
    };
    let unserved: Vec<_> = taken.clients.iter().filter(|it| !is_served(it)).collect();
    if unserved.is_empty() {
        return Verdict::Valid;
    }
    let names: Vec<_> = unserved.iter().map(|name| name.as_str()).collect();
    Verdict::Invalid(vec![Evidence {
        anomaly: "not-served",
        detail: format!(
            "no client of {} could write after healing",
            names.join(", ")
        ),
        events: vec![],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_a_violation_is_worse_than_not_knowing() {
        let check = |verdicts: &[Verdict], troubles: &[&str], expected: Ruling| {
            let judgement = Judgement {
                verdicts: verdicts.iter().map(|it| ("set", it.clone())).collect(),
                troubles: troubles.iter().map(|it| (*it).to_owned()).collect(),
            };
            assert_eq!(judgement.ruling(), expected);
        };
        let unknown = || Verdict::Unknown("why".to_owned());
        check(&[Verdict::Valid], &[], Ruling::Valid);
        check(&[Verdict::Valid], &["too slow"], Ruling::Unknown);
        check(&[Verdict::Valid, unknown()], &[], Ruling::Unknown);
        let invalid = Verdict::Invalid(vec![]);
        check(&[invalid, unknown()], &["too slow"], Ruling::Violation);
        assert_eq!(Ruling::Unknown.code(), 2);
    }
}
