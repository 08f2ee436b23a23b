//! What an asynchronous cluster may lose: the tail of what an old primary acknowledged, as if it never was.
//!
//! A transaction is lost if the last reads of its keys do not hold what it appended, although an older timeline than
//! theirs acknowledged it before them. It must have been lost whole, be the tail of what its node acknowledged there, and
//! have a fault near. What only read and saw something lost was on that tail too, if the same node answered and had not
//! yet acknowledged anything on the surviving timeline. Nothing else may have seen it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::history::{Call, MicroOperation, Setup};

use super::super::Evidence;
use super::super::lost::{Faults, Survivors};
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
pub(super) fn split<'a>(
    transactions: Vec<Transaction<'a>>,
    calls: &[Call],
    setup: &Setup,
) -> Split<'a> {
    let last = last_reads(&transactions);
    let faults = Faults::of(calls, setup);
    // By whom it was appended, if that is known.
    let mut gone: HashMap<(i64, i64), Option<&str>> = HashMap::new();
    let mut survivors = Survivors::default();
    let mut whole = vec![];
    let mut evidence = vec![];
    for transaction in &transactions {
        let appends: Vec<_> = transaction.appends().collect();
        let is_gone = |(key, element): &&(i64, i64)| {
            let last = last.get(key);
            last.is_some_and(|last| last.lacks(transaction, *element))
        };
        let of_it: Vec<_> = appends.iter().filter(is_gone).copied().collect();
        if of_it.is_empty() {
            if is_seen(&appends, &last) {
                survivors.add(transaction.call);
            }
        } else if of_it.len() < appends.len() {
            evidence.push(Evidence {
                anomaly: "torn-transaction",
                detail: format!(
                    "{} of its {} appends are lost, the others are there",
                    of_it.len(),
                    appends.len()
                ),
                events: vec![transaction.call.shown()],
            });
        } else if transaction.is_committed() {
            whole.push(transaction.call);
        }
        let writer = node_of(transaction.call);
        gone.extend(of_it.into_iter().map(|it| (it, writer)));
    }
    evidence.extend(not_the_tail(&whole, &survivors));
    evidence.extend(without_a_fault(&whole, &faults));
    let primaries = Primaries::of(calls);
    let is_lost = |transaction: &Transaction<'_>| {
        let mut appends = transaction.appends().peekable();
        if appends.peek().is_some() {
            return appends.any(|it| gone.contains_key(&it));
        }
        let call = transaction.call;
        let may_see = |writer: &Option<&str>| writer.is_none() || *writer == node_of(call);
        let mut reads = transaction.reads();
        reads.any(|(key, list)| {
            let surviving = last.get(&key).and_then(|last| last.timeline);
            let mut lost = list.iter().filter_map(|element| gone.get(&(key, *element)));
            lost.any(may_see) && surviving.is_some_and(|it| primaries.was_on_a_tail(call, it))
        })
    };
    let (lost, kept) = transactions.into_iter().partition(is_lost);
    Split {
        kept,
        lost,
        evidence,
    }
}

fn node_of(call: &Call) -> Option<&str> {
    call.answerer.as_ref().map(|it| it.node.as_str())
}

fn is_seen(appends: &[(i64, i64)], last: &BTreeMap<i64, Last<'_>>) -> bool {
    let is_in =
        |(key, element): &(i64, i64)| last.get(key).is_some_and(|it| it.list.contains(element));
    !appends.is_empty() && appends.iter().all(is_in)
}

fn not_the_tail(lost: &[&Call], survivors: &Survivors<'_>) -> Option<Evidence> {
    let mut wrong = lost.iter().filter(|call| survivors.outlive(call));
    let first = wrong.next()?;
    Some(Evidence {
        anomaly: "lost-not-the-tail",
        detail: format!(
            "{} lost transactions are older than survivors on their timeline",
            wrong.count() + 1
        ),
        events: vec![first.shown()],
    })
}

fn without_a_fault(lost: &[&Call], faults: &Faults) -> Option<Evidence> {
    let mut wrong = lost.iter().filter(|call| !faults.explain(call));
    let first = wrong.next()?;
    Some(Evidence {
        anomaly: "lost-without-fault",
        detail: format!(
            "{} transactions were lost without a fault near",
            wrong.count() + 1
        ),
        events: vec![first.shown()],
    })
}

