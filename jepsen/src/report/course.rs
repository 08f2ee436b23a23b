//! What happened in a round, measured from its history.

use std::collections::BTreeMap;

use jepsen::history::{Call, History, Operation, Phase, Process};
use serde::Serialize;

use crate::clock::Moment;
use crate::nemesis::{Outcome, Record};

/// The evidence of a round.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What all clients saw.
    pub history: &'a History,
    /// Where each client was.
    pub places: &'a BTreeMap<Process, String>,
    /// The places whose outages count.
    pub clients: &'a [String],
    /// The faults.
    pub records: &'a [Record],
    /// When the load began.
    pub began: Moment,
    /// When the load ended.
    pub ended: Moment,
    /// When all was well again.
    pub healed: Option<Moment>,
}

/// What happened, in milliseconds since the load began.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Course {
    /// How long the load lasted.
    pub lasted_ms: f64,
    /// By workload.
    pub operations: BTreeMap<&'static str, Counts>,
    /// Writes that were acknowledged, over all workloads.
    pub acknowledged_writes: usize,
    /// Who acknowledged writes on which timeline, in the order of their first ones: each epoch has its own timeline.
    pub primaries: Vec<Primary>,
    /// The faults.
    pub strikes: Vec<Struck>,
    /// When all was well again.
    pub healed_ms: Option<f64>,
    /// Acknowledged operations in each second.
    pub rates: Vec<u32>,
}

/// How operations ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Begun.
    pub invoke: usize,
    /// With effect.
    pub ok: usize,
    /// Without.
    pub fail: usize,
    /// Nobody knows.
    pub info: usize,
}

impl Counts {
    /// Both together.
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            invoke: self.invoke + other.invoke,
            ok: self.ok + other.ok,
            fail: self.fail + other.fail,
            info: self.info + other.info,
        }
    }
}

/// Somebody who acknowledged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Primary {
    /// Its first acknowledgement.
    pub first_ms: f64,
    /// Its last one.
    pub last_ms: f64,
    /// Its timeline, which is the epoch that its WAL was written under.
    pub timeline: u32,
    /// Its name.
    pub node: String,
    /// How many writes it acknowledged.
    pub writes: usize,
}

/// A fault and what clients noticed of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Struck {
    /// Its name.
    pub fault: String,
    /// Whose host, if anybody's in particular.
    pub host: String,
    /// Which role the host had.
    pub role: String,
    /// `installed`, `skipped: …`, `indeterminate: …`.
    pub outcome: String,
    /// When it began.
    pub began_ms: f64,
    /// When it was complete.
    pub installed_ms: f64,
    /// When it was healed.
    pub healed_ms: Option<f64>,
    /// The longest time from one acknowledged write to the next from its beginning on, as the clients of the zone
    /// saw it that waited least: the cluster was out for no longer. None if nobody wrote again.
    pub least_outage_ms: Option<f64>,
    /// The same of the median zone: a minority that is cut off does not count, but what clients add does, such as 2 s
    /// until they give a statement up. None if it never wrote again.
    pub outage_ms: Option<f64>,
    /// The same of the zone that waited longest; none if it never wrote again.
    pub worst_outage_ms: Option<f64>,
}

/// One completed operation of a client of the database.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it ended, in ms since the load began.
    pub at_ms: f64,
    /// How long it took.
    pub latency_ms: f64,
    /// Whether it was acknowledged.
    pub is_ok: bool,
}

/// The workload that an operation of a client belongs to.
fn workload(operation: &Operation) -> Option<&'static str> {
    match operation {
        Operation::Add(_) | Operation::Read(_) => Some("set"),
        Operation::Transaction(_) => Some("append"),
        Operation::Transfer(_) | Operation::Balances(_) => Some("bank"),
        Operation::Probe(_) => Some("fenceprobe"),
        Operation::Status(_) => Some("status"),
        Operation::Peer(_) => Some("peers"),
        Operation::Register(_)
        | Operation::Fence(_)
        | Operation::Unfence(_)
        | Operation::Lease(_)
        | Operation::Recovery(_)
        | Operation::Setup(_)
        | Operation::Fault(_) => None,
    }
}

/// Whether it is what applications do: whose rate and latency are shown.
fn is_load(operation: &Operation) -> bool {
    matches!(workload(operation), Some("set" | "append" | "bank"))
}

