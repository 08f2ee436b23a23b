//! What an agent shows to peers, whom it trusts, and how it comes by both.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock;
use crate::security::authority::prepare_folder;
use crate::security::enrolment::Wish;
use crate::security::newcomer::{self, Renewed};
use crate::security::renewal::{self, Keeper};
use crate::security::{Credentials, Expected, Files, SecurityError, Tls, Who, Wire};

use super::directory::Named;
use super::{AgentConfig, AgentError};

/// A lost first packet is repeated after a second.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How this agent speaks to peers. Its certificate must be of its instance; its installation is the one that the
/// certificate names.
pub(super) fn wire(config: &AgentConfig) -> Result<Wire, AgentError> {
    match config.plain_http {
        true => Ok(Wire::Plain),
        false => Ok(Wire::Tls(Tls::new(load(config)?))),
    }
}

/// Asks for a certificate with the join token, unless that was used here: it is needed once. With a new token the
/// certificate that is there is replaced; it may be one that no peer trusts any more.
pub async fn enrol(config: &AgentConfig) -> Result<(), AgentError> {
    let token = config.token()?;
    let Some((token, files)) = token.zip(config.files()) else {
        return Ok(());
    };
    let folder = config.tls_folder();
    if files.certificate.exists() && newcomer::has_used(&folder, &token) {
        return Ok(());
    }
    let failed = |why: String| AgentError::Tls(format!("`join`: {why}"));
    prepare_folder(&folder).map_err(|error| refused(&error))?;
    let nonce = newcomer::nonce(&folder).map_err(|error| refused(&error))?;
    let wish = Wish::Agent {
        cluster: config.cluster.clone(),
        instance: config.instance.clone(),
    };
    let joined = newcomer::join(&token, wish, nonce).await.map_err(failed)?;
    let kept = files.keep(&joined.issued, &joined.authorities);
    kept.and_then(|()| newcomer::note_used(&folder, &token))
        .map_err(|error| refused(&error))?;
    tracing::info!(instance = %config.instance, "this agent was given its certificate");
    Ok(())
}

/// The same at the start: with a certificate that is there it goes on, whatever becomes of the token.
pub(super) async fn enrol_if_possible(config: &AgentConfig) -> Result<(), AgentError> {
    let has_one = config.files().is_some_and(|it| it.certificate.exists());
    match enrol(config).await {
        Err(error) if has_one => {
            tracing::warn!(%error, "the join token is of no use; going on with the certificate that is there");
            Ok(())
        }
        other => other,
    }
}

/// Reads its certificate anew.
pub(super) fn load(config: &AgentConfig) -> Result<Credentials, AgentError> {
    let files = config.files();
    let files = files.ok_or_else(|| AgentError::Tls("this agent speaks plain HTTP".to_owned()))?;
    let found = files.identity().map_err(|error| refused(&error))?;
    let expected = Who::Agent {
        cluster: config.cluster.clone(),
        instance: config.instance.clone(),
    };
    if found.who != expected {
        return Err(AgentError::Tls(format!(
            "{}: the certificate is of {} and the configuration of {expected}; give each agent its own",
            files.certificate.display(),
            found.who
        )));
    }
    let read = Credentials::load(found.group, &files, clock::wall_millis());
    read.map_err(|error| refused(&error))
}

/// The certificate of this agent, which any peer renews.
struct OwnCertificate {
    config: AgentConfig,
    files: Files,
    wire: Wire,
    named: watch::Receiver<Named>,
}

/// Keeps the certificate fresh, until dropped; in plain HTTP there is none.
pub(super) async fn keep(wire: Wire, config: AgentConfig, named: watch::Receiver<Named>) {
    match (&wire, config.files()) {
        (Wire::Tls(tls), Some(files)) => {
            let tls = tls.clone();
            let own = OwnCertificate {
                config,
                files,
                wire,
                named,
            };
            renewal::keep(&tls, &own).await;
        }
        (Wire::Plain, _) | (_, None) => std::future::pending().await,
    }
}

impl Keeper for OwnCertificate {
    fn files(&self) -> &Files {
        &self.files
    }

    fn load(&self) -> Result<Credentials, String> {
        load(&self.config).map_err(|error| error.to_string())
    }

    async fn renew(&self) -> Result<(), String> {
        let mut peers = self.named.borrow().addresses.clone();
        peers.extend(self.config.peers.iter().cloned());
        let mut said = vec![];
        for address in peers {
            match self.renew_at(&address).await {
                Ok((issued, authorities)) => {
                    let kept = self.files.keep(&issued, &authorities);
                    return kept.map_err(|error| error.to_string());
                }
                Err(error) => said.push(format!("{address}: {error}")),
            }
        }
        match said.is_empty() {
            true => Err("no peer is known".to_owned()),
            false => Err(said.join("; ")),
        }
    }

    fn renews(&self) -> bool {
        self.config.tls.is_none()
    }
}

impl OwnCertificate {
    async fn renew_at(&self, address: &str) -> std::io::Result<Renewed> {
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address));
        let stream = stream.await.map_err(std::io::Error::other)??;
        let stream = self.wire.call(stream, Expected::AnyPeer).await?;
        newcomer::renew(stream, address).await
    }
}

fn refused(error: &SecurityError) -> AgentError {
    let cause = std::error::Error::source(error).map_or(String::new(), |c| format!(": {c}"));
    let next = match error {
        SecurityError::Read { .. } => {
            "; an agent is given its certificate with a join token: primacy invite agent CLUSTER INSTANCE"
        }
        _ => "",
    };
    AgentError::Tls(format!("{error}{cause}{next}"))
}
