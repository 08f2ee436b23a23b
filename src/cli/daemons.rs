//! The verbs that stay: peer, agent and leash.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{AgentConfig, AgentError};
use crate::leash;
use crate::server::{self, Config, ServerError};
use crate::{http, telemetry};

use super::{Exit, Failure, runtime};

pub(super) fn server(config: &Path, insecure_listen: bool) -> Result<(), Failure> {
    telemetry::start("info,openraft=warn");
    let config = Config::load(config, insecure_listen)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
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

pub(super) fn agent(config: &Path, insecure_listen: bool) -> Result<(), Failure> {
    telemetry::start("info");
    let text = std::fs::read_to_string(config).map_err(|error| {
        let path = config.display();
        let text = format!(
            "cannot read {path}: {error}; give the path of an agent's configuration with --config"
        );
        Failure::new(Exit::Usage, text)
    })?;
    let settings = AgentConfig::parse(&text, insecure_listen)
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", config.display())))?;
    runtime()?.block_on(async {
        let shutdown = shutdown()?;
        crate::agent::run(settings, shutdown)
            .await
            .map_err(|error| {
                let cause = std::error::Error::source(&error)
                    .map_or(String::new(), |cause| format!(": {cause}"));
                let exit = match &error {
                    AgentError::Refused(_) => Exit::Usage,
                    AgentError::Folder(_) | AgentError::Gate(_) | AgentError::Program(_) => {
                        Exit::Failed
                    }
                };
                Failure::new(exit, format!("{error}{cause}"))
            })
    })
}

pub(super) fn leash(args: &leash::Args) -> Result<(), Failure> {
    telemetry::start("info");
    leash::run(args).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
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
