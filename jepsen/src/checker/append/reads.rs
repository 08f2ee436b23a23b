//! What single transactions prove, without any order.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::history::MicroOperation;

use super::super::{Evidence, few};
use super::Transaction;
use super::order::Orders;

/// Every anomaly that a read shows by itself.
pub(super) fn check(
    transactions: &[Transaction<'_>],
    aborted: &[Transaction<'_>],
    orders: &Orders,
) -> Vec<Evidence> {
    let failed: HashMap<(i64, i64), u64> = aborted
        .iter()
        .flat_map(|it| it.appends().map(|append| (append, it.call.shown())))
        .collect();
    let intermediate = intermediate(transactions);
    let mut found = vec![];
    for (number, transaction) in transactions.iter().enumerate() {
        let event = transaction.call.shown();
        for (key, list) in transaction.reads() {
            if !orders.keys[&key].explain(list) {
                found.extend(repeated(key, list, event));
                found.extend(unwritten(key, list, event, &failed, orders));
            }
            if let Some(last) = list.last()
                && let Some(writer) = intermediate.get(&(key, *last))
                && *writer != number
            {
                found.push(Evidence {
                    anomaly: "G1b",
                    detail: format!(
                        "key {key} was read up to {last}, in the middle of a transaction"
                    ),
                    events: vec![transactions[*writer].call.shown(), event],
                });
            }
        }
        found.extend(internal(transaction));
    }
    found.extend(lost_updates(transactions));
    found
}

/// An element that is there twice.
fn repeated(key: i64, list: &[i64], event: u64) -> Option<Evidence> {
    let mut seen = HashSet::with_capacity(list.len());
    let twice: Vec<i64> = list
        .iter()
        .copied()
        .filter(|it| !seen.insert(*it))
        .collect();
    (!twice.is_empty()).then(|| Evidence {
        anomaly: "duplicate-elements",
        detail: format!("key {key} was read with {} twice", few(&twice)),
        events: vec![event],
    })
}

/// An element of an aborted transaction, or of none.
fn unwritten(
    key: i64,
    list: &[i64],
    event: u64,
    failed: &HashMap<(i64, i64), u64>,
    orders: &Orders,
) -> Option<Evidence> {
    let element = list
        .iter()
        .find(|element| !orders.writer.contains_key(&(key, **element)))?;
    let (anomaly, what, writer) = match failed.get(&(key, *element)) {
        Some(writer) => ("G1a", "whose transaction failed", Some(*writer)),
        None => ("phantom-element", "that nobody appended", None),
    };
    Some(Evidence {
        anomaly,
        detail: format!("key {key} was read with {element}, {what}"),
        events: writer.into_iter().chain([event]).collect(),
    })
}

/// Elements after which their transaction appended more to the same key.
fn intermediate(transactions: &[Transaction<'_>]) -> HashMap<(i64, i64), usize> {
    let mut found = HashMap::new();
    for (number, transaction) in transactions.iter().enumerate() {
        let mut last = HashMap::new();
        for (key, element) in transaction.appends() {
            if let Some(before) = last.insert(key, element) {
                found.insert((key, before), number);
            }
        }
    }
    found
}

/// What a transaction must read by its own doing.
enum Expected {
    Exactly(Vec<i64>),
    EndsWith(Vec<i64>),
}

/// A read that contradicts the transaction's own earlier reads and appends, or its future.
fn internal(transaction: &Transaction<'_>) -> Option<Evidence> {
    // One micro-operation cannot contradict itself.
    if transaction.micro.len() < 2 || !transaction.is_committed() {
        return None;
    }
    let mut expected: BTreeMap<i64, Expected> = BTreeMap::new();
    let mut read: BTreeMap<i64, &[i64]> = BTreeMap::new();
    for micro in transaction.micro {
        let wrong = match micro {
            MicroOperation::Append { key, element } => {
                match expected
                    .entry(*key)
                    .or_insert_with(|| Expected::EndsWith(vec![]))
                {
                    Expected::Exactly(list) | Expected::EndsWith(list) => list.push(*element),
                }
                let is_known = read.get(key).is_some_and(|list| list.contains(element));
                is_known.then_some(("future-read", *key))
            }
            MicroOperation::Read {
                key,
                list: Some(list),
            } => {
                let is_right = match expected.get(key) {
                    None => true,
                    Some(Expected::Exactly(own)) => own == list,
                    Some(Expected::EndsWith(own)) => list.ends_with(own),
                };
                expected.insert(*key, Expected::Exactly(list.clone()));
                read.insert(*key, list);
                (!is_right).then_some(("internal", *key))
            }
            MicroOperation::Read { list: None, .. } => None,
        };
        if let Some((anomaly, key)) = wrong {
            return Some(Evidence {
                anomaly,
                detail: format!("a transaction contradicts itself on key {key}"),
                events: vec![transaction.call.shown()],
            });
        }
    }
    None
}

/// Two transactions that read the same list of a key and both appended to it.
fn lost_updates(transactions: &[Transaction<'_>]) -> Vec<Evidence> {
    let mut updates: BTreeMap<(i64, &[i64]), Vec<u64>> = BTreeMap::new();
    for transaction in transactions.iter().filter(|it| it.is_committed()) {
        let mut read: BTreeMap<i64, &[i64]> = BTreeMap::new();
        let mut counted = HashSet::new();
        for micro in transaction.micro {
            match micro {
                MicroOperation::Read {
                    key,
                    list: Some(list),
                } => {
                    read.entry(*key).or_insert(list);
                }
                MicroOperation::Read { list: None, .. } => {}
                MicroOperation::Append { key, .. } => {
                    if counted.insert(*key)
                        && let Some(list) = read.get(key)
                    {
                        let of_version = updates.entry((*key, list)).or_default();
                        of_version.push(transaction.call.shown());
                    }
                }
            }
        }
    }
    let twice = updates.into_iter().filter(|(_, events)| events.len() > 1);
    twice
        .map(|((key, list), events)| Evidence {
            anomaly: "lost-update",
            detail: format!(
                "{} transactions read {} elements of key {key} and appended the next",
                events.len(),
                list.len()
            ),
            events,
        })
        .collect()
}
