//! Peers of one group in one process, each on a runtime of its own, so that one can be killed without grace, and each
//! behind a door of its own, so that it can be cut off from others.

mod door;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use door::Door;
use raft::{
    Applied, Config, Consensus, GroupId, Newborn, RecordError, Role, StartError, StateMachine,
    Status, Timing, Waiting,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime, sync::watch, task::JoinSet};

use crate::ports;

/// An address of the loopback that nobody else is given while the test runs.
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, ports::reserve(0).unwrap()).into()
}

/// Nothing these tests wait for takes longer on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Elections that a busy machine does not begin by itself.
pub const SLOW: Timing = Timing {
    election_min: Duration::from_millis(1500),
    election_max: Duration::from_millis(2000),
    quorum_loss_probe: Duration::from_millis(4000),
    ..Timing::lan()
};
const RELEASE_STEP: Duration = Duration::from_millis(5);
pub const GROUP: GroupId = GroupId::from_bytes(*b"a group of tests");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    One(u32),
    Many(Vec<u32>),
    Panic,
}

/// The numbers it was given, in order, each once; replies with how many there are.
#[derive(Debug, Clone, Default)]
pub struct Numbers(pub Vec<u32>);

impl StateMachine for Numbers {
    type Command = Command;
    type Reply = usize;

    fn apply(&mut self, _index: u64, command: Command) -> usize {
        let numbers = match command {
            Command::One(number) => vec![number],
            Command::Many(numbers) => numbers,
            Command::Panic => panic!("as it was told"),
        };
        for number in numbers {
            if !self.0.contains(&number) {
                self.0.push(number);
            }
        }
        self.0.len()
    }

    fn encode(&self) -> Vec<u8> {
        raft::seal(&self.0).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(Self(raft::unseal(bytes, raft::MAX_SNAPSHOT_BYTES)?))
    }
}

/// How far a peer has come.
#[derive(Clone)]
enum Stage {
    Newborn(Newborn),
    Started(Consensus<Numbers>),
    Refused(String),
}

struct Running {
    runtime: Runtime,
    stage: watch::Receiver<Stage>,
    /// Aborted with the runtime.
    _tasks: JoinSet<()>,
}

impl Running {
    fn consensus(&self) -> Consensus<Numbers> {
        match &*self.stage.borrow() {
            Stage::Started(consensus) => consensus.clone(),
            Stage::Newborn(newborn) => panic!("peer {} is not started", newborn.id()),
            Stage::Refused(why) => panic!("{why}"),
        }
    }
}