impl Last<'_> {
    /// Whether the element is lost: not there, although a timeline that this one left behind acknowledged it before.
    /// Who was never told of success may not have happened at all.
    fn lacks(&self, transaction: &Transaction<'_>, element: i64) -> bool {
        let call = transaction.call;
        let timeline = call.answerer.as_ref().and_then(|it| it.timeline);
        let is_cut_off = call.acknowledged().is_none_or(|end| {
            let known = timeline.zip(self.timeline);
            end.index < self.invoked && known.is_some_and(|(own, last)| own < last)
        });
        is_cut_off && !self.list.contains(&element)
    }
}

/// When each node first acknowledged a write on a timeline, as an index.
struct Primaries<'a>(BTreeMap<(&'a str, u32), u64>);

impl Primaries<'_> {
    fn of(calls: &[Call]) -> Primaries<'_> {
        let mut first = BTreeMap::new();
        for call in calls.iter().filter(|call| call.operation.is_write()) {
            if let (Some(end), Some(answerer)) = (call.acknowledged(), &call.answerer)
                && let Some(timeline) = answerer.timeline
            {
                let node = answerer.node.as_str();
                let since = first.entry((node, timeline)).or_insert(end.index);
                *since = end.index.min(*since);
            }
        }
        Primaries(first)
    }

    /// Whether a read may have been answered by a timeline older than the surviving one: its node had one, and had not
    /// yet acknowledged anything on the surviving one or a newer.
    fn was_on_a_tail(&self, read: &Call, surviving: u32) -> bool {
        let own = self
            .0
            .iter()
            .filter(|((node, _), _)| Some(*node) == node_of(read));
        let (older, newer): (Vec<_>, Vec<_>) =
            own.partition(|((_, timeline), _)| *timeline < surviving);
        !older.is_empty() && newer.iter().all(|(_, since)| **since >= read.invoked)
    }
}

fn last_reads<'a>(transactions: &[Transaction<'a>]) -> BTreeMap<i64, Last<'a>> {
    let mut last: BTreeMap<i64, Last<'a>> = BTreeMap::new();
    for transaction in transactions.iter().filter(|it| it.is_committed()) {
        let call = transaction.call;
        for micro in transaction.micro {
            let MicroOperation::Read {
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

    const FAULT: &str = r#"{"index":0,"type":"info","process":"nemesis","f":"fault","value":{"name":"freeze","target":"n1","status":"installed"},"time":0}"#;

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
                line(2 * number + 1, "invoke", ""),
                line(2 * number + 2, "ok", &answerer),
            ]
        });
        let text: Vec<_> = std::iter::once(FAULT.to_owned()).chain(lines).collect();
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
    fn who_read_from_the_surviving_timeline_was_on_no_tail() {
        let saw_it_later = (r#"[["r",1,[1,2]]]"#, 2);
        let all = [KEPT, LOST, LATER, saw_it_later, LAST, MARKS];
        let found = ["incompatible-order", "G1a", "G-single-realtime"];
        check(&all, Durability::Async, &found);
    }

    #[test]
    fn it_is_a_tail() {
        let survived = (r#"[["append",1,4]]"#, 1);
        let last = (r#"[["append",9,9],["r",1,[1,4,3]]]"#, 2);
        let all = [KEPT, LOST, survived, LATER, last, MARKS];
        check(&all, Durability::Async, &["lost-not-the-tail"]);
    }

    #[test]
    fn a_living_timeline_loses_nothing() {
        let last = (r#"[["append",9,9],["r",1,[1]]]"#, 1);
        let all = [KEPT, LOST, last, MARKS];
        check(&all, Durability::Async, &["G-single-realtime"]);
    }

    #[test]
    fn it_is_lost_whole() {
        let torn = (r#"[["append",1,2],["append",9,8]]"#, 1);
        let marks = (r#"[["r",9,[8,9]]]"#, 2);
        let all = [KEPT, torn, LATER, LAST, marks];
        check(&all, Durability::Async, &["torn-transaction", "G1a"]);
    }
}
