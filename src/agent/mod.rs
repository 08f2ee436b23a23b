//! The agent: the hands of Primacy on a database host.
//!
//! One task, the [`worker`], owns the instance. It looks, asks a pure duty what to do, does it, and
//! looks again. Around it stand one session to each peer and the health listener. It keeps its promise
//! on disk before it does anything ([`crate::gate`]), stops whatever could accept writes without a live
//! lease, and never starts PostgreSQL without a command. Its own restart leaves PostgreSQL and the leash
//! alone.

pub mod config;
pub mod hands;
pub mod health;
pub mod lease;
pub mod leash;
pub mod observe;
pub mod perform;
pub mod report;
pub mod running;
pub mod session;
pub mod worker;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::gate::{GateError, PromiseStore};
use crate::provider::{Endpoint, Postgres};
pub use config::{AgentConfig, InvalidConfig, Role};
use hands::Hands;
use leash::LeashKeeper;
use perform::Tools;
use session::Sessions;
use worker::{Outlets, Worker};

/// How many messages of all peers may wait for the worker; more make the peers wait.
const INBOX: usize = 64;

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration does not fit this host.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// There is no lock or no disk for the promise.
    #[error("open the promise")]
    Gate(#[from] GateError),
    /// The health address cannot be used.
    #[error("listen for health checks on {address}; is another agent running, or is the address not of this host?")]
    Health {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program that would be the leash is not known.
    #[error("find the path of this program; set `leash`")]
    Program(#[source] std::io::Error),
}

/// Runs an agent until `shutdown` completes. PostgreSQL and the leash outlive it.
/// Errors: [`AgentError`], only before anything was done.
pub async fn run(
    config: AgentConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    config.validate()?;
    let program = match &config.leash {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(AgentError::Program)?,
    };
    let hands = Arc::new(Hands::prepare(config.clone())?);
    let promise = PromiseStore::open(&config.folder)?;
    let address = config.health;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| AgentError::Health { address, source })?;
    let tools = Tools {
        provider: Arc::new(Postgres::new(Endpoint {
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
    };
    let (reports, seen_reports) = watch::channel(None);
    let (health, seen_health) = watch::channel(health::Health::default());
    let (group, seen_group) = watch::channel(promise.record().map(|it| it.group.clone()));
    let (inbox, incoming) = mpsc::channel(INBOX);
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    for (peer, address) in config.peers.iter().cloned().enumerate() {
        let sessions = Sessions {
            cluster: config.cluster.clone(),
            instance: config.instance.clone(),
            group: seen_group.clone(),
            reports: seen_reports.clone(),
            worker: inbox.clone(),
        };
        tasks.spawn(async move {
            sessions.keep(peer, address).await;
            "session"
        });
    }
    let names = health::Names {
        cluster: config.cluster.clone(),
        instance: config.instance.clone(),
    };
    tasks.spawn(async move {
        health::serve(listener, seen_health, names).await;
        "health listener"
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
    tokio::select! {
        () = shutdown => {}
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
