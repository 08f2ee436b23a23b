//! Did every recovery end once, was a known loss never told otherwise, and did every epoch promote at most one instance?

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
    let mut losses: BTreeMap<u64, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut promotions: BTreeMap<u64, BTreeMap<(&str, u64), u64>> = BTreeMap::new();
    for (call, recovery) in &looks {
        let ended = ends.entry(recovery.id).or_default();
        if let Some(outcome) = &recovery.outcome {
            ended.entry(outcome).or_insert(call.shown());
        }
        // Another may be elected until it ends, and what is unknown then may become known.
        let said = recovery.verdict.as_ref();
        let known = said.filter(|it| recovery.outcome.is_some() && !it.starts_with("unknown"));
        if let Some(verdict) = known {
            let told = losses.entry(recovery.id).or_default();
            told.entry(verdict).or_insert(call.shown());
        }
        if let Some(promoted) = &recovery.promoted {
            let of_epoch = promotions.entry(recovery.epoch).or_default();
            let key = (promoted.as_str(), recovery.id);
            of_epoch.entry(key).or_insert(call.shown());
        }
    }
    let mut evidence = vec![];
    evidence.extend(told_twice("two-outcomes", "ended more than once", &ends));
    evidence.extend(told_twice(
        "two-verdicts",
        "lost more than one thing",
        &losses,
    ));
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

/// Recoveries of which more than one thing was told that is told once.
fn told_twice(
    anomaly: &'static str,
    what: &str,
    told: &BTreeMap<u64, BTreeMap<&str, u64>>,
) -> Vec<Evidence> {
    let twice = told.iter().filter(|(_, words)| words.len() > 1);
    let evidence = twice.map(|(id, words)| Evidence {
        anomaly,
        detail: format!(
            "recovery {id} {what}: {}",
            few(&words.keys().collect::<Vec<_>>())
        ),
        events: words.values().copied().collect(),
    });
    evidence.collect()
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
