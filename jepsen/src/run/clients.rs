//! The load of a round: clients of every workload in every zone, and those that watch.
//!
//! All of one place share a thread, so that a place costs one, whatever runs there.

use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use jepsen::history::{Consistency, Recorder};
use jepsen::workload::append::Keys;
use jepsen::workload::client::Habit;
use jepsen::workload::{
    Pace, Values, WorkloadError, append, bank, fenceprobe, lease, peers, set, sql, status,
};

use super::surroundings::{Place, Surroundings};
use crate::net::namespace::joined;
use crate::session::primary;

/// Clients of `append` in each place.
const APPENDING: usize = 2;
const SET_EVERY: Duration = Duration::from_millis(25);
const APPEND_EVERY: Duration = Duration::from_millis(50);
const BANK_EVERY: Duration = Duration::from_millis(100);
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// Three clients that take turns between two registers: 500 answers, the most that can be judged, take 160 s.
const STATUS_EVERY: Duration = Duration::from_millis(500);
const STALE_EVERY: Duration = Duration::from_millis(250);
const WATCH_EVERY: Duration = Duration::from_millis(100);
const RECOVERIES_EVERY: Duration = Duration::from_millis(250);
/// Keys of `append` that are in use at a time.
const HOT_KEYS: u8 = 5;

/// The workloads whose rate counts: those that applications are like.
pub const LOAD: [&str; 3] = ["set", "append", "bank"];

/// What the clients of a round share.
#[derive(Debug, Clone)]
pub struct Shared {
    values: Values,
    elements: Values,
    probes: Values,
    keys: Keys,
}

impl Shared {
    /// Nothing is used yet.
    pub fn new() -> Shared {
        Shared {
            values: Values::default(),
            elements: Values::default(),
            probes: Values::default(),
            keys: Keys::new(HOT_KEYS),
        }
    }
}

/// Clients at work. Dropping them ends them.
#[derive(Debug)]
pub struct Clients {
    stop: watch::Sender<bool>,
    threads: Vec<(String, JoinHandle<anyhow::Result<()>>)>,
}

type Work = Pin<Box<dyn Future<Output = Result<(), WorkloadError>>>>;

/// Ends the sessions of the round before: a statement that the network still holds would write into the tables of this one.
///
/// # Errors
/// A node lets nobody in, or its sessions do not end in time.
pub fn end_sessions(around: &Surroundings) -> anyhow::Result<()> {
    let targets = around.targets.clone();
    let ending = around.clients[0].run(move || async move {
        for target in &targets {
            sql::end_sessions(target).await?;
        }
        Ok(())
    })?;
    joined(ending)
}

/// Creates the tables; answers the version of the server.
///
/// # Errors
/// No primary does so in time.
pub fn prepare(around: &Surroundings) -> anyhow::Result<String> {
    let targets = around.targets.clone();
    let preparing = around.clients[0].run(move || async move {
        set::prepare(&targets).await?;
        append::prepare(&targets).await?;
        bank::prepare(&targets).await?;
        fenceprobe::prepare(&targets).await?;
        let (_, session) = primary(&targets).await?;
        let row = session.client.query_one("SHOW server_version", &[]).await;
        Ok(row?.try_get(0)?)
    })?;
    joined(preparing)
}

/// Reads everything that was written, from a client that held no session before.
///
/// # Errors
/// Something cannot be read in time.
pub fn read(around: &Surroundings, shared: &Shared, recorder: &Recorder) -> anyhow::Result<()> {
    let targets = around.targets.clone();
    let recorder = recorder.at("final");
    let Shared { keys, elements, .. } = shared.clone();
    let reading = around.clients[0].run(move || async move {
        set::read(&targets, &recorder).await?;
        append::read(&targets, (&keys, &elements), &recorder).await?;
        Ok(bank::read(&targets, &recorder).await?)
    })?;
    joined(reading)
}

impl Clients {
    /// Starts them all.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        around: &Arc<Surroundings>,
        shared: &Shared,
        recorder: &Recorder,
        seed: u64,
    ) -> anyhow::Result<Clients> {
        let (stop, stopped) = watch::channel(false);
        let mut clients = Clients {
            stop,
            threads: vec![],
        };
        for (zone, place) in around.clients.iter().enumerate() {
            let member = Member::new(around, shared, recorder, place, &stopped);
            clients.add(place, move || member.of_zone(zone, seed))?;
        }
        let member = Member::new(around, shared, recorder, &around.watch, &stopped);
        clients.add(&around.watch, move || member.of_watch())?;
        Ok(clients)
    }

    fn add(
        &mut self,
        place: &Place,
        work: impl FnOnce() -> Vec<Work> + Send + 'static,
    ) -> anyhow::Result<()> {
        let thread = place.run(move || together(work()))?;
        self.threads.push((place.name.clone(), thread));
        Ok(())
    }

    /// Ends them once what they are doing is done; answers what went wrong with those that ended by themselves.
    pub fn finish(self) -> Vec<anyhow::Error> {
        let _ = self.stop.send(true);
        let ended = self.threads.into_iter().filter_map(|(place, thread)| {
            let result = joined(thread).with_context(|| format!("clients at {place}"));
            result.err()
        });
        ended.collect()
    }
}

