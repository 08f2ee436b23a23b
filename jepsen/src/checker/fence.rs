//! Does a fenced node stay fenced?
//!
//! From the acknowledgement of a fence until the node is let go under a higher epoch, no write that
//! begins there may be acknowledged, over whichever session.

use std::collections::BTreeMap;

use crate::history::{Call, Operation, Setup};

use super::{Evidence, Verdict};

/// Judges acknowledged writes against `fence` and `unfence`.
pub fn check(calls: &[Call], _: &Setup) -> Option<Verdict> {
    let fenced = fenced(calls);
    if fenced.is_empty() {
        return None;
    }
    let mut evidence = vec![];
    for call in calls.iter().filter(|call| call.operation.is_write()) {
        let (Some(end), Some(answerer)) = (call.acknowledged(), &call.answerer) else {
            continue;
        };
        let periods = fenced.get(answerer.node.as_str()).into_iter().flatten();
        let hit = periods.into_iter().find(|period| {
            period.from < call.invoked && period.until.is_none_or(|until| call.invoked < until)
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
