//! Does a fenced node stay fenced?
//!
//! From the acknowledgement of a fence until the node is let go under a higher epoch, no write that
//! begins there may be acknowledged, over whichever session. What is acknowledged only after that proves
//! nothing: it may have waited until the node was let go. And what a node has promised it never forgets: the
//! epochs that it names only grow.

use std::collections::BTreeMap;

use crate::history::{Call, Operation, Setup};

use super::resumed::Resumed;
use super::{Evidence, Verdict};

/// Judges acknowledged writes against `fence` and `unfence`.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let fenced = fenced(calls);
    let mut evidence = forgotten(calls);
    if fenced.is_empty() && evidence.is_empty() {
        return None;
    }
    let resumed = Resumed::of(calls, setup);
    for call in calls.iter().filter(|call| call.operation.is_write()) {
        let (Some(end), Some(answerer)) = (call.acknowledged(), &call.answerer) else {
            continue;
        };
        if resumed.excuses(answerer, end) {
            continue;
        }
        let periods = fenced.get(answerer.node.as_str()).into_iter().flatten();
        let hit = periods.into_iter().find(|period| {
            period.from < call.invoked && period.until.is_none_or(|until| end.index < until)
        });
        if let Some(period) = hit {
            evidence.push(Evidence {
                anomaly: "write-while-fenced",
                detail: format!(
                    "{} acknowledged a write although it had promised epoch {}",
                    answerer.node, period.epoch
                ),
                events: vec![period.from, call.invoked, end.index],
            });
        }
    }
    Some(Verdict::of(evidence))
}

/// The first fall of the epoch that each node names when it is seen fenced or with a lease.
fn forgotten(calls: &[Call]) -> Vec<Evidence> {
    let mut highest: BTreeMap<&str, (u64, &Call)> = BTreeMap::new();
    let mut evidence: BTreeMap<&str, Evidence> = BTreeMap::new();
    for call in calls {
        let (node, epoch) = match &call.operation {
            Operation::Fence(fence) => (fence.node.as_str(), fence.epoch),
            Operation::Lease(lease) => (lease.holder.as_str(), lease.epoch),
            _ => continue,
        };
        let (before, shown) = *highest.entry(node).or_insert((epoch, call));
        if epoch >= before {
            highest.insert(node, (epoch, call));
            continue;
        }
        evidence.entry(node).or_insert_with(|| Evidence {
            anomaly: "promise-forgotten",
            detail: format!("{node} names epoch {epoch} after it had promised {before}"),
            events: vec![shown.shown(), call.shown()],
        });
    }
    evidence.into_values().collect()
}

/// A time in which a node is fenced, in indices.
struct Period {
    epoch: u64,
    from: u64,
    until: Option<u64>,
}

fn fenced(calls: &[Call]) -> BTreeMap<&str, Vec<Period>> {
    let mut found: BTreeMap<&str, Vec<Period>> = BTreeMap::new();
    for call in calls {
        match &call.operation {
            Operation::Fence(fence) => found.entry(&fence.node).or_default().push(Period {
                epoch: fence.epoch,
                from: call.shown(),
                until: None,
            }),
            Operation::Unfence(fence) => {
                let periods = found.entry(&fence.node).or_default();
                // Only a higher epoch lets go, or the same one in which it was elected itself.
                for period in periods.iter_mut().filter(|it| it.epoch <= fence.epoch) {
                    period.until.get_or_insert(call.invoked);
                }
            }
            _ => {}
        }
    }
    found.retain(|_, periods| !periods.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::history::{Answerer, Event, Fence, History, Phase, Process};

    #[test]
    fn a_write_that_waits_until_the_node_is_let_go_is_none_of_a_fenced_node() {
        let event = |index, phase, process, operation| Event {
            index,
            phase,
            process,
            operation,
            time: Moment(index),
            answerer: (phase == Phase::Ok).then(|| Answerer {
                node: "c".to_owned(),
                timeline: Some(4),
            }),
            session: None,
            error: None,
        };
        let remark = |index, operation| {
            let observer = Process::Named("observer".to_owned());
            event(index, Phase::Info, observer, operation)
        };
        let fence = || Fence {
            node: "c".to_owned(),
            epoch: 2,
        };
        let add = |index, phase| event(index, phase, Process::Client(1), Operation::Add(1));
        let check = |acknowledged, let_go, expected: &[&str]| {
            let mut events = vec![
                remark(0, Operation::Fence(fence())),
                add(1, Phase::Invoke),
                add(acknowledged, Phase::Ok),
                remark(let_go, Operation::Unfence(fence())),
            ];
            events.sort_by_key(|event| event.index);
            let calls = History::indexed(events).unwrap().calls().unwrap();
            let verdict = super::check(&calls, &Setup::default()).unwrap();
            assert_eq!(verdict.anomalies(), expected);
        };
        check(3, 2, &[]);
        check(2, 3, &["write-while-fenced"]);
    }
}
