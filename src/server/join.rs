//! How a newcomer becomes a peer: it shows the secret of its token to any member, is given its number, and keeps the
//! answer, so that the token is needed once.
//!
//! Before it asks, it draws a number and keeps it. Whoever shows the same secret with another number is refused: a token
//! that was copied serves one folder.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use raft::GroupId;
use serde::{Deserialize, Serialize};

use crate::model::PeerId;

use super::calls::{CallError, Calls};
use super::propose::draw;
use super::token::{Token, hex};
use super::{Config, ServerError};

/// Where a newcomer asks.
pub const PATH: &str = "/internal/v1/join";
/// The file in the peer's folder that says how it joined.
const FILE: &str = "join";
/// Far more than a group of peers needs.
const FILE_LIMIT: usize = 64 * 1024;
/// How long a member may take; longer than a change waits for a leader.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long all of them are asked again and again: an election is over by then.
const ROUNDS: u32 = 10;
/// Between two rounds.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// What this folder drew before it asked first.
    nonce: [u8; 16],
    /// What the group answered.
    place: Option<Place>,
    /// The log has been there: without it this peer has forgotten its votes.
    began: bool,
}

/// A place in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The number of the newcomer.
    pub id: u64,
    /// The group, as a UUID.
    pub group: String,
    /// The members then, the newcomer too: id to `host:port`.
    pub members: BTreeMap<u64, String>,
}

/// What a newcomer asks with. Never shown: it holds the secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asking {
    /// The secret of its token, in hexadecimal digits.
    pub secret: String,
    /// What it drew, in hexadecimal digits.
    pub nonce: String,
}

/// The configuration with the place that this peer has in its group. Asks for it if there is none yet.
pub(super) async fn admitted(config: Config) -> Result<Config, ServerError> {
    if !config.joins {
        return Ok(config);
    }
    let failed = |why: String| ServerError::Join(why);
    let folder = config.folder.clone();
    let broken = |what: &str, why: String| {
        failed(format!(
            "{}/{FILE} cannot be {what} ({why}); look at the disk",
            folder.display()
        ))
    };
    let mut kept = match read(&config.folder).map_err(|why| broken("read", why))? {
        Some(kept) => kept,
        None => Kept {
            nonce: draw(),
            place: None,
            began: false,
        },
    };
    if kept.place.is_none() {
        let token = config.token.as_ref().ok_or_else(|| {
            failed("this peer has no number and no token; get one with `primacy peers add HOST:PORT` and give it as join".to_owned())
        })?;
        // Kept before it is used: after a crash the same newcomer asks again.
        write(&config.folder, &kept).map_err(|why| broken("written", why))?;
        kept.place = Some(ask(token, kept.nonce).await.map_err(failed)?);
        write(&config.folder, &kept).map_err(|why| broken("written", why))?;
    }
    if kept.began && !raft::holds_a_peer(&config.folder) {
        return Err(failed(
            "the folder says how this peer joined and has lost its log: it has forgotten its votes; \
             empty the folder and join with a new token (primacy peers add HOST:PORT)"
                .to_owned(),
        ));
    }
    let place = kept.place.expect("it was given a place");
    let group: GroupId = place
        .group
        .parse()
        .map_err(|_| broken("read", "no group".to_owned()))?;
    tracing::info!(peer = place.id, %group, "this peer has joined");
    let peers = place.members.into_iter();
    Ok(Config {
        id: PeerId(place.id),
        group,
        peers: peers.map(|(id, address)| (PeerId(id), address)).collect(),
        token: None,
        ..config
    })
}

/// Notes that the log of a peer that joined is there.
pub(super) fn note_begin(config: &Config) -> io::Result<()> {
    if !config.joins {
        return Ok(());
    }
    let broken = |why: String| io::Error::other(why);
    match read(&config.folder).map_err(broken)? {
        Some(kept) if !kept.began => {
            let kept = Kept {
                began: true,
                ..kept
            };
            write(&config.folder, &kept).map_err(broken)
        }
        Some(_) | None => Ok(()),
    }
}

async fn ask(token: &Token, nonce: [u8; 16]) -> Result<Place, String> {
    let calls = Calls::default();
    let asking = Asking {
        secret: token.secret.text(),
        nonce: hex(&nonce),
    };
    let body = Bytes::from(serde_json::to_vec(&asking).expect("text has a JSON form"));
    let mut said = String::new();
    for _ in 0..ROUNDS {
        for address in &token.addresses {
            let request = Request::post(PATH)
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))
                .map_err(|error| error.to_string())?;
            let answer: Result<_, CallError> = calls.send(address, request, ANSWER_WITHIN).await;
            match answer {
                Ok(response) if response.status().is_success() => {
                    let place: Place = serde_json::from_slice(response.body())
                        .map_err(|error| format!("{address} answers in other words ({error}); use the same version as the peers"))?;
                    if place.group != token.group.to_string() {
                        return Err(format!(
                            "{address} belongs to group {}, the token to {}; get a new one",
                            place.group, token.group
                        ));
                    }
                    return Ok(place);
                }
                Ok(response) if response.status() == StatusCode::FORBIDDEN => {
                    let problem: serde_json::Value =
                        serde_json::from_slice(response.body()).unwrap_or_default();
                    let why = problem["detail"].as_str().unwrap_or("no reason is given");
                    return Err(format!(
                        "{why}; get a new token with `primacy peers add HOST:PORT`"
                    ));
                }
                Ok(response) => said = format!("{address} says {}", response.status()),
                Err(error) => said = error.to_string(),
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    Err(format!(
        "no member lets this peer in: {said}; see that a majority of the peers runs, then start again"
    ))
}

fn read(folder: &Path) -> Result<Option<Kept>, String> {
    let bytes = raft::durable_file::read(folder, FILE).map_err(|error| error.to_string())?;
    let kept = bytes.map(|bytes| raft::unseal(&bytes, FILE_LIMIT));
    kept.transpose().map_err(|error| error.to_string())
}

fn write(folder: &Path, kept: &Kept) -> Result<(), String> {
    let record = raft::seal(kept).map_err(|error| error.to_string())?;
    raft::durable_file::create_folder(folder)
        .and_then(|()| raft::durable_file::replace(folder, FILE, &record))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_joined_and_lost_its_log_stays_away() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "zone = \"z1\"\nfolder = \"{}\"\nlisten = \"127.0.0.1:7004\"\n",
            folder.path().display()
        );
        let config = Config::parse(&text, false).unwrap();
        let kept = Kept {
            nonce: [1; 16],
            place: Some(Place {
                id: 4,
                group: GroupId::from_bytes([7; 16]).to_string(),
                members: BTreeMap::new(),
            }),
            began: false,
        };
        write(folder.path(), &kept).unwrap();
        // It was stopped before its log was there.
        let admitted_first = admitted(config.clone()).await.unwrap();
        assert_eq!(admitted_first.id, PeerId(4));
        note_begin(&config).unwrap();
        let refused = admitted(config.clone()).await.unwrap_err().to_string();
        assert!(refused.contains("lost its log"), "{refused}");
        raft::durable_file::replace(folder.path(), "identity", b"whatever it says").unwrap();
        assert_eq!(admitted(config).await.unwrap().id, PeerId(4));
    }
}
