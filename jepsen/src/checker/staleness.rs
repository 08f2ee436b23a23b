//! Do stale answers keep what little they promise?
//!
//! A client that keeps asking one peer never sees an older epoch or term again, and no answer is older
//! than the bound: what somebody knew that long before the question is known to the answer.

use std::collections::BTreeMap;

use crate::history::{Call, Consistency, Operation, Outcome, Process, Setup, Status};

use super::{Evidence, Verdict};

/// Judges `status` with `consistency=stale`.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let looks: Vec<(&Call, &Status, u64)> = calls
        .iter()
        .filter(|call| call.outcome == Outcome::Ok)
        .filter_map(|call| match &call.operation {
            Operation::Status(status) => Some((call, status, status.number?)),
            _ => None,
        })
        .collect();
    let is_stale = |status: &Status| status.consistency == Consistency::Stale;
    if !looks.iter().any(|(_, status, _)| is_stale(status)) {
        return None;
    }
    let mut evidence = vec![];
    evidence.extend(went_back(&looks));
    evidence.extend(too_old(&looks, setup));
    Some(Verdict::of(evidence))
}

fn went_back(looks: &[(&Call, &Status, u64)]) -> Vec<Evidence> {
    let mut highest: BTreeMap<(&Process, Option<&str>, &str), (&Call, u64)> = BTreeMap::new();
    let mut evidence = vec![];
    for (call, status, number) in looks {
        if status.consistency != Consistency::Stale {
            continue;
        }
        let peer = call.answerer.as_ref().map(|it| it.node.as_str());
        let key = (&call.process, peer, status.register.as_str());
        let (before, was) = *highest.entry(key).or_insert((call, *number));
        if *number < was {
            evidence.push(Evidence {
                anomaly: "stale-went-back",
                detail: format!(
                    "{} went from {was} back to {number} for one client",
                    status.register
                ),
                events: vec![before.shown(), call.shown()],
            });
        } else {
            highest.insert(key, (call, *number));
        }
    }
    evidence
}

fn too_old(looks: &[(&Call, &Status, u64)], setup: &Setup) -> Option<Evidence> {
    let bound = setup.staleness_ms * 1_000_000;
    let mut by_end = looks.to_vec();
    by_end.sort_by_key(|(call, _, _)| call.shown());
    let mut ended = by_end.into_iter().peekable();
    let mut known: BTreeMap<&str, (&Call, u64)> = BTreeMap::new();
    for (call, status, number) in looks {
        let is_old_enough = |end: &Call| {
            end.completed
                .is_some_and(|it| it.time.0 + bound < call.invoked_at.0)
        };
        while let Some((end, told, value)) = ended.next_if(|(end, _, _)| is_old_enough(end)) {
            let newest = known.entry(&told.register).or_insert((end, value));
            if newest.1 < value {
                *newest = (end, value);
            }
        }
        if status.consistency == Consistency::Stale
            && let Some((before, value)) = known.get(status.register.as_str())
            && number < value
        {
            return Some(Evidence {
                anomaly: "too-stale",
                detail: format!(
                    "{} was {number} more than {} ms after {value} was known",
                    status.register, setup.staleness_ms
                ),
                events: vec![before.shown(), call.shown()],
            });
        }
    }
    None
}