/// Measures a round; the samples are for its plot.
pub fn measure(evidence: &Evidence<'_>) -> (Course, Vec<Sample>) {
    let calls = evidence.history.calls().unwrap_or_default();
    let samples = samples(evidence.history, evidence);
    let is_write = |call: &&Call| call.operation.is_write() && call.acknowledged().is_some();
    let writes: Vec<&Call> = calls.iter().filter(is_write).collect();
    let since = |moment: Moment| moment.ms_since(evidence.began);
    let course = Course {
        lasted_ms: since(evidence.ended),
        operations: operations(evidence.history),
        acknowledged_writes: writes.len(),
        primaries: primaries(&writes, evidence),
        strikes: strikes(&writes, evidence),
        healed_ms: evidence.healed.map(since),
        rates: rates(&samples, since(evidence.ended)),
    };
    (course, samples)
}

fn operations(history: &History) -> BTreeMap<&'static str, Counts> {
    let mut all: BTreeMap<&'static str, Counts> = BTreeMap::new();
    for event in history.events() {
        if let (Process::Client(_), Some(name)) = (&event.process, workload(&event.operation)) {
            let counts = all.entry(name).or_default();
            match event.phase {
                Phase::Invoke => counts.invoke += 1,
                Phase::Ok => counts.ok += 1,
                Phase::Fail => counts.fail += 1,
                Phase::Info => counts.info += 1,
            }
        }
    }
    all
}

