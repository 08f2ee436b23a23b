//! How a newcomer becomes a peer: it shows the secret of its token to any member, is given its certificate and its
//! number, and keeps the answer, so that the token is needed once.
//!
//! Before it asks, it draws a number and keeps it. Whoever shows the same secret with another number is refused: a token
//! that was copied serves one folder.

use std::io;
use std::path::Path;

use raft::GroupId;
use serde::{Deserialize, Serialize};

use crate::model::PeerId;
use crate::security::authority::{CertificateAuthority, prepare_folder};
use crate::security::enrolment::Wish;
use crate::security::newcomer::{self, Joined, Place};
use crate::security::{Files, JoinToken, SecurityError};

use super::propose::draw;
use super::{Config, ServerError};

/// The file in the peer's folder that says how it joined.
const FILE: &str = "join";
/// Far more than a group of peers needs.
const FILE_LIMIT: usize = 64 * 1024;

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

/// The configuration with the place that this peer has in its group. Asks for it if there is none yet.
pub async fn admitted(config: Config) -> Result<Config, ServerError> {
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
        kept.place = Some(ask(&config, token, kept.nonce).await.map_err(failed)?);
        write(&config.folder, &kept).map_err(|why| broken("written", why))?;
    }
    if kept.began && !raft::holds_a_peer(&config.folder) {
        return Err(failed(
            "the folder says how this peer joined and has lost its log: it has forgotten its votes; \
             empty the folder and join with a new token (primacy peers add HOST:PORT)"
                .to_owned(),
        ));
    }
    let config = with_place(config, kept.place.expect("it was given a place"))?;
    tracing::info!(peer = %config.id, group = %config.group, "this peer has joined");
    Ok(config)
}

/// The configuration with the place that this peer was given before; nobody is asked.
pub(super) fn placed(config: Config) -> Result<Config, ServerError> {
    if !config.joins {
        return Ok(config);
    }
    let kept = read(&config.folder).map_err(ServerError::Join)?;
    let place = kept.and_then(|kept| kept.place).ok_or_else(|| {
        ServerError::Join(
            "neither the configuration nor the folder says which peer this is; give `id`, `group` and [peers] instead of `join`"
                .to_owned(),
        )
    })?;
    with_place(config, place)
}

fn with_place(config: Config, place: Place) -> Result<Config, ServerError> {
    let group: GroupId = place.group.parse().map_err(|_| {
        let file = config.folder.join(FILE);
        ServerError::Join(format!(
            "{} cannot be read (no group); look at the disk",
            file.display()
        ))
    })?;
    let peers = place.members.into_iter();
    Ok(Config {
        id: PeerId(place.id),
        group,
        beginning: place.beginning,
        // One of the first is from now on as if it had been configured so.
        joins: !place.is_first,
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

/// Asks for a place, and keeps the certificate that comes with it.
async fn ask(config: &Config, token: &JoinToken, nonce: [u8; 16]) -> Result<Place, String> {
    let joined = newcomer::join(token, Wish::Peer, nonce).await?;
    let place = joined.admitted.place.clone();
    let place = place.ok_or("the peer gives it no number; use the same version as the peers")?;
    if place.group != token.group.to_string() {
        return Err(format!(
            "the peer belongs to group {}, the token to {}; ask for a new one",
            place.group, token.group
        ));
    }
    keep(&config.tls_folder(), &joined).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
        format!("the certificate cannot be kept: {error}{cause}; look at the disk")
    })?;
    Ok(place)
}

fn keep(folder: &Path, joined: &Joined) -> Result<(), SecurityError> {
    prepare_folder(folder)?;
    if let Some(authority) = &joined.admitted.enrolled.authority {
        CertificateAuthority::read(authority.0.as_bytes())?.keep(folder)?;
    }
    Files::built_in(folder).keep(&joined.issued, &joined.authorities)
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

    #[test]
    fn what_is_kept_keeps_its_bytes() {
        let kept = Kept {
            nonce: [1; 16],
            place: Some(Place {
                id: 4,
                group: "g".to_owned(),
                beginning: 9,
                members: [(1, "a:1".to_owned())].into(),
                is_first: true,
            }),
            began: true,
        };
        let bytes = raft::seal(&kept).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0114a050c3010101010101010101010101010101010104000000000000000100000000000000670900000000000000010000000000000001000000000000000300000000000000613a310101"
        );
    }

    #[tokio::test]
    async fn a_peer_that_joined_and_lost_its_log_stays_away() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "zone = \"z1\"\nfolder = \"{}\"\nlisten = \"127.0.0.1:7004\"\n",
            folder.path().display()
        );
        let config = Config::parse(&text).unwrap();
        let kept = Kept {
            nonce: [1; 16],
            place: Some(Place {
                id: 4,
                group: GroupId::from_bytes([7; 16]).to_string(),
                beginning: 0,
                members: [].into(),
                is_first: false,
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
