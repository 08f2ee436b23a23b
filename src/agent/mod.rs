//! The agent: the hands of Primacy on a database host.
//!
//! One task, the [`worker`], owns the instance. It looks, asks a pure duty what to do, does it, and
//! looks again. Around it stand one session to each peer and the health listener. It keeps its promise
//! on disk before it does anything ([`crate::gate`]), stops whatever could accept writes without a live
//! lease, and never starts PostgreSQL without a command. Its own restart leaves PostgreSQL and the leash
//! alone.

pub mod backing;
pub mod claim;
pub mod config;
mod credentials;
pub(crate) mod directory;
#[cfg(test)]
mod example;
pub mod hands;
pub mod health;
pub mod lane;
pub mod leash;
pub mod observe;
pub mod perform;
pub mod port;
pub mod report;
pub mod running;
pub mod session;
pub mod start;
pub mod takeover;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::control::Run;
use crate::gate::{FolderLock, GateError, PromiseStore};
use crate::provider::{Endpoint, LocalPostgres};
use backing::Backer;
use claim::Claim;
pub use config::{AgentConfig, InvalidConfig, Role};
pub use credentials::enrol;
use hands::Hands;
use lane::Lane;
use leash::LeashKeeper;
use perform::Tools;
use session::{Incoming, Sessions};
use start::DataLock;
use worker::{Outlets, Worker};

/// How many messages of all peers may wait for the worker; more make the peers wait.
const INBOX: usize = 64;
/// How long a stop waits for the longer lease: peers elect a leader in less, and service managers wait longer.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// Why an agent cannot run, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It was refused before anything on disk was changed.
    #[error(transparent)]
    Refused(#[from] start::Refused),
    /// It has no certificate that it could show.
    #[error("tls: {0}")]
    Tls(String),
    /// The state folder cannot be prepared.
    #[error(transparent)]
    Folder(#[from] InvalidConfig),
    /// There is no disk for the promise.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The program that would be the leash is not known.
    #[error("find the path of this program; set `leash`")]
    Program(#[source] std::io::Error),
}

/// The locks of an agent on its folders. To be dropped after the runtime: that waits a moment for writes which nobody
/// else waits for any more, and none of them may come after those of another agent.
#[derive(Debug, Default)]
pub struct Locks {
    state: Option<FolderLock>,
    data: Option<DataLock>,
}

/// Runs an agent until `shutdown` completes and, if it holds the primary lease, a longer one was granted or was
/// waited for in vain. PostgreSQL and the leash outlive it; `locks` are held until the caller drops them.
/// Errors: [`AgentError`], only before PostgreSQL was touched; [`AgentError::Refused`] before anything was.
pub async fn run(
    config: AgentConfig,
    locks: &mut Locks,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let program = match &config.leash {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(AgentError::Program)?,
    };
    let fit = start::check(&config).await?;
    credentials::enrol_if_possible(&config).await?;
    let wire = credentials::wire(&config)?;
    let hands = Arc::new(Hands::prepare(config.clone(), fit.binaries)?);
    let lock = match fit.lock {
        Some(lock) => lock,
        None => FolderLock::take(&config.folder)?,
    };
    locks.state = Some(lock.clone());
    locks.data = Some(fit.data);
    let promise = PromiseStore::open(&config.folder, lock)?;
    let (address, listener) = (config.health, fit.listener);
    let tools = Tools {
        provider: Arc::new(LocalPostgres::new(Endpoint {
            socket_folder: config.socket_folder(),
            port: config.port,
            user: config.superuser.clone(),
        })),
        leash: LeashKeeper::new(
            program,
            config.folder.clone(),
            config.data.clone(),
            hands.account(),
        ),
        hands,
        changes: Lane::default(),
        wire: wire.clone(),
    };
    let (reports, seen_reports) = watch::channel(None);
    let (health, seen_health) = watch::channel(health::Health::default());
    let (group, seen_group) = watch::channel(fit.group);
    let (inbox, incoming) = mpsc::channel(INBOX);
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let run = Run::draw();
    let claim = Arc::new(Claim::default());
    let (named, seen_named) = watch::channel(directory::Named::read(&config.folder));
    let sessions = Sessions {
        cluster: config.cluster.clone(),
        instance: config.instance.clone(),
        run,
        wire: wire.clone(),
        claim: claim.clone(),
        group: seen_group.clone(),
        reports: seen_reports,
        named: Arc::new(named),
        worker: inbox.clone(),
    };
    let backer = Backer {
        cluster: config.cluster.clone(),
        instance: config.instance.clone(),
        group: seen_group,
        claim,
        worker: inbox.clone(),
    };
    let questions = wire.clone();
    let fresh = credentials::keep(wire, config.clone(), seen_named.clone());
    tasks.spawn(async move {
        fresh.await;
        "keeper of the certificate"
    });
    let (configured, folder) = (config.peers.clone(), config.folder.clone());
    tasks.spawn(async move {
        directory::keep(sessions, configured, seen_named, folder).await;
        "sessions"
    });
    let names = health::Names {
        cluster: config.cluster.clone(),
        instance: config.instance.clone(),
    };
    tasks.spawn(async move {
        port::serve(listener, questions, (seen_health, names), backer).await;
        "port"
    });
    let outlets = Outlets {
        reports,
        health,
        group,
    };
    tasks.spawn(async move {
        Worker::new(tools, promise, incoming, outlets).run().await;
        "worker"
    });
    tracing::info!(cluster = %config.cluster, instance = %config.instance, health = %address, "the agent runs");
    let leave = async {
        shutdown.await;
        let (may_end, ends) = oneshot::channel();
        let asked = async {
            // Without an answer the worker is gone, and the select below knows why.
            let told = inbox.send(Incoming::Stop(may_end)).await.is_ok();
            told && ends.await.is_ok()
        };
        if !timeout(LEAVE_WITHIN, asked).await.unwrap_or(false) {
            tracing::warn!(instance = %config.instance, "no longer lease was granted: PostgreSQL is stopped at the end of the present one unless the agent is back");
        }
    };
    tokio::select! {
        () = leave => {}
        Some(ended) = tasks.join_next() => match ended {
            Ok(name) => panic!("the {name} ended by itself"),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => panic!("a task was cancelled: {error}"),
        },
    }
    tasks.shutdown().await;
    tracing::info!(instance = %config.instance, "the agent ends; PostgreSQL and the leash stay");
    Ok(())
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