fn primaries(writes: &[&Call], evidence: &Evidence<'_>) -> Vec<Primary> {
    let mut all: BTreeMap<(u32, &str), Primary> = BTreeMap::new();
    for call in writes {
        let (Some(end), Some(answerer)) = (call.completed, &call.answerer) else {
            continue;
        };
        let Some(timeline) = answerer.timeline else {
            continue;
        };
        let at = end.time.ms_since(evidence.began);
        let key = (timeline, answerer.node.as_str());
        let primary = all.entry(key).or_insert_with(|| Primary {
            first_ms: at,
            last_ms: at,
            timeline,
            node: answerer.node.clone(),
            writes: 0,
        });
        primary.first_ms = primary.first_ms.min(at);
        primary.last_ms = primary.last_ms.max(at);
        primary.writes += 1;
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by(|one, other| one.first_ms.total_cmp(&other.first_ms));
    all
}

fn strikes(writes: &[&Call], evidence: &Evidence<'_>) -> Vec<Struck> {
    // By place, when each of its writes was acknowledged. What is done on purpose to a single node does not count.
    let mut acknowledged: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
    for place in evidence.clients {
        acknowledged.insert(place, vec![]);
    }
    for call in writes.iter().filter(|call| is_load(&call.operation)) {
        let place = evidence.places.get(&call.process);
        let times = place.and_then(|place| acknowledged.get_mut(place.as_str()));
        if let (Some(times), Some(end)) = (times, call.completed) {
            times.push(end.time);
        }
    }
    acknowledged
        .values_mut()
        .for_each(|times| times.sort_unstable());
    let since = |moment: Moment| moment.ms_since(evidence.began);
    let struck = |(number, record): (usize, &Record)| {
        let next = evidence.records.get(number + 1);
        let until = next.map_or(evidence.ended, |next| next.began);
        let is_installed = record.outcome == Outcome::Installed;
        let times = acknowledged.values().filter(|_| is_installed);
        let mut gaps: Vec<f64> = times
            .map(|times| longest_gap(times, record.began, until))
            .collect();
        gaps.sort_by(f64::total_cmp);
        let finite = |gap: Option<&f64>| gap.copied().filter(|gap| gap.is_finite());
        Struck {
            fault: record.fault.name(),
            host: record.host.clone(),
            role: record.target.name(),
            outcome: record.outcome.to_string(),
            began_ms: since(record.began),
            installed_ms: since(record.installed),
            healed_ms: record.healed.map(since),
            least_outage_ms: finite(gaps.first()),
            outage_ms: finite(gaps.get(gaps.len() / 2)),
            worst_outage_ms: finite(gaps.last()),
        }
    };
    evidence.records.iter().enumerate().map(struck).collect()
}

/// In ms, from the last before `from` on; infinite if there is none after it. What is still open at `until` counts
/// up to then.
fn longest_gap(times: &[Moment], from: Moment, until: Moment) -> f64 {
    let before = times.partition_point(|time| *time <= from);
    if before == times.len() {
        return f64::INFINITY;
    }
    let rest = &times[before.saturating_sub(1)..];
    let pairs = rest.windows(2).filter(|pair| pair[0] < until);
    let gaps = pairs.map(|pair| pair[1].ms_since(pair[0]));
    let open = times.last().map(|last| until.ms_since(*last));
    gaps.chain(open).fold(0.0, f64::max)
}

fn samples(history: &History, evidence: &Evidence<'_>) -> Vec<Sample> {
    let mut begun: BTreeMap<&Process, Moment> = BTreeMap::new();
    let mut all = vec![];
    let during = |moment: Moment| evidence.began <= moment && moment <= evidence.ended;
    for event in history.events() {
        if !is_load(&event.operation) || !during(event.time) {
            continue;
        }
        if event.phase == Phase::Invoke {
            begun.insert(&event.process, event.time);
        } else if let Some(begin) = begun.remove(&event.process) {
            all.push(Sample {
                at_ms: event.time.ms_since(evidence.began),
                latency_ms: event.time.ms_since(begin),
                is_ok: event.phase == Phase::Ok,
            });
        }
    }
    all
}

fn rates(samples: &[Sample], lasted_ms: f64) -> Vec<u32> {
    let seconds = (lasted_ms / 1_000.0).max(0.0) as usize + 1;
    let mut rates = vec![0; seconds];
    for sample in samples.iter().filter(|sample| sample.is_ok) {
        if let Some(rate) = rates.get_mut((sample.at_ms / 1_000.0) as usize) {
            *rate += 1;
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;
    use jepsen::history::{Answerer, Event};

    use crate::nemesis::fault::Fault;
    use crate::nemesis::target::Target;

    fn ms(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    /// A write of a client that takes 2 ms.
    fn write(client: u64, value: i64, at: u64, node: &str) -> [Event; 2] {
        let event = |phase, time| Event {
            index: 0,
            phase,
            process: Process::Client(client),
            operation: Operation::Add(value),
            time,
            answerer: Some(Answerer {
                node: node.to_owned(),
                timeline: Some(if node == "a" { 1 } else { 2 }),
            }),
            session: None,
            error: None,
        };
        [event(Phase::Invoke, ms(at - 2)), event(Phase::Ok, ms(at))]
    }

    #[test]
    fn the_outage_is_that_of_the_median_zone() {
        let mut events = vec![];
        for (client, times) in [
            (1, vec![(1_000, "a"), (1_500, "b"), (4_000, "b")]),
            (2, vec![(1_010, "a"), (2_000, "b"), (2_500, "b")]),
            (3, vec![(990, "a")]),
        ] {
            for (number, (at, node)) in times.into_iter().enumerate() {
                let value = i64::try_from(client * 100 + number as u64).unwrap();
                events.extend(write(client, value, at, node));
            }
        }
        let history = History::merge([events]);
        let places = (1..=3).map(|it| (Process::Client(it), format!("client{it}")));
        let clients: Vec<_> = (1..=3).map(|it| format!("client{it}")).collect();
        let record = Record {
            fault: Fault::Isolate,
            target: Target::Primary,
            host: "a".to_owned(),
            began: ms(1_020),
            installed: ms(1_021),
            outcome: Outcome::Installed,
            healed: Some(ms(3_000)),
            trouble: None,
        };
        let (course, samples) = measure(&Evidence {
            history: &history,
            places: &places.collect(),
            clients: &clients,
            records: &[record],
            began: ms(0),
            ended: ms(3_500),
            healed: Some(ms(3_200)),
        });
        let struck = &course.strikes[0];
        // 1: 500 then 2500; 2: 990; 3: for ever.
        assert_eq!(struck.least_outage_ms, Some(1_000.0));
        assert_eq!(struck.outage_ms, Some(2_500.0));
        assert_eq!(struck.worst_outage_ms, None);
        assert_eq!(course.acknowledged_writes, 7);
        assert_eq!(course.operations["set"].ok, 7);
        assert_eq!(course.rates, [1, 3, 2, 0]);
        assert_eq!(samples.len(), 6);
        let primaries = course.primaries.iter();
        let told: Vec<_> = primaries
            .map(|it| (it.node.as_str(), it.timeline))
            .collect();
        assert_eq!(told, [("a", 1), ("b", 2)]);
    }
}
