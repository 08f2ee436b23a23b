//! What a newcomer and a peer say to each other over HTTP, and the side of the newcomer.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::authority::Issued;
use super::enrolment::{self, Enrol, Enrolled, MESSAGE_LIMIT, NewKey, Wish};
use super::error::{SecurityError, invalid};
use super::secret::random;
use super::token::JoinToken;
use crate::host::durable;
use crate::model::SecretHash;

/// Where a newcomer asks.
pub const ENROL_PATH: &str = "/internal/v1/enrol";
/// Where a new certificate is asked for, over a connection that shows the old one.
pub const RENEW_PATH: &str = "/internal/v1/renew";
/// What a newcomer drew, in its folder.
const NONCE_FILE: &str = "newcomer";
/// What of the token that was used is kept beside it: a hash of its secret.
const USED_FILE: &str = "joined";
/// Far more than it needs.
const NONCE_LIMIT: usize = 1024;
/// How long a peer may take; longer than a change waits for a leader.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long all of them are asked again and again: an election is over by then.
const ROUNDS: u32 = 10;
/// Between two rounds.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What a newcomer asks with, sent as a record. Never shown: it holds the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// The secret, the wish and the new key.
    pub enrol: Enrol,
    /// What it drew and keeps: it gets the same place again, another newcomer does not.
    pub nonce: [u8; 16],
}

/// What it gets, sent as a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Its certificate, and whom to trust.
    pub enrolled: Enrolled,
    /// For a peer.
    pub place: Option<Place>,
}

/// A place in a group of peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The number of the newcomer.
    pub id: u64,
    /// The group, as a UUID.
    pub group: String,
    /// Which beginning of the group.
    pub beginning: u64,
    /// The members then, the newcomer too: id to `host:port`.
    pub members: BTreeMap<u64, String>,
    /// Whether it is one of those with whom the group begins.
    pub is_first: bool,
}

/// A key with its certificate, and whom to trust.
pub type Renewed = (Issued, Vec<CertificateDer<'static>>);

/// What a newcomer has in the end.
#[derive(Debug)]
pub struct Joined {
    /// Its key with its certificate.
    pub issued: Issued,
    /// Whom to trust.
    pub authorities: Vec<CertificateDer<'static>>,
    /// All that was answered.
    pub admitted: Admitted,
}

/// What the newcomer of `folder` drew; drawn and kept there if there is nothing yet, before it is used: after a crash the
/// same newcomer asks again.
///
/// # Errors
/// [`SecurityError::Read`], [`SecurityError::File`], [`SecurityError::Write`], [`SecurityError::Random`].
pub fn nonce(folder: &Path) -> Result<[u8; 16], SecurityError> {
    let path = folder.join(NONCE_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => raft::unseal(&bytes, NONCE_LIMIT).map_err(|error| {
            let why = format!("{error}; remove it, and ask for a new join token");
            invalid(&path, why)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut drawn = [0; 16];
            random(&mut drawn).map_err(SecurityError::Random)?;
            let record = raft::seal(&drawn).expect("bytes have an encoded form");
            durable::write(&path, &record).map_err(SecurityError::Write)?;
            Ok(drawn)
        }
        Err(source) => Err(SecurityError::Read { path, source }),
    }
}

/// Whether the newcomer of `folder` used this token already: it serves once, and stands in a configuration for long.
pub fn has_used(folder: &Path, token: &JoinToken) -> bool {
    let noted = durable::read_whole(&folder.join(USED_FILE)).ok();
    let noted = noted.and_then(|bytes| raft::unseal::<SecretHash>(&bytes, NONCE_LIMIT).ok());
    noted == Some(token.secret.hash())
}

/// Notes that the newcomer of `folder` used this token. Errors: [`SecurityError::Write`].
pub fn note_used(folder: &Path, token: &JoinToken) -> Result<(), SecurityError> {
    let record = raft::seal(&token.secret.hash()).expect("bytes have an encoded form");
    durable::write(&folder.join(USED_FILE), &record).map_err(SecurityError::Write)
}

/// Asks the peers of `token`, one after the other, to be let in as what it wishes.
///
/// # Errors
/// One sentence with the next step; never the secret.
pub async fn join(token: &JoinToken, wish: Wish, nonce: [u8; 16]) -> Result<Joined, String> {
    let key = NewKey::draw().map_err(|error| error.to_string())?;
    let asking = Asking {
        enrol: Enrol {
            secret: token.secret.clone(),
            wish,
            request: key.request().to_vec(),
        },
        nonce,
    };
    let body = raft::seal(&asking).map_err(|error| error.to_string())?;
    let mut said = String::new();
    for round in 0..ROUNDS {
        if round > 0 {
            sleep(AGAIN_AFTER).await;
        }
        for address in &token.addresses {
            let asked = async {
                let stream = enrolment::connect(token, address).await?;
                post(stream, address, ENROL_PATH, body.clone()).await
            };
            let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer came in time");
            let answer = timeout(ANSWER_WITHIN, asked).await;
            match answer.unwrap_or_else(|_| Err(late())) {
                Ok((StatusCode::OK, answer)) => {
                    let admitted: Admitted = raft::unseal(&answer, MESSAGE_LIMIT).map_err(|error| {
                        format!("{address} answers in other words ({error}); use the same version as the peers")
                    })?;
                    let (issued, authorities) = key.certified(&admitted.enrolled);
                    return Ok(Joined {
                        issued,
                        authorities,
                        admitted,
                    });
                }
                Ok((status, answer)) if status != StatusCode::SERVICE_UNAVAILABLE => {
                    return Err(format!("{}; ask for a new join token", detail(&answer)));
                }
                Ok((_, answer)) => said = format!("{address} says: {}", detail(&answer)),
                // Somebody else is there, and never becomes the right one.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    said = format!("{address} is not spoken to: {error}");
                }
                Err(error) => said = format!("{address}: {error}"),
            }
        }
    }
    Err(format!(
        "no peer lets it in: {said}; see that a majority of the peers runs, then start again"
    ))
}

/// A new certificate for whoever the connection `stream` speaks for.
///
/// # Errors
/// What the system says, or `Other` in the words of the peer.
pub async fn renew<S>(stream: S, address: &str) -> io::Result<Renewed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let key = NewKey::draw().map_err(io::Error::other)?;
    let asked = post(stream, address, RENEW_PATH, key.request().to_vec());
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer came in time");
    let (status, answer) = timeout(ANSWER_WITHIN, asked).await.map_err(late)??;
    if status != StatusCode::OK {
        return Err(io::Error::other(detail(&answer)));
    }
    let enrolled: Enrolled = raft::unseal(&answer, MESSAGE_LIMIT)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(key.certified(&enrolled))
}

/// Posts `body` over a connection of its own.
async fn post<S>(
    stream: S,
    address: &str,
    path: &str,
    body: Vec<u8>,
) -> io::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| io::Error::new(io::ErrorKind::BrokenPipe, error);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is the request's error too.
        let _ = connection.await;
    });
    let request = Request::post(path)
        .header(HOST, address)
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MESSAGE_LIMIT).collect();
    Ok((status, body.await.map_err(io::Error::other)?.to_bytes()))
}

/// What a peer says about a refusal.
fn detail(answer: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let detail = problem["detail"].as_str();
    detail.unwrap_or("no reason is given").to_owned()
}
