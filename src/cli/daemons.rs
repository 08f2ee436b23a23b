//! The verbs that stay: peer, agent and leash.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{AgentConfig, AgentError, Locks};
use crate::leash;
use crate::server::{self, Config, ServerError};
use crate::{http, telemetry};

use super::{Exit, Failure, runtime, runtime_of_peer};

pub(super) fn server(path: &Path) -> Result<(), Failure> {
    let _log = telemetry::start();
    let text = configuration(path, "a peer's")?;
    let mut config = Config::parse(&text).map_err(|error| refused(path, error))?;
    if config.holds_a_password() && others_may_read(path) {
        let path = path.display();
        config.warnings.push(format!(
            "{path} holds a password, and others may read it: chmod 600 {path}"
        ));
    }
    runtime_of_peer()?.block_on(async {
        let shutdown = shutdown()?;
        server::run(config, http::PORT, shutdown)
            .await
            .map_err(|error| match error {
                ServerError::Config(_)
                | ServerError::Listen { .. }
                | ServerError::Join(_)
                | ServerError::Tls(_)
                | ServerError::Folder { .. } => refused(path, error),
                // A code of its own: nobody should start it again.
                ServerError::Removed { .. } => Failure::new(Exit::Refused, error.to_string()),
                ServerError::Stopped(_) => Failure::new(Exit::Failed, error.to_string()),
            })
    })
}

pub(super) fn agent(path: &Path) -> Result<(), Failure> {
    let _log = telemetry::start();
    let text = configuration(path, "an agent's")?;
    let config = AgentConfig::parse(&text).map_err(|error| refused(path, error))?;
    let mut locks = Locks::default();
    // Dropped before the locks.
    let runtime = runtime()?;
    runtime.block_on(async {
        let shutdown = shutdown()?;
        let ended = crate::agent::run(config, &mut locks, shutdown).await;
        ended.map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map_or(String::new(), |cause| format!(": {cause}"));
            let text = format!("{error}{cause}");
            match error {
                AgentError::Refused(_) | AgentError::Tls(_) => refused(path, text),
                AgentError::Folder(_) | AgentError::Gate(_) | AgentError::Program(_) => {
                    Failure::new(Exit::Failed, text)
                }
            }
        })
    })
}

/// Has no log but its own words: it is one thread that waits for nobody.
pub(super) fn leash(args: &leash::Args) -> Result<(), Failure> {
    leash::run(args).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// Most bytes of a configuration: fifty times those of the samples.
const LONGEST: u64 = 256 * 1024;

/// The text of a configuration.
pub(super) fn configuration(path: &Path, whose: &str) -> Result<String, Failure> {
    let read = || {
        let mut text = String::new();
        let mut file = File::open(path)?.take(LONGEST + 1);
        file.read_to_string(&mut text)?;
        match text.len() as u64 > LONGEST {
            true => Err(std::io::Error::other("it is far too long for one")),
            false => Ok(text),
        }
    };
    read().map_err(|error| {
        let path = path.display();
        let text = format!(
            "cannot read {path}: {error}; give the path of {whose} configuration with --config"
        );
        Failure::new(Exit::Usage, text)
    })
}

/// Whether whoever is on this host may read the file, as far as its mode says.
fn others_may_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0)
}

/// What is configured there cannot work; nothing on disk has changed.
pub(super) fn refused(path: &Path, why: impl Display) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {why}", path.display()))
}

/// Resolves when the process is asked to end.
fn shutdown() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::new(Exit::Failed, format!("signals: {error}")))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
