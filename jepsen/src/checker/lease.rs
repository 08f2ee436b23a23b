//! Was a lease held by one holder at a time?
//!
//! Applies to asynchronous clusters, where nothing but the lease keeps the old primary from acknowledging.
//! In a quorum cluster a failover waits for no lease, by design: there `epoch` judges.
//!
//! A lease may end before its time: a holder that is seen fenced under a newer epoch has given it up.

use std::collections::BTreeMap;

use crate::history::{Call, Durability, Lease, Operation, Setup};

use super::{Evidence, Verdict};

/// Judges `lease`: the times in which it was surely held.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let mut leases: Vec<(&Call, &Lease)> = calls
        .iter()
        .filter_map(|call| match &call.operation {
            Operation::Lease(lease) => Some((call, lease)),
            _ => None,
        })
        .collect();
    if leases.is_empty() || setup.durability == Durability::Quorum {
        return None;
    }
    leases.sort_by_key(|(_, lease)| lease.from);
    let given_up = |lease: &Lease| {
        let fenced = calls.iter().filter(|call| match &call.operation {
            Operation::Fence(fence) => fence.node == lease.holder && fence.epoch > lease.epoch,
            _ => false,
        });
        fenced.map(|call| call.invoked_at.0).min()
    };
    let end = |lease: &Lease| lease.until.min(given_up(lease).unwrap_or(u64::MAX));
    let mut held: BTreeMap<&str, (&Call, &Lease)> = BTreeMap::new();
    let mut evidence = vec![];
    for (call, lease) in leases {
        let others = held.values().filter(|(_, it)| it.holder != lease.holder);
        for (other_call, other) in others.filter(|(_, it)| end(it) > lease.from) {
            let shared = end(other).min(lease.until).saturating_sub(lease.from);
            evidence.push(Evidence {
                anomaly: "overlapping-leases",
                detail: format!(
                    "{} (epoch {}) and {} (epoch {}) held the lease together for {} ms",
                    other.holder,
                    other.epoch,
                    lease.holder,
                    lease.epoch,
                    shared / 1_000_000
                ),
                events: vec![other_call.shown(), call.shown()],
            });
        }
        let longest = held.entry(&lease.holder).or_insert((call, lease));
        if longest.1.until < lease.until {
            *longest = (call, lease);
        }
    }
    Some(Verdict::of(evidence))
}
