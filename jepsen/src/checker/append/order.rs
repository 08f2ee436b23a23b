//! In which order the elements of each key were appended, and by whom.

use std::collections::HashMap;

use super::super::{Evidence, few};
use super::Transaction;

/// What is known of one key.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// The elements of the longest read, each once.
    pub order: Vec<i64>,
    /// The place of each in the order.
    pub place: HashMap<i64, usize>,
    /// Transactions that appended what nobody read: after everything that was read.
    pub unobserved: Vec<usize>,
    /// How many elements from the first have a writer each.
    pub written: usize,
    /// The committed transaction with the longest read.
    longest_by: Option<usize>,
}

/// All keys.
#[derive(Debug)]
pub(super) struct Orders {
    /// By key.
    pub keys: HashMap<i64, Versions>,
    /// Who appended an element to a key.
    pub writer: HashMap<(i64, i64), usize>,
}

impl Versions {
    /// Whether a read shows nothing but the order, each element once and with a writer.
    pub fn explain(&self, list: &[i64]) -> bool {
        list.len() <= self.written && self.order.starts_with(list)
    }
}

impl Orders {
    /// Also says where reads contradict each other.
    ///
    /// # Errors
    /// The workload appended an element twice: then nothing can be inferred.
    pub fn of(transactions: &[Transaction<'_>]) -> Result<(Orders, Vec<Evidence>), String> {
        let mut orders = Orders {
            keys: HashMap::new(),
            writer: HashMap::new(),
        };
        for (number, transaction) in transactions.iter().enumerate() {
            for (key, element) in transaction.appends() {
                let before = orders.writer.insert((key, element), number);
                if before.is_some() {
                    return Err(format!("the workload appended {element} to {key} twice"));
                }
            }
        }
        orders.find_longest(transactions);
        let evidence = orders.contradictions(transactions);
        for (key, versions) in &mut orders.keys {
            let order = std::mem::take(&mut versions.order);
            for element in order {
                let next = versions.order.len();
                versions.place.entry(element).or_insert_with(|| {
                    versions.order.push(element);
                    next
                });
            }
            let has_writer = |element: &&i64| orders.writer.contains_key(&(*key, **element));
            versions.written = versions.order.iter().take_while(has_writer).count();
        }
        orders.find_unobserved(transactions);
        Ok((orders, evidence))
    }

    fn find_longest(&mut self, transactions: &[Transaction<'_>]) {
        for (number, transaction) in transactions.iter().enumerate() {
            for (key, list) in transaction.reads() {
                let versions = self.keys.entry(key).or_default();
                if list.len() > versions.order.len() {
                    versions.order.clone_from(list);
                    versions.longest_by = Some(number);
                }
            }
        }
    }

    /// The first contradiction of each key, in the order of the history.
    fn contradictions(&self, transactions: &[Transaction<'_>]) -> Vec<Evidence> {
        let mut found: HashMap<i64, Evidence> = HashMap::new();
        for transaction in transactions {
            for (key, list) in transaction.reads() {
                let versions = &self.keys[&key];
                if versions.order.starts_with(list) || found.contains_key(&key) {
                    continue;
                }
                let other = versions.longest_by.map(|it| transactions[it].call.shown());
                let agree = list.iter().zip(&versions.order).take_while(|(a, b)| a == b);
                let from = agree.count();
                let evidence = Evidence {
                    anomaly: "incompatible-order",
                    detail: format!(
                        "key {key}: after {from} equal elements one read goes on with {} and another with {}",
                        few(&list[from..]),
                        few(&versions.order[from..])
                    ),
                    events: other
                        .into_iter()
                        .chain([transaction.call.shown()])
                        .collect(),
                };
                found.insert(key, evidence);
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by(|one, other| one.events.cmp(&other.events));
        found
    }

    fn find_unobserved(&mut self, transactions: &[Transaction<'_>]) {
        for (number, transaction) in transactions.iter().enumerate() {
            for (key, element) in transaction.appends() {
                let versions = self.keys.entry(key).or_default();
                if !versions.place.contains_key(&element) {
                    versions.unobserved.push(number);
                }
            }
        }
    }
}
