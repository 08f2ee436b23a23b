//! Is every acknowledged value there, once, and nothing else?
//!
//! Judged is the last read of each node. What was acknowledged before it must be in it exactly once;
//! what failed must not; what is unknown may or may not. In an asynchronous cluster acknowledgements may
//! be lost around a fault, but only as the tail of what a node acknowledged on its timeline: nothing
//! that began after a lost acknowledgement there may have survived.

use std::collections::BTreeMap;

use crate::history::{Call, Durability, Operation, Outcome, Setup};

use super::lost::{Faults, Survivors};
use super::{Evidence, Verdict, many};

/// Judges `add` and `read`.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let adds: BTreeMap<i64, &Call> = calls
        .iter()
        .filter_map(|call| match call.operation {
            Operation::Add(value) => Some((value, call)),
            _ => None,
        })
        .collect();
    let reads = last_reads(calls);
    if adds.is_empty() && reads.is_empty() {
        return None;
    }
    if reads.is_empty() {
        return Some(Verdict::Unknown("the set was never read".to_owned()));
    }
    let mut evidence = vec![];
    for read in &reads {
        evidence.extend(repeated(read));
        evidence.extend(phantoms(read, &adds));
        let lost: Vec<(i64, &Call)> = adds
            .iter()
            .filter(|(value, add)| !read.found.contains_key(value) && is_promised(add, read.call))
            .map(|(value, add)| (*value, *add))
            .collect();
        match setup.durability {
            Durability::Quorum => {
                let what = format!("acknowledged values are missing at {}", read.node);
                evidence.extend(gone("lost", &what, &lost));
            }
            Durability::Async => {
                evidence.extend(out_of_order(read, &adds, &lost));
                evidence.extend(without_a_fault(read, calls, setup, &lost));
            }
        }
    }
    evidence.extend(diverged(&reads));
    Some(Verdict::of(evidence))
}

/// The last read of a node.
struct Read<'a> {
    node: &'a str,
    call: &'a Call,
    /// How often each value is there.
    found: BTreeMap<i64, usize>,
}

fn last_reads(calls: &[Call]) -> Vec<Read<'_>> {
    let mut last: BTreeMap<&str, Read<'_>> = BTreeMap::new();
    for call in calls {
        let Operation::Read(Some(values)) = &call.operation else {
            continue;
        };
        if call.outcome != Outcome::Ok {
            continue;
        }
        let node = call.answerer.as_ref().map_or("the primary", |it| &it.node);
        let mut found = BTreeMap::new();
        for value in values {
            *found.entry(*value).or_default() += 1;
        }
        last.insert(node, Read { node, call, found });
    }
    let mut reads: Vec<_> = last.into_values().collect();
    reads.sort_by_key(|read| read.call.invoked);
    reads
}

/// Whether the read must show the value.
fn is_promised(add: &Call, read: &Call) -> bool {
    add.acknowledged().is_some() && add.precedes(read)
}

fn repeated(read: &Read<'_>) -> Option<Evidence> {
    let values: Vec<i64> = read
        .found
        .iter()
        .filter_map(|(value, times)| (*times > 1).then_some(*value))
        .collect();
    let what = format!("values are there more than once at {}", read.node);
    many("doubled", &what, &values, [read.call.shown()])
}

fn phantoms(read: &Read<'_>, adds: &BTreeMap<i64, &Call>) -> Option<Evidence> {
    let is_phantom = |value: &i64| {
        adds.get(value)
            .is_none_or(|add| add.outcome == Outcome::Failed)
    };
    let values: Vec<i64> = read.found.keys().copied().filter(is_phantom).collect();
    let what = format!("values that were never added are there at {}", read.node);
    many("phantom", &what, &values, [read.call.shown()])
}

fn gone(anomaly: &'static str, what: &str, lost: &[(i64, &Call)]) -> Option<Evidence> {
    let values: Vec<i64> = lost.iter().map(|(value, _)| *value).collect();
    let events = lost.iter().map(|(_, add)| add.shown());
    many(anomaly, what, &values, events)
}

/// Lost although something that began later on the same timeline of the same node survived.
fn out_of_order(
    read: &Read<'_>,
    adds: &BTreeMap<i64, &Call>,
    lost: &[(i64, &Call)],
) -> Option<Evidence> {
    let mut survivors = Survivors::default();
    for (value, add) in adds {
        if read.found.contains_key(value) {
            survivors.add(add);
        }
    }
    let wrong = lost.iter().filter(|(_, add)| survivors.outlive(add));
    let wrong: Vec<_> = wrong.copied().collect();
    let what = format!("lost values are older than survivors at {}", read.node);
    gone("lost-not-the-tail", &what, &wrong)
}

/// Lost although no fault began before its acknowledgement or soon after, or although its timeline is the
/// one that was read: nothing cut that off.
fn without_a_fault(
    read: &Read<'_>,
    calls: &[Call],
    setup: &Setup,
    lost: &[(i64, &Call)],
) -> Option<Evidence> {
    let faults = Faults::of(calls, setup);
    let timeline = |call: &Call| call.answerer.as_ref().and_then(|it| it.timeline);
    let is_excused = |add: &Call| {
        let is_cut_off = timeline(read.call).is_none() || timeline(read.call) != timeline(add);
        is_cut_off && faults.explain(add)
    };
    let wrong: Vec<_> = lost
        .iter()
        .filter(|(_, add)| !is_excused(add))
        .copied()
        .collect();
    let what = format!(
        "values were lost at {} without a fault within {} ms",
        read.node, setup.lag_ms
    );
    gone("lost-without-fault", &what, &wrong)
}

/// What a node showed must be at every node that was read later.
fn diverged(reads: &[Read<'_>]) -> Option<Evidence> {
    for (position, later) in reads.iter().enumerate() {
        for earlier in reads[..position]
            .iter()
            .filter(|it| it.call.precedes(later.call))
        {
            let values: Vec<i64> = earlier
                .found
                .keys()
                .copied()
                .filter(|value| !later.found.contains_key(value))
                .collect();
            let what = format!(
                "values are there at {} and not at {}",
                earlier.node, later.node
            );
            let events = [earlier.call.shown(), later.call.shown()];
            if let Some(found) = many("diverged", &what, &values, events) {
                return Some(found);
            }
        }
    }
    None
}
