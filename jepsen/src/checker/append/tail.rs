//! What an asynchronous cluster may lose: the tail of what an old primary acknowledged, as if it never was.
//!
//! A transaction is lost if the last reads of its keys do not hold what it appended, although it was acknowledged before
//! them and by another timeline than theirs. What only read, and saw something lost, was on that tail too. Whether it was
//! a tail, and a fault near, is for `set` to judge: here it must only have been lost whole, and nothing that survived may
//! have seen it.

use std::collections::{BTreeMap, HashSet};

use super::super::Evidence;
use super::Transaction;

/// Transactions by what became of them.
pub(super) struct Split<'a> {
    /// They survived, or only read what did.
    pub kept: Vec<Transaction<'a>>,
    /// They are gone.
    pub lost: Vec<Transaction<'a>>,
    /// What must not be even so.
    pub evidence: Vec<Evidence>,
}

/// The last read of a key.
struct Last<'a> {
    invoked: u64,
    timeline: Option<u32>,
    list: HashSet<&'a i64>,
}

/// Takes the lost tail out.
pub(super) fn split(transactions: Vec<Transaction<'_>>) -> Split<'_> {
    let last = last_reads(&transactions);
    let is_gone = |transaction: &Transaction<'_>, (key, element): (i64, i64)| {
        last.get(&key)
            .is_some_and(|last| last.lacks(transaction, element))
    };
    let mut gone: HashSet<(i64, i64)> = HashSet::new();
    let mut evidence = vec![];
    for transaction in &transactions {
        let appends: Vec<_> = transaction.appends().collect();
        let of_it = appends.iter().filter(|it| is_gone(transaction, **it));
        let of_it: Vec<_> = of_it.copied().collect();
        if !of_it.is_empty() && of_it.len() < appends.len() {
            evidence.push(Evidence {
                anomaly: "torn-transaction",
                detail: format!(
                    "{} of its {} appends are lost, the others are there",
                    of_it.len(),
                    appends.len()
                ),
                events: vec![transaction.call.shown()],
            });
        }
        gone.extend(of_it);
    }
    let is_lost = |transaction: &Transaction<'_>| {
        let mut appends = transaction.appends().peekable();
        if appends.peek().is_some() {
            return appends.any(|it| gone.contains(&it));
        }
        let mut reads = transaction.reads();
        reads.any(|(key, list)| list.iter().any(|element| gone.contains(&(key, *element))))
    };
    let (lost, kept) = transactions.into_iter().partition(is_lost);
    Split {
        kept,
        lost,
        evidence,
    }
}

impl Last<'_> {
    fn lacks(&self, transaction: &Transaction<'_>, element: i64) -> bool {
        let call = transaction.call;
        let timeline = call.answerer.as_ref().and_then(|it| it.timeline);
        let is_before = call.completed.is_none_or(|end| end.index < self.invoked);
        let is_cut_off = timeline.is_none() || timeline != self.timeline;
        is_before && is_cut_off && !self.list.contains(&element)
    }
}

fn last_reads<'a>(transactions: &[Transaction<'a>]) -> BTreeMap<i64, Last<'a>> {
    let mut last: BTreeMap<i64, Last<'a>> = BTreeMap::new();
    for transaction in transactions.iter().filter(|it| it.is_committed()) {
        let call = transaction.call;
        for micro in transaction.micro {
            let crate::history::MicroOperation::Read {
                key,
                list: Some(list),
            } = micro
            else {
                continue;
            };
            if last.get(key).is_none_or(|it| it.invoked < call.invoked) {
                let read = Last {
                    invoked: call.invoked,
                    timeline: call.answerer.as_ref().and_then(|it| it.timeline),
                    list: list.iter().collect(),
                };
                last.insert(*key, read);
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use crate::history::{Durability, History, Setup};

    /// One transaction after the other: what it did, and the timeline that acknowledged it.
    fn check(transactions: &[(&str, u32)], durability: Durability, expected: &[&str]) {
        let lines = transactions.iter().enumerate().flat_map(|(number, (micro, timeline))| {
            let line = |index, phase, answerer: &str| {
                format!(
                    r#"{{"index":{index},"type":"{phase}","process":{number},"f":"txn","value":{micro},"time":{index}{answerer}}}"#
                )
            };
            let answerer = format!(r#","answerer":{{"node":"n{timeline}","timeline":{timeline}}}"#);
            [
                line(2 * number, "invoke", ""),
                line(2 * number + 1, "ok", &answerer),
            ]
        });
        let text: Vec<_> = lines.collect();
        let calls = History::from_json_lines(&text.join("\n")).unwrap();
        let setup = Setup {
            durability,
            ..Setup::default()
        };
        let verdict = super::super::check(&calls.calls().unwrap(), &setup).unwrap();
        let mut found = verdict.anomalies();
        found.dedup();
        assert_eq!(found, expected, "{verdict}");
    }

    const KEPT: (&str, u32) = (r#"[["append",1,1]]"#, 1);
    const LOST: (&str, u32) = (r#"[["append",1,2]]"#, 1);
    const SAW_IT: (&str, u32) = (r#"[["r",1,[1,2]]]"#, 1);
    const LATER: (&str, u32) = (r#"[["append",1,3]]"#, 2);
    const LAST: (&str, u32) = (r#"[["append",9,9],["r",1,[1,3]]]"#, 2);
    const MARKS: (&str, u32) = (r#"[["r",9,[9]]]"#, 2);

    #[test]
    fn the_tail_of_an_old_timeline_may_be_lost_with_those_who_saw_it() {
        let all = [KEPT, LOST, SAW_IT, LATER, LAST, MARKS];
        check(&all, Durability::Async, &[]);
    }

    #[test]
    fn what_survives_has_seen_nothing_of_it() {
        let saw_and_wrote = (r#"[["r",1,[1,2]],["append",9,8]]"#, 2);
        let marks = (r#"[["r",9,[8,9]]]"#, 2);
        let all = [KEPT, LOST, saw_and_wrote, LATER, LAST, marks];
        check(&all, Durability::Async, &["incompatible-order", "G1a"]);
    }

    #[test]
    fn it_is_lost_whole() {
        let torn = (r#"[["append",1,2],["append",9,8]]"#, 1);
        let marks = (r#"[["r",9,[8,9]]]"#, 2);
        let all = [KEPT, torn, LATER, LAST, marks];
        check(&all, Durability::Async, &["torn-transaction", "G1a"]);
    }
}
