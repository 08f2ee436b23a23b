//! A group that grows and shrinks: peers on the loopback, each on a runtime of its own so that one can be killed without
//! grace.

use std::{
    collections::BTreeMap,
    fs::File,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use raft::{
    ChangeError, Config, Consensus, Deduplicated, GroupId, Newborn, RecordError, Role, StartError,
    StateMachine, Timing,
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::peers::free_address;

/// Nothing these tests wait for takes longer on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);
const GROUP: GroupId = GroupId::from_bytes(*b"a growing group.");

/// Every number it was ever given, in order, repetitions included; replies with how many there are.
#[derive(Debug, Clone, Default)]
pub struct Tally(pub Vec<u64>);

impl StateMachine for Tally {
    type Command = u64;
    type Reply = u64;

    fn apply(&mut self, _index: u64, number: u64) -> u64 {
        self.0.push(number);
        self.0.len() as u64
    }

    fn encode(&self) -> Vec<u8> {
        raft::seal(&self.0).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(Self(raft::unseal(bytes, raft::MAX_SNAPSHOT_BYTES)?))
    }
}

pub type Handle = Consensus<Deduplicated<Tally>>;

struct Running {
    runtime: Runtime,
    consensus: Handle,
    /// Aborted with the runtime.
    _server: JoinSet<()>,
}

/// The handles of the running peers, as clients see them.
pub type Handles = Arc<Mutex<BTreeMap<u64, Handle>>>;

pub struct Company {
    folders: TempDir,
    configs: BTreeMap<u64, (Config, SocketAddr)>,
    running: BTreeMap<u64, Running>,
    handles: Handles,
    runtime: Runtime,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn started((config, at): (Config, SocketAddr)) -> Running {
    let runtime = runtime();
    let (listener, consensus) = runtime.block_on(async {
        let bound = soon("the port is free", async || {
            TcpListener::bind(at).await.ok()
        });
        let listener = bound.await;
        let begun = soon("the folder is free", async || {
            let newborn = Newborn::open(config.clone()).unwrap();
            match Consensus::start_on(&listener, newborn, Deduplicated::default()).await {
                Ok(started) => Some(started),
                Err(StartError::InUse) => None,
                Err(error) => panic!("peer {} does not start: {error:?}", config.id),
            }
        });
        let consensus = begun.await;
        (listener, consensus)
    });
    let mut server = JoinSet::new();
    let served = consensus.clone();
    let serve = async move { served.serve_on(&listener, std::future::pending()).await };
    server.spawn_on(serve, runtime.handle());
    Running {
        runtime,
        consensus,
        _server: server,
    }
}

/// A peer whose folder goes away while it flushes ends the whole process, so the folders are removed only when nobody
/// holds their files any more.
impl Drop for Company {
    fn drop(&mut self) {
        self.handles.lock().unwrap().clear();
        for running in std::mem::take(&mut self.running).into_values() {
            running.runtime.shutdown_background();
        }
        let is_released = |(config, _): &(Config, SocketAddr)| {
            let held = File::open(config.folder.join("log").join("db"));
            held.map_or(true, |file| file.try_lock().is_ok())
        };
        for _ in 0..1000 {
            if self.configs.values().all(is_released) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Company {
    /// A group of `count` voters.
    pub fn start(count: u64) -> Self {
        Self::start_with(count, |_| {})
    }

    pub fn start_with(count: u64, change: impl Fn(&mut Config)) -> Self {
        let mut company = Self {
            folders: tempfile::tempdir().unwrap(),
            configs: BTreeMap::new(),
            running: BTreeMap::new(),
            handles: Handles::default(),
            runtime: runtime(),
        };
        let addresses: BTreeMap<u64, SocketAddr> =
            (1..=count).map(|id| (id, free_address())).collect();
        let members: BTreeMap<u64, String> = addresses
            .iter()
            .map(|(id, at)| (*id, at.to_string()))
            .collect();
        for (id, at) in addresses {
            let mut config = company.config(id, members.clone());
            change(&mut config);
            company.configs.insert(id, (config, at));
        }
        company.run_all((1..=count).collect());
        company
    }

    fn config(&self, id: u64, members: BTreeMap<u64, String>) -> Config {
        Config {
            id,
            group: GROUP,
            beginning: 0,
            folder: self.folders.path().join(id.to_string()),
            members,
            timing: Timing::lan(),
            transport: Arc::new(raft::Plain),
            snapshot_every: 5000,
            keep_before_snapshot: 1000,
        }
    }

    /// Starts a peer that is no member yet, and says where it answers.
    pub fn newcomer(&mut self, id: u64) -> String {
        let at = free_address();
        let config = self.config(id, BTreeMap::new());
        self.configs.insert(id, (config, at));
        self.run(id);
        at.to_string()
    }

    /// Starts a peer that does not run, as soon as its folder and port are free.
    pub fn run(&mut self, id: u64) {
        self.run_all(vec![id]);
    }

    /// Starts peers together: a group begins when all its first members are up.
    fn run_all(&mut self, ids: Vec<u64>) {
        let configs = &self.configs;
        let started: Vec<Running> = std::thread::scope(|scope| {
            let begun: Vec<_> = ids
                .iter()
                .map(|id| scope.spawn(|| started(configs[id].clone())))
                .collect();
            let ended = begun.into_iter().map(|begun| begun.join().unwrap());
            ended.collect()
        });
        for (id, running) in ids.into_iter().zip(started) {
            let consensus = running.consensus.clone();
            self.handles.lock().unwrap().insert(id, consensus);
            self.running.insert(id, running);
        }
    }

    /// Stops a peer in the middle of whatever it does.
    pub fn kill(&mut self, id: u64) {
        self.handles.lock().unwrap().remove(&id);
        let running = self.running.remove(&id).unwrap();
        running.runtime.shutdown_background();
    }

    /// Stops a peer as an operator does: if it leads, it hands over first.
    pub fn stop(&mut self, id: u64) {
        let Running {
            runtime,
            consensus,
            _server,
        } = self.running.remove(&id).unwrap();
        runtime.block_on(async {
            let handed = consensus.hand_over(DEADLINE).await;
            handed.unwrap_or_else(|error| panic!("peer {id} does not hand over: {error}"));
        });
        self.handles.lock().unwrap().remove(&id);
        // What it took is answered before it goes, as by a server that ends its requests first.
        let taken = consensus.status().last_log_index;
        runtime.block_on(soon("what it took is applied", async || {
            let applied = consensus.watch().borrow().applied_index;
            (applied >= taken).then_some(())
        }));
        runtime.block_on(consensus.shutdown());
        drop(_server);
        runtime.shutdown_background();
    }

    pub fn ids(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    pub fn handles(&self) -> Handles {
        self.handles.clone()
    }

    pub fn consensus(&self, id: u64) -> Handle {
        self.running[&id].consensus.clone()
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let waited = tokio::time::timeout(DEADLINE, future).await;
            waited.expect("not in time")
        })
    }

    pub fn pause(&self, time: Duration) {
        self.runtime.block_on(async { sleep(time).await });
    }

    /// The one peer that leads, as it and a majority say.
    pub fn leader(&self) -> u64 {
        self.wait(soon("there is a leader", async || {
            for (id, running) in &self.running {
                let consensus = &running.consensus;
                let confirmed = consensus.confirm_leadership(Duration::from_secs(1));
                if consensus.status().role == Role::Leader && confirmed.await.is_ok() {
                    return Some(*id);
                }
            }
            None
        }))
    }

    /// What `change` gives at the leader of the moment; asked again while it is no leader's to answer, or while a peer has
    /// yet to answer and to catch up.
    pub fn at_leader<T>(
        &self,
        change: impl AsyncFn(Handle) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        use raft::ChangeError as E;
        self.repeated(change, |error| {
            // It is being caught up, or the leader has only just begun to lead.
            matches!(
                error,
                E::Behind { .. } | E::Silent { .. } | E::NoQuorum { .. }
            )
        })
    }

    /// What `change` gives at the leader of the moment; asked again only while it is no leader's to answer.
    pub fn refused_by_leader<T>(
        &self,
        change: impl AsyncFn(Handle) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        self.repeated(change, |_| false)
    }

    fn repeated<T>(
        &self,
        change: impl AsyncFn(Handle) -> Result<T, ChangeError>,
        passes: impl Fn(&ChangeError) -> bool,
    ) -> Result<T, ChangeError> {
        use raft::ChangeError as E;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let leader = self.leader();
            match self.wait(change(self.consensus(leader))) {
                Err(E::NotLeader { .. } | E::UnderWay | E::HandedOver { .. })
                    if Instant::now() < deadline => {}
                Err(error) if passes(&error) && Instant::now() < deadline => {}
                other => return other,
            }
            self.pause(Duration::from_millis(10));
        }
    }

    /// The voters by the leader's word.
    pub fn voters(&self) -> Vec<u64> {
        self.consensus(self.leader()).status().voters
    }

    /// All running peers come to hold each of `told` exactly once, and the same as each other.
    pub fn all_hold(&self, told: &[u64]) {
        let leader = self.consensus(self.leader());
        let held = leader.read(|state| state.0.clone());
        let mut sorted = held.clone();
        sorted.sort_unstable();
        let repeated: Vec<_> = sorted.windows(2).filter(|two| two[0] == two[1]).collect();
        assert!(repeated.is_empty(), "applied twice: {repeated:?}");
        let lost: Vec<_> = told
            .iter()
            .filter(|number| sorted.binary_search(number).is_err())
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        for (id, running) in &self.running {
            self.wait(soon(&format!("peer {id} has caught up"), async || {
                let has = running.consensus.read(|state| state.0.len() >= held.len());
                has.then_some(())
            }));
            let same = running
                .consensus
                .read(|state| state.0[..held.len()] == held[..]);
            assert!(same, "peer {id} holds something else");
        }
    }
}

/// Asks until there is an answer.
pub async fn soon<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
