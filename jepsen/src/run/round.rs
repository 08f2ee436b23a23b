//! One round: load, faults, healing, final reads. It gathers evidence and judges nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use jepsen::history::{self, ClientLog, History, Operation, Process, Recorder};

use super::clients::{self, Clients, LOAD, Shared};
use super::plan::RoundPlan;
use super::setup::setup;
use super::surroundings::Surroundings;
use crate::clock::{self, Moment};
use crate::nemesis::fault::Fault;
use crate::nemesis::ground::Ground;
use crate::nemesis::{Outcome, Record, runner};

const RATED: Duration = Duration::from_millis(2_500);
const POLL: Duration = Duration::from_millis(50);

/// What a round left.
#[derive(Debug)]
pub struct Taken {
    /// What all clients saw.
    pub history: History,
    /// Where each client was.
    pub places: BTreeMap<Process, String>,
    /// The places of those whose writes count.
    pub clients: Vec<String>,
    /// When the load began.
    pub began: Moment,
    /// When the load ended.
    pub ended: Moment,
    /// Operations a second before the first fault.
    pub rate: f64,
    /// What became of the faults; empty if the round was rejected before.
    pub records: Vec<Record>,
    /// Since when every member streamed again and nothing was left of any fault; else why not.
    pub healed: Result<Moment, String>,
    /// Why the harness is to blame.
    pub troubles: Vec<String>,
    /// Of PostgreSQL.
    pub server_version: String,
}

/// Runs a round on hosts that are up; the logs of its clients go to `folder`. None if it was told to stop.
///
/// # Errors
/// The load cannot be started, or its logs cannot be written or read.
pub fn run(
    ground: &mut Ground,
    plan: &RoundPlan,
    folder: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Taken>> {
    let expected = ground.expectations();
    ground
        .until_healed(expected.healed_within)
        .context("before the round")?;
    let around = Arc::new(Surroundings::of(ground)?);
    let recorder = Recorder::create(folder)?;
    let mut log = recorder.client("nemesis")?;
    log.remark(Process::nemesis(), Operation::Setup(setup(plan)))?;
    let server_version = clients::prepare(&around).context("prepare the tables")?;
    let shared = Shared::new();
    let began = clock::now();
    let clients = Clients::start(&around, &shared, &recorder, plan.seed)?;
    let rate = rate(&recorder, expected.warm)?;
    let mut troubles = vec![];
    let records = if rate < expected.least_rate {
        troubles.push(format!("{rate:.0} operations a second before the fault"));
        vec![]
    } else {
        let records = strike(ground, plan, stop, &mut log, &mut troubles);
        rest(Duration::from_millis(plan.quiet_ms), stop);
        records
    };
    let is_over = records.is_empty() && plan.quiet_ms == 0;
    let healed = heal(ground, is_over);
    // Some take 2 s to end what they are doing; whoever has ended writes nothing meanwhile.
    let ended = clock::now();
    troubles.extend(clients.finish().iter().map(|error| format!("{error:#}")));
    if stop.load(Ordering::SeqCst) {
        return Ok(None);
    }
    if healed.is_ok()
        && let Err(error) = clients::read(&around, &shared, &recorder)
    {
        troubles.push(format!("final reads: {error:#}"));
    }
    drop(log);
    let (history, places) = merged(&recorder)?;
    Ok(Some(Taken {
        history,
        places,
        clients: around.clients.iter().map(|it| it.name.clone()).collect(),
        began,
        ended,
        rate,
        records,
        healed,
        troubles,
        server_version,
    }))
}

/// Operations a second, as applications see them.
fn rate(recorder: &Recorder, warm: Duration) -> anyhow::Result<f64> {
    std::thread::sleep(warm);
    let (before, since) = (recorder.acknowledged(&LOAD)?, clock::now());
    std::thread::sleep(RATED);
    let (after, until) = (recorder.acknowledged(&LOAD)?, clock::now());
    Ok(after.saturating_sub(before) as f64 / until.since(since).as_secs_f64())
}

fn strike(
    ground: &mut Ground,
    plan: &RoundPlan,
    stop: &AtomicBool,
    log: &mut ClientLog,
    troubles: &mut Vec<String>,
) -> Vec<Record> {
    let hit = hit(ground);
    let records = runner::run(ground, &plan.strikes, stop, |record| {
        eprintln!("  {}", told(record));
        let (time, status) = match (record.healed, &record.outcome) {
            (Some(healed), _) => (healed, "healed"),
            (None, Outcome::Installed) => (record.began, "installed"),
            (None, Outcome::Skipped(_)) => (record.began, "skipped"),
            (None, Outcome::Indeterminate(_)) => (record.began, "indeterminate"),
        };
        let fault = history::Fault {
            name: record.fault.name(),
            target: hit(record),
            status: status.to_owned(),
        };
        let written = log.remark_at(time, Process::nemesis(), Operation::Fault(fault));
        troubles.extend(
            written
                .err()
                .map(|error| format!("record a fault: {error}")),
        );
    });
    let unhealed = records.iter().filter_map(|record| {
        let why = record.trouble.as_ref()?;
        Some(format!("{} is not healed: {why}", record.fault.name()))
    });
    troubles.extend(unhealed);
    records
}

/// Lets clients work for so long, unless it is told to stop.
fn rest(quiet: Duration, stop: &AtomicBool) {
    let began = clock::now();
    while clock::now().since(began) < quiet && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(POLL);
    }
}

/// Names the hosts that a fault hits: those of a whole zone if that is lost.
fn hit(ground: &Ground) -> impl Fn(&Record) -> String + use<> {
    let layout = match ground {
        Ground::Hosts(hosts) => Some(hosts.layout().clone()),
        Ground::Loopback(_) => None,
    };
    move |record| match &layout {
        Some(layout) if record.fault == Fault::ZoneLoss => {
            layout.machines_of(&layout.zone_of(&record.host)).join("+")
        }
        _ => record.host.clone(),
    }
}

fn told(record: &Record) -> String {
    let fault = record.fault.name();
    match record.healed {
        None => format!("{fault} {} {}", record.host, record.outcome),
        Some(healed) => {
            let lasted = healed.ms_since(record.installed) / 1_000.0;
            format!("{fault} {} healed after {lasted:.1} s", record.host)
        }
    }
}

/// Waits until everything is as before; clients go on meanwhile, and a little longer, unless the round is over.
fn heal(ground: &Ground, is_over: bool) -> Result<Moment, String> {
    let expected = ground.expectations();
    let whole = || {
        let healed = ground.until_healed(expected.healed_within);
        healed.map_err(|error| format!("{error:#}"))
    };
    if is_over {
        return whole().map(|()| clock::now());
    }
    // A leader that has just been struck may not have noticed yet.
    std::thread::sleep(expected.settles);
    whole()?;
    let healed = clock::now();
    std::thread::sleep(expected.settles);
    whole()?;
    Ok(healed)
}

fn merged(recorder: &Recorder) -> anyhow::Result<(History, BTreeMap<Process, String>)> {
    let logs = recorder.logs()?;
    let mut places = BTreeMap::new();
    for log in logs.iter().filter(|log| !log.place.is_empty()) {
        for event in &log.events {
            places.insert(event.process.clone(), log.place.clone());
        }
    }
    let history = History::merge(logs.into_iter().map(|log| log.events));
    Ok((history, places))
}
