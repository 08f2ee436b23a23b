//! Are list-append transactions strictly serializable?
//!
//! After Adya's phenomena as Elle finds them (Kingsbury and Alvaro, 2020): the longest read of a key says
//! in which order its elements were appended, that order says who depends on whom, and a cycle of
//! dependencies is an anomaly. `reads` finds what single reads prove, `order` the versions, `edges` the
//! dependencies, `cycles` the cycles. Real time takes part as a chain of barriers.
//!
//! Where reads are not strict, a transaction that only reads may see data as old as the setup allows: what
//! ended less long ago is not "before" it.
//!
//! An asynchronous cluster may lose the tail of an old primary (`tail`): that is as if it never was.
//!
//! A lost tail is invisible without a read of every key in the end: the workload forces one, and a key
//! that was appended to and never read afterwards makes the verdict unknown.

mod cycles;
mod edges;
mod graph;
mod order;
mod reads;
mod tail;

use std::collections::BTreeMap;

use crate::history::{Call, Durability, MicroOperation, Operation, Outcome, Setup};

use super::{Verdict, few};
use order::Orders;

/// A transaction that was committed, or may have been.
struct Transaction<'a> {
    call: &'a Call,
    micro: &'a [MicroOperation],
}

impl Transaction<'_> {
    fn is_committed(&self) -> bool {
        self.call.outcome == Outcome::Ok
    }

    /// What was read from the list of each key, with the key; nothing of what may not have happened.
    fn reads(&self) -> impl Iterator<Item = (i64, &Vec<i64>)> {
        let micro = if self.is_committed() { self.micro } else { &[] };
        micro.iter().filter_map(|micro| match micro {
            MicroOperation::Read { key, list } => Some((*key, list.as_ref()?)),
            MicroOperation::Append { .. } => None,
        })
    }

    fn appends(&self) -> impl Iterator<Item = (i64, i64)> {
        self.micro.iter().filter_map(|micro| match micro {
            MicroOperation::Append { key, element } => Some((*key, *element)),
            MicroOperation::Read { .. } => None,
        })
    }
}

/// Judges `txn`.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let verdict = anomalies(calls, setup)?;
    match verdict {
        Verdict::Valid => Some(unread(calls)),
        Verdict::Invalid(_) | Verdict::Unknown(_) => Some(verdict),
    }
}

/// The same without asking for final reads: for histories whose keys go on being used.
pub fn anomalies(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let (mut transactions, mut aborted) = (vec![], vec![]);
    for call in calls {
        if let Operation::Transaction(micro) = &call.operation {
            let transaction = Transaction { call, micro };
            match call.outcome {
                Outcome::Ok | Outcome::Unknown => transactions.push(transaction),
                Outcome::Failed => aborted.push(transaction),
            }
        }
    }
    if transactions.is_empty() && aborted.is_empty() {
        return None;
    }
    let mut evidence = vec![];
    if setup.durability == Durability::Async {
        let split = tail::split(transactions, calls, setup);
        transactions = split.kept;
        aborted.extend(split.lost);
        evidence.extend(split.evidence);
    }
    let orders = match Orders::of(&transactions) {
        Ok((orders, found)) => {
            evidence.extend(found);
            orders
        }
        Err(reason) => return Some(Verdict::Unknown(reason)),
    };
    evidence.extend(reads::check(&transactions, &aborted, &orders));
    let graph = edges::graph(&transactions, &orders, setup.stale_reads_ms);
    evidence.extend(cycles::find(&graph, &transactions));
    Some(Verdict::of(evidence))
}

/// Unknown if an acknowledged append could be lost without anybody seeing it.
fn unread(calls: &[Call]) -> Verdict {
    let mut last_append: BTreeMap<i64, u64> = BTreeMap::new();
    let mut last_read: BTreeMap<i64, u64> = BTreeMap::new();
    for call in calls {
        let (Operation::Transaction(micro), Some(end)) = (&call.operation, call.acknowledged())
        else {
            continue;
        };
        for it in micro {
            match it {
                MicroOperation::Append { key, .. } => {
                    let last = last_append.entry(*key).or_default();
                    *last = end.index.max(*last);
                }
                MicroOperation::Read { key, .. } => {
                    let last = last_read.entry(*key).or_default();
                    *last = call.invoked.max(*last);
                }
            }
        }
    }
    let unread: Vec<i64> = last_append
        .into_iter()
        .filter(|(key, append)| last_read.get(key).is_none_or(|read| read < append))
        .map(|(key, _)| key)
        .collect();
    if unread.is_empty() {
        Verdict::Valid
    } else {
        let keys = few(&unread);
        Verdict::Unknown(format!(
            "keys without a read after their last append: {keys}"
        ))
    }
}
