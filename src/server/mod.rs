//! The shell of a peer: it hears agents, asks the pure core what to do, has it recorded and carried out.
//!
//! Only the leader decides and commands; every peer observes. The shell must never decide anything that
//! [`crate::decision`] could, and never act on a record that a majority did not confirm.

pub mod calls;
pub mod config;
pub mod control;
mod credentials;
mod execute;
mod folder;
pub mod hex;
pub mod hooks;
pub mod join;
pub mod lease;
pub mod leaving;
pub mod limits;
mod listen;
mod look;
mod machine;
pub mod observe;
pub mod propose;
pub mod publish;
pub mod restore;
pub mod sessions;
pub mod sql_only;
pub mod standing;
pub mod turns;
pub(crate) mod upgrade;
mod vigil;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use raft::{Consensus, Deduplicated, Newborn, Role};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::model::{ClusterName, PeerId};
use crate::state::State;

pub use config::{Config, ConfigError, TopologyLogin};
pub use credentials::issuer;
use sessions::{Sessions, Upgrade};

/// What the peers replicate: the state, changed once by each change however often it is proposed.
pub type Machine = Deduplicated<State>;

/// Whose word it is that this peer was removed.
#[derive(Debug)]
pub(crate) struct Removed(PeerId);

/// Why a peer does not start, or stopped. Each is one sentence with the next step.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port cannot be listened on.
    #[error("listen: cannot listen on {address}: {source}; free the port or change listen")]
    Listen {
        /// Of the configuration.
        address: std::net::SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error("folder: {folder} cannot be used: {why}")]
    Folder {
        /// Of the configuration.
        folder: String,
        /// Why, with the next step.
        why: String,
    },
    /// It has no certificate that it could show.
    #[error("tls: {0}")]
    Tls(String),
    /// It could not join the group.
    #[error("join: {0}")]
    Join(String),
    /// It is no member any more.
    #[error(
        "peer {peer} was removed from its group, as peer {by} says, and its number is never given again; \
         to come back, empty its folder and join with a new token (primacy peers add HOST:PORT)"
    )]
    Removed {
        /// This peer.
        peer: PeerId,
        /// Who says so.
        by: PeerId,
    },
    /// The replicated log failed while the peer ran.
    #[error("the peer stopped: {0}; look at the folder's disk and start it again")]
    Stopped(String),
}

/// A running peer, as its tasks and its HTTP handlers see it.
pub struct Peer {
    /// Its configuration.
    pub config: Config,
    /// The replicated state.
    pub consensus: Consensus<Machine>,
    /// What it has seen.
    pub board: observe::Board,
    /// Its calls to other peers.
    pub calls: calls::Calls,
    /// Since when what it finds stands, while it leads.
    pub standing: standing::Standing,
    /// What it knows of the user's programs, while it leads.
    pub hooks: hooks::Hooks,
    /// Which clusters may be given a new primary now, while it leads.
    pub turns: turns::Turns,
    /// Its part over SQL.
    pub sql: sql_only::SqlOnly,
    /// Tells the world of primaries, while it leads.
    pub publisher: publish::Publisher,
    sessions: Sessions,
    leases: lease::Leases,
    under_way: execute::UnderWay,
    vigil: vigil::Vigil,
    origins: propose::Origins,
    /// Leader and term, and since when in wall milliseconds.
    led: watch::Sender<Option<((PeerId, u64), u64)>>,
    upgrades: mpsc::Sender<Upgrade>,
}

impl Peer {
    /// The term in which this peer leads, as far as it knows.
    pub fn leading_term(&self) -> Option<u64> {
        let view = *self.consensus.watch().borrow();
        (view.role == Role::Leader).then_some(view.term)
    }

    /// The leader as far as this peer knows, and its address.
    pub fn leader(&self) -> Option<(PeerId, String)> {
        let leader = self.consensus.watch().borrow().leader?;
        let address = self.consensus.address_of(leader);
        let leader = PeerId(leader);
        // Before it knows of any members, those that it was told to ask.
        let address = address.or_else(|| self.config.peers.get(&leader).cloned());
        Some((leader, address?))
    }

