//! Is a healthy cluster left alone?
//!
//! In a round without faults nobody has a reason to elect or to recover: the peers keep their leader, the cluster its
//! primary, and no recovery runs. Whatever else happens is the system's own doing. In one with nothing but noise the peers
//! may elect, and a standby that lost its connection may be brought back; the cluster keeps its primary all the same.

use std::collections::BTreeMap;

use crate::history::{Call, Operation, Outcome, Setup};

use super::{Evidence, Verdict};

/// Judges what peers and status answers said in a round that was to be quiet.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    if !setup.quiet && !setup.noise {
        return None;
    }
    let mut leaders = Told::default();
    let mut primaries = Told::default();
    let mut recoveries = Told::default();
    for call in calls {
        match &call.operation {
            Operation::Peer(state) if call.outcome == Outcome::Ok => {
                leaders.add(format!("term {}", state.term), call);
            }
            Operation::Status(status) if call.outcome == Outcome::Ok => {
                let holder = status.holder.as_deref().unwrap_or("nobody");
                let (of, number) = match status.register.as_str() {
                    "leader" => (&mut leaders, "term"),
                    _ => (&mut primaries, "epoch"),
                };
                let told = status.number.map(|it| format!("{number} {it}"));
                of.add(told.unwrap_or_default(), call);
                of.hold(holder, call);
            }
            Operation::Recovery(recovery) if recovery.outcome.is_none() => {
                recoveries.add(format!("recovery {}", recovery.id), call);
            }
            _ => {}
        }
    }
    if leaders.all.is_empty() || primaries.all.is_empty() {
        let why = "nobody was asked who leads, or who is primary";
        return Some(Verdict::Unknown(why.to_owned()));
    }
    let evidence = [
        leaders.changed("election").filter(|_| setup.quiet),
        primaries.changed("failover"),
        recoveries.any("recovery").filter(|_| setup.quiet),
    ];
    Some(Verdict::of(evidence.into_iter().flatten().collect()))
}

/// What was told of one thing, each different answer with the event that showed it first.
#[derive(Default)]
struct Told {
    all: BTreeMap<String, u64>,
    holders: BTreeMap<String, u64>,
}

impl Told {
    fn add(&mut self, what: String, call: &Call) {
        self.all.entry(what).or_insert(call.shown());
    }

    fn hold(&mut self, holder: &str, call: &Call) {
        self.holders
            .entry(holder.to_owned())
            .or_insert(call.shown());
    }

    /// Evidence if there was more than one answer.
    fn changed(&self, anomaly: &'static str) -> Option<Evidence> {
        let changed = [&self.all, &self.holders].into_iter();
        let changed: Vec<_> = changed.filter(|told| told.len() > 1).flatten().collect();
        evidence(anomaly, &changed)
    }

    /// Evidence if there was one at all.
    fn any(&self, anomaly: &'static str) -> Option<Evidence> {
        let all: Vec<_> = self.all.iter().collect();
        evidence(anomaly, &all)
    }
}

fn evidence(anomaly: &'static str, told: &[(&String, &u64)]) -> Option<Evidence> {
    if told.is_empty() {
        return None;
    }
    let mut in_order = told.to_vec();
    in_order.sort_by_key(|(_, event)| **event);
    let words: Vec<_> = in_order.iter().map(|(word, _)| word.as_str()).collect();
    Some(Evidence {
        anomaly,
        detail: format!("nothing was done to it, and it told {}", super::few(&words)),
        events: in_order.iter().map(|(_, event)| **event).collect(),
    })
}
