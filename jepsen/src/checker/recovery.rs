//! Did every recovery end once, and did every epoch promote at most one instance?

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Call, Operation, Recovery, Setup};

use super::{Evidence, Verdict, few};

/// Judges the recoveries as looks at the API showed them.
pub fn check(calls: &[Call], _: &Setup) -> Option<Verdict> {
    let looks: Vec<(&Call, &Recovery)> = calls
        .iter()
        .filter_map(|call| match &call.operation {
            Operation::Recovery(recovery) => Some((call, recovery)),
            _ => None,
        })
        .collect();
    if looks.is_empty() {
        return None;
    }
    let mut ends: BTreeMap<u64, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut promotions: BTreeMap<u64, BTreeMap<(&str, u64), u64>> = BTreeMap::new();
    for (call, recovery) in &looks {
        let ended = ends.entry(recovery.id).or_default();
        if let Some(outcome) = &recovery.outcome {
            ended.entry(outcome).or_insert(call.shown());
        }
        if let Some(promoted) = &recovery.promoted {
            let of_epoch = promotions.entry(recovery.epoch).or_default();
            let key = (promoted.as_str(), recovery.id);
            of_epoch.entry(key).or_insert(call.shown());
        }
    }
    let mut evidence = vec![];
    for (id, outcomes) in ends.iter().filter(|(_, outcomes)| outcomes.len() > 1) {
        let words: Vec<_> = outcomes.keys().collect();
        evidence.push(Evidence {
            anomaly: "two-outcomes",
            detail: format!("recovery {id} ended more than once: {}", few(&words)),
            events: outcomes.values().copied().collect(),
        });
    }
    for (epoch, promoted) in promotions.iter().filter(|(_, promoted)| promoted.len() > 1) {
        let words: Vec<_> = promoted
            .keys()
            .map(|(instance, id)| format!("{instance} by recovery {id}"))
            .collect();
        evidence.push(Evidence {
            anomaly: "two-promotions",
            detail: format!("epoch {epoch} promoted more than once: {}", few(&words)),
            events: promoted.values().copied().collect(),
        });
    }
    evidence.extend(reopened(&looks));
    if !evidence.is_empty() {
        return Some(Verdict::Invalid(evidence));
    }
    let open: BTreeSet<u64> = ends
        .iter()
        .filter_map(|(id, outcomes)| outcomes.is_empty().then_some(*id))
        .collect();
    if open.is_empty() {
        return Some(Verdict::Valid);
    }
    let open: Vec<u64> = open.into_iter().collect();
    Some(Verdict::Unknown(format!(
        "recoveries without an outcome: {}",
        few(&open)
    )))
}

/// A recovery that ended does not run again.
fn reopened(looks: &[(&Call, &Recovery)]) -> Option<Evidence> {
    let mut ended: BTreeMap<u64, &Call> = BTreeMap::new();
    for (call, recovery) in looks {
        match (&recovery.outcome, ended.get(&recovery.id)) {
            (None, Some(before)) if before.shown() < call.invoked => {
                return Some(Evidence {
                    anomaly: "reopened",
                    detail: format!("recovery {} ran again after its end", recovery.id),
                    events: vec![before.shown(), call.shown()],
                });
            }
            (Some(_), None) => {
                ended.insert(recovery.id, call);
            }
            (None | Some(_), _) => {}
        }
    }
    None
}
