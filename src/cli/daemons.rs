//! The verbs that stay: peer, agent and leash.

use std::ffi::OsString;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::server::{self, Config, ServerError};
use crate::{http, telemetry};

use super::{Exit, Failure, runtime};

pub(super) fn server(config: &Path) -> Result<(), Failure> {
    telemetry::start("info,openraft=warn");
    let config =
        Config::load(config).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    runtime()?.block_on(async {
        let shutdown = shutdown()?;
        server::run(config, http::router, shutdown)
            .await
            .map_err(|error| {
                let exit = match &error {
                    ServerError::Config(_)
                    | ServerError::Listen { .. }
                    | ServerError::Folder { .. } => Exit::Usage,
                    ServerError::Stopped(_) => Exit::Failed,
                };
                Failure::new(exit, error.to_string())
            })
    })
}

pub(super) fn agent(config: &Path) -> Result<(), Failure> {
    telemetry::start("info,openraft=warn");
    let _ = config;
    Err(Failure::new(
        Exit::Failed,
        "the agent is not part of this build",
    ))
}

pub(super) fn leash(arguments: Vec<OsString>) -> Result<(), Failure> {
    let _ = arguments;
    Err(Failure::new(
        Exit::Failed,
        "the leash is not part of this build",
    ))
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