async fn together(all: Vec<Work>) -> anyhow::Result<()> {
    let local = LocalSet::new();
    let mut tasks = JoinSet::new();
    for work in all {
        tasks.spawn_local_on(work, &local);
    }
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    };
    local.run_until(ended).await
}

/// What the clients of one place start from.
struct Member {
    around: Arc<Surroundings>,
    shared: Shared,
    recorder: Recorder,
    stopped: watch::Receiver<bool>,
}

impl Member {
    fn new(
        around: &Arc<Surroundings>,
        shared: &Shared,
        recorder: &Recorder,
        place: &Place,
        stopped: &watch::Receiver<bool>,
    ) -> Member {
        Member {
            around: Arc::clone(around),
            shared: shared.clone(),
            recorder: recorder.at(&place.name),
            stopped: stopped.clone(),
        }
    }

    fn pace(&self, every: Duration) -> Pace {
        Pace {
            stopped: self.stopped.clone(),
            every,
        }
    }

    /// The clients of a zone, on both sides of every cut: half keep their sessions, half rediscover.
    fn of_zone(&self, zone: usize, seed: u64) -> Vec<Work> {
        let mut all = vec![];
        for number in 0..self.around.expected.set_clients {
            all.push(self.set(Habit::of(zone + number)));
        }
        for number in 0..APPENDING {
            let own = (zone * APPENDING + number) as u64;
            let habit = Habit::of(zone + number);
            all.push(self.append(habit, seed.wrapping_mul(1_000) + own));
        }
        let habit = Habit::of(zone + 1);
        all.push(self.bank(habit, seed.wrapping_mul(1_000) + 100 + zone as u64));
        // Each node is probed from its own zone over a session that stays, and from the next one over new ones.
        for number in 0..self.around.targets.len() {
            let zones = self.around.clients.len();
            if number % zones == zone {
                all.push(self.probe(number, Habit::Keep));
            }
            if (number + 1) % zones == zone {
                all.push(self.probe(number, Habit::Fresh));
            }
        }
        all.push(self.status(zone, Consistency::Linearizable, STATUS_EVERY));
        all.push(self.status(zone, Consistency::Stale, STALE_EVERY));
        all
    }

    /// Those that see everything all the time.
    fn of_watch(&self) -> Vec<Work> {
        let mut all: Vec<Work> = vec![];
        for peer in self.around.peers.clone() {
            let (recorder, pace) = (self.recorder.clone(), self.pace(WATCH_EVERY));
            all.push(Box::pin(async move {
                peers::watch_peer(peer, &recorder, pace).await
            }));
        }
        for agent in self.around.agents.clone() {
            let (recorder, pace) = (self.recorder.clone(), self.pace(WATCH_EVERY));
            all.push(Box::pin(
                async move { lease::run(agent, &recorder, pace).await },
            ));
        }
        let (recorder, pace) = (self.recorder.clone(), self.pace(RECOVERIES_EVERY));
        let (peers, cluster) = (self.around.peers.clone(), self.around.cluster.clone());
        all.push(Box::pin(async move {
            peers::watch_recoveries(peers, &cluster, &recorder, pace).await
        }));
        all
    }

    fn set(&self, habit: Habit) -> Work {
        let (recorder, pace) = (self.recorder.clone(), self.pace(SET_EVERY));
        let (targets, values) = (self.around.targets.clone(), self.shared.values.clone());
        Box::pin(async move { set::run(targets, habit, values, &recorder, pace).await })
    }

    fn append(&self, habit: Habit, seed: u64) -> Work {
        let (recorder, pace) = (self.recorder.clone(), self.pace(APPEND_EVERY));
        let targets = self.around.targets.clone();
        let lists = (self.shared.keys.clone(), self.shared.elements.clone());
        Box::pin(async move { append::run(targets, habit, lists, seed, &recorder, pace).await })
    }

    fn bank(&self, habit: Habit, seed: u64) -> Work {
        let (recorder, pace) = (self.recorder.clone(), self.pace(BANK_EVERY));
        let targets = self.around.targets.clone();
        Box::pin(async move { bank::run(targets, habit, seed, &recorder, pace).await })
    }

    fn probe(&self, number: usize, habit: Habit) -> Work {
        let (recorder, pace) = (self.recorder.clone(), self.pace(PROBE_EVERY));
        let target = self.around.targets[number].clone();
        let values = self.shared.probes.clone();
        Box::pin(async move { fenceprobe::run(target, habit, values, &recorder, pace).await })
    }

    fn status(&self, zone: usize, consistency: Consistency, every: Duration) -> Work {
        let (recorder, pace) = (self.recorder.clone(), self.pace(every));
        let (mut peers, cluster) = (self.around.peers.clone(), self.around.cluster.clone());
        // The peer of the own zone first.
        let turns = zone % peers.len().max(1);
        peers.rotate_left(turns);
        Box::pin(async move { status::run(peers, &cluster, consistency, &recorder, pace).await })
    }
}