pub struct Peers {
    /// Removed with the peers.
    _folders: TempDir,
    configs: BTreeMap<u64, Config>,
    doors: BTreeMap<u64, Door>,
    running: BTreeMap<u64, Running>,
    /// Where the tests themselves wait.
    runtime: Runtime,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Polls `condition` until it holds.
pub fn is_soon(what: &str, mut condition: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test waits for real peers")]
    let now = Instant::now;
    let deadline = now() + DEADLINE;
    while !condition() {
        assert!(now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_released(config: &Config) -> bool {
    let held = File::open(config.folder.join("log").join("db"));
    held.map_or(true, |file| file.try_lock().is_ok())
}

/// A peer whose folder goes away while it flushes ends the whole process, so the folders are removed only when nobody
/// holds their files any more.
impl Drop for Peers {
    fn drop(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            running.runtime.shutdown_background();
        }
        // Not `is_soon`: a second panic would hide the first.
        for _ in 0..DEADLINE.as_millis() / RELEASE_STEP.as_millis() {
            if self.configs.values().all(is_released) {
                return;
            }
            std::thread::sleep(RELEASE_STEP);
        }
    }
}

impl Peers {
    pub fn start(count: u64) -> Self {
        Self::start_with(count, |_| {})
    }

    pub fn start_with(count: u64, change: impl Fn(&mut Config)) -> Self {
        let mut peers = Self::prepare(count, change);
        for id in 1..=count {
            peers.begin(id);
        }
        for id in 1..=count {
            peers.started(id);
        }
        peers
    }

    /// Peers that do not run yet.
    pub fn prepare(count: u64, change: impl Fn(&mut Config)) -> Self {
        let folders = tempfile::tempdir().unwrap();
        let addresses: BTreeMap<u64, SocketAddr> =
            (1..=count).map(|id| (id, free_address())).collect();
        let members: BTreeMap<u64, String> = addresses
            .iter()
            .map(|(id, at)| (*id, at.to_string()))
            .collect();
        let configs = addresses.keys().map(|&id| {
            let mut config = Config {
                id,
                group: GROUP,
                beginning: 0,
                folder: folders.path().join(id.to_string()),
                members: members.clone(),
                timing: Timing::lan(),
                transport: Arc::new(raft::Plain),
                snapshot_every: 5000,
                keep_before_snapshot: 1000,
            };
            change(&mut config);
            (id, config)
        });
        let configs = configs.collect();
        let doors = addresses.keys().map(|id| (*id, Door::default()));
        Self {
            _folders: folders,
            configs,
            doors: doors.collect(),
            running: BTreeMap::new(),
            runtime: runtime(),
        }
    }

    /// Begins to start a peer that does not run, as soon as its folder and its port are free.
    pub fn begin(&mut self, id: u64) {
        let config = self.configs[&id].clone();
        let runtime = runtime();
        let mut listener = None;
        is_soon("the port is free", || {
            listener = runtime
                .block_on(TcpListener::bind(&config.members[&id]))
                .ok();
            listener.is_some()
        });
        let listener = listener.unwrap();
        let newborn = Newborn::open(config.clone()).unwrap();
        let (stages, stage) = watch::channel(Stage::Newborn(newborn));
        let mut tasks = JoinSet::new();
        let answer = self.doors[&id].answer(stage.clone());
        let transport = config.transport.clone();
        let served = async move {
            raft::serve(&listener, transport, answer, std::future::pending()).await;
        };
        tasks.spawn_on(served, runtime.handle());
        let start = async move {
            loop {
                let Stage::Newborn(newborn) = stages.borrow().clone() else {
                    return;
                };
                match Consensus::start(newborn, Numbers::default()).await {
                    Ok(started) => drop(stages.send_replace(Stage::Started(started))),
                    Err(StartError::InUse) => tokio::time::sleep(RELEASE_STEP).await,
                    Err(error) => {
                        drop(stages.send_replace(Stage::Refused(format!("{error:?}"))));
                    }
                }
            }
        };
        tasks.spawn_on(start, runtime.handle());
        let running = Running {
            runtime,
            stage,
            _tasks: tasks,
        };
        self.running.insert(id, running);
    }

    /// Waits until a peer has started.
    pub fn started(&self, id: u64) {
        is_soon(&format!("peer {id} has started"), || {
            match &*self.running[&id].stage.borrow() {
                Stage::Started(_) => true,
                Stage::Newborn(_) => false,
                Stage::Refused(why) => panic!("peer {id} does not start: {why}"),
            }
        });
    }

    /// Why the start of a peer was refused.
    pub fn refused(&self, id: u64) -> String {
        let mut refused = String::new();
        is_soon(&format!("peer {id} is refused"), || {
            match &*self.running[&id].stage.borrow() {
                Stage::Started(_) => panic!("peer {id} takes part"),
                Stage::Newborn(_) => false,
                Stage::Refused(why) => {
                    refused.clone_from(why);
                    true
                }
            }
        });
        refused
    }

    /// What a peer that has not started waits for.
    pub fn waiting(&self, id: u64) -> Option<Waiting> {
        match &*self.running[&id].stage.borrow() {
            Stage::Newborn(newborn) => newborn.waiting(),
            Stage::Started(_) => panic!("peer {id} takes part"),
            Stage::Refused(why) => panic!("{why}"),
        }
    }

    /// Starts a peer that does not run and waits until it has.
    pub fn restart(&mut self, id: u64) {
        self.begin(id);
        self.started(id);
    }

    /// Stops a peer in the middle of whatever it does.
    pub fn kill(&mut self, id: u64) {
        let running = self.running.remove(&id).unwrap();
        running.runtime.shutdown_background();
    }

    /// Stops a peer in order.
    pub fn shutdown(&mut self, id: u64) {
        let running = self.running.remove(&id).unwrap();
        running.runtime.block_on(running.consensus().shutdown());
    }

    /// Has a peer that does not run start with another configuration.
    pub fn change(&mut self, id: u64, change: impl FnOnce(&mut Config)) {
        change(self.configs.get_mut(&id).unwrap());
    }

    /// Takes away all that a peer which does not run has on its disk.
    pub fn empty(&self, id: u64) {
        let folder = &self.configs[&id].folder;
        // Not while its last writer still ends: a flush that fails ends the process.
        is_soon("the folder is free", || is_released(&self.configs[&id]));
        fs::remove_dir_all(folder).unwrap();
    }

    /// Cuts two peers off from each other, or joins them again.
    pub fn cut(&self, one: u64, other: u64, is_cut: bool) {
        self.doors[&one].refuse(other, is_cut);
        self.doors[&other].refuse(one, is_cut);
    }

    pub fn ids(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    pub fn others(&self, id: u64) -> Vec<u64> {
        self.ids()
            .into_iter()
            .filter(|other| *other != id)
            .collect()
    }

    pub fn consensus(&self, id: u64) -> Consensus<Numbers> {
        self.running[&id].consensus()
    }

    pub fn status(&self, id: u64) -> Status {
        self.consensus(id).status()
    }

    pub fn config(&self, id: u64) -> Config {
        self.configs[&id].clone()
    }

    /// Where the tests themselves wait.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            tokio::time::timeout(DEADLINE, future)
                .await
                .expect("not in time")
        })
    }

    /// The one peer that leads, as it and a majority say.
    pub fn leader(&self) -> u64 {
        let mut leader = None;
        is_soon("there is a leader", || {
            let leading = |id: &u64| self.status(*id).role == Role::Leader;
            let confirmed = |id: &u64| {
                let consensus = self.consensus(*id);
                self.wait(consensus.confirm_leadership(Duration::from_secs(1)))
                    .is_ok()
            };
            leader = self
                .ids()
                .into_iter()
                .find(|id| leading(id) && confirmed(id));
            leader.is_some()
        });
        leader.unwrap()
    }

    /// Adds a number through whoever leads.
    pub fn add(&self, number: u32) -> Applied<usize> {
        self.propose(&Command::One(number))
    }

    /// Has a command applied by whoever leads.
    pub fn propose(&self, command: &Command) -> Applied<usize> {
        let mut applied = None;
        is_soon("the command is applied", || {
            applied = self.ids().into_iter().find_map(|id| {
                let consensus = self.consensus(id);
                self.wait(consensus.propose(command.clone())).ok()
            });
            applied.is_some()
        });
        applied.unwrap()
    }

    /// All running peers come to hold exactly `numbers`.
    pub fn all_have(&self, numbers: Vec<u32>) {
        for id in self.ids() {
            is_soon(&format!("peer {id} has all numbers"), || {
                self.consensus(id).read(|state| state.0 == numbers)
            });
        }
    }
}