    /// The present members, learners too: id to `host:port`. Before the group is born, those it will be born with.
    pub fn members(&self) -> BTreeMap<PeerId, String> {
        let members = self.consensus.status().members;
        if members.is_empty() {
            return self.config.peers.clone();
        }
        let peers = members
            .into_iter()
            .map(|(id, address)| (PeerId(id), address));
        peers.collect()
    }

    /// Those of the members that have a vote.
    pub fn voters(&self) -> Vec<PeerId> {
        let voters = self.consensus.status().voters;
        match voters.is_empty() {
            true => self.config.peers.keys().copied().collect(),
            false => voters.into_iter().map(PeerId).collect(),
        }
    }

    /// When this peer saw `leader` take over in `term`, in wall milliseconds, if it did.
    pub fn led_since(&self, leader: PeerId, term: u64) -> Option<u64> {
        let (of, since) = (*self.led.borrow())?;
        (of == (leader, term)).then_some(since)
    }

    fn note_leader(&self, view: &raft::View) {
        let Some(leader) = view.leader else { return };
        let of = (PeerId(leader), view.term);
        self.led.send_if_modified(|led| {
            let is_new = led.is_none_or(|(known, _)| known != of);
            if is_new {
                *led = Some((of, clock::wall_millis()));
            }
            is_new
        });
    }

    /// The commands under way, in words: instance, action and order.
    pub fn under_way(&self, cluster: &ClusterName) -> Vec<crate::recovery::Step> {
        self.under_way.of(cluster)
    }

    /// The instances of which a second agent says that they are its own.
    pub fn contested(&self, cluster: &ClusterName) -> Vec<crate::model::InstanceId> {
        self.sessions.contested(cluster)
    }

    /// Hands an upgraded connection over to the sessions; false if too many wait.
    pub fn accept_session(&self, upgrade: Upgrade) -> bool {
        self.upgrades.try_send(upgrade).is_ok()
    }
}

/// What a peer's one port answers.
pub struct Routes {
    /// Until the peer takes part: see [`Newborn`].
    pub starting: fn(Config, Newborn, calls::Calls) -> Router,
    /// From then on.
    pub serving: fn(Arc<Peer>) -> Router,
}

/// Runs a peer until `shutdown` resolves. `routes` says what its port answers.
///
/// # Errors
/// [`ServerError`]; before the port and the folder were found usable nothing on disk has changed.
pub async fn run(
    config: Config,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let mut shutdown = std::pin::pin!(shutdown);
    if let Some(login) = &config.postgresql {
        login.check()?;
    }
    let publisher = publish::Publisher::of(&config.publish)?;
    let listener =
        TcpListener::bind(config.listen)
            .await
            .map_err(|source| ServerError::Listen {
                address: config.listen,
                source,
            })?;
    folder::check(&config)?;
    let config = tokio::select! {
        admitted = join::admitted(config) => admitted?,
        () = &mut shutdown => return Ok(()),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Not before: one that joined, or is alone, learns its group only now.
    let access = config
        .postgresql
        .as_ref()
        .map(|login| sql_only::Access::read(login, config.group));
    let access = access.transpose()?;
    let refused = |error| folder::error(&config, error);
    let wire = credentials::wire(&config)?;
    let calls = calls::Calls::over(wire.clone());
    let newborn = Newborn::open(folder::config_of(&config, &wire)).map_err(refused)?;
    let refusals = listen::Refusals::default();
    let port = |routes| listen::Port {
        wire: wire.clone(),
        routes,
        refusals: refusals.clone(),
    };
    let starting = port((routes.starting)(
        config.clone(),
        newborn.clone(),
        calls.clone(),
    ));
    // Who has nobody to ask is soon there: until then the kernel holds what is asked of it.
    let is_new = newborn.asks();
    let (consensus, _asked_before) = {
        let started = CancellationToken::new();
        let mut waiting = std::pin::pin!(listen::accept(&listener, &starting, started.clone()));
        let consensus = tokio::select! {
            started = Consensus::start(newborn, Machine::default()) => started.map_err(refused)?,
            _ = &mut waiting, if is_new => unreachable!("nobody cancels it before"),
            () = &mut shutdown => return Ok(()),
        };
        started.cancel();
        // What was asked before is answered as it would have been.
        let asked_before = match is_new {
            true => waiting.await,
            false => JoinSet::new(),
        };
        (consensus, asked_before)
    };
    join::note_begin(&config)
        .map_err(|error| ServerError::Join(format!("{error}; look at the disk")))?;
    tracing::info!(peer = %config.id, zone = %config.zone, listen = %config.listen, "peer serves");
    // When full, a new session is refused and the agent tries again.
    let (upgrades, accepted) = mpsc::channel(64);
    let peer = Arc::new(Peer {
        sql: sql_only::SqlOnly::new(access),
        publisher,
        hooks: hooks::Hooks::default(),
        turns: turns::Turns::new(config.max_concurrent_recoveries),
        config,
        consensus: consensus.clone(),
        board: observe::Board::default(),
        calls,
        standing: standing::Standing::default(),
        sessions: Sessions::default(),
        leases: lease::Leases::default(),
        under_way: execute::UnderWay::default(),
        vigil: vigil::Vigil::default(),
        origins: propose::Origins::draw(),
        led: watch::channel(None).0,
        upgrades,
    });
    let mut tasks = JoinSet::new();
    let leaving = CancellationToken::new();
    let serving = port((routes.serving)(peer.clone()));
    tasks.spawn(listen::serve(listener, serving, leaving.clone()));
    tasks.spawn(sessions::accept(peer.clone(), accepted));
    tasks.spawn(lead(peer.clone()));
    tasks.spawn(sql_only::probe(peer.clone()));
    let fresh = credentials::keep(wire.clone(), peer.config.clone());
    tasks.spawn(async move {
        fresh.await;
        "nobody keeps the certificate fresh".to_owned()
    });
    let watcher = peer.clone();
    tasks.spawn(async move { watcher.vigil.keep().await });
    let mut watch = consensus.watch();
    let stopped = watch.wait_for(|view| view.role == Role::Stopped);
    let result = tokio::select! {
        () = &mut shutdown => Ok(()),
        by = leaving::until_removed(&peer) => Err(ServerError::Removed { peer: peer.config.id, by: by.0 }),
        _ = stopped => {
            let why = consensus.status().stopped.unwrap_or_else(|| "its log was closed".to_owned());
            Err(ServerError::Stopped(why))
        }
        Some(ended) = tasks.join_next() => {
            let why = expect_no_panic(ended).unwrap_or_else(|| "it was cancelled".to_owned());
            Err(ServerError::Stopped(why))
        }
    };
    if result.is_ok() {
        // The control loops end with the leadership, and the others go on at once.
        leaving::hand_over(&consensus).await;
        leaving.cancel();
        if let Some(ended) = tasks.join_next().await {
            expect_no_panic(ended);
        }
    }
    tasks.shutdown().await;
    drop(peer);
    consensus.shutdown().await;
    result
}

/// The result of a task; a panic of a task is a panic of its owner.
fn expect_no_panic<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

/// Runs the control loops while this peer leads; they stop with the term.
async fn lead(peer: Arc<Peer>) -> String {
    let mut watch = peer.consensus.watch();
    let mut tasks = JoinSet::new();
    let mut leading = None;
    loop {
        let view = *watch.borrow_and_update();
        peer.note_leader(&view);
        let term = (view.role == Role::Leader).then_some(view.term);
        if term != leading {
            leading = term;
            tasks.shutdown().await;
            peer.under_way.clear();
            peer.standing.clear();
            peer.sql.clear();
            peer.publisher.clear();
            peer.hooks.clear();
            peer.turns.clear();
            peer.leases
                .lead(term, clock::monotonic(), peer.config.network);
            match term {
                Some(term) => {
                    tracing::info!(term, "this peer leads");
                    tasks.spawn(control::run(peer.clone()));
                    tasks.spawn(sql_only::control(peer.clone()));
                    tasks.spawn(upgrade::run(peer.clone()));
                    tasks.spawn(publish::run(peer.clone()));
                }
                None => tracing::info!("this peer no longer leads"),
            }
        }
        tokio::select! {
            changed = watch.changed() => if changed.is_err() {
                return "the replicated log ended".to_owned();
            },
            Some(ended) = tasks.join_next() => {
                expect_no_panic(ended);
            }
        }
    }
}
