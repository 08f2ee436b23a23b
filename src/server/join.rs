//! How a newcomer becomes a peer: it shows the secret of its token to any member, is given its certificate and its
//! number, and keeps the answer, so that the token is needed once.
//!
//! Before it asks, it draws a number and keeps it. Whoever shows the same secret with another number is refused: a token
//! that was copied serves one folder.

use std::io;
use std::path::Path;

use raft::GroupId;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::PeerId;
use crate::security::authority::{CertificateAuthority, new_installation, prepare_folder};
use crate::security::enrolment::Wish;
use crate::security::newcomer::{self, Joined, Place};
use crate::security::{Files, JoinToken, SecurityError, Who};

use super::propose::draw;
use super::{Config, ServerError};

/// The file in the peer's folder that says how it joined.
const FILE: &str = "join";
/// The number of a peer in a group of its own.
const FIRST: PeerId = PeerId(1);
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
        None if is_taken(&config) => {
            return Err(failed(format!(
                "{} is the folder of another peer; give the one that joins an empty folder, and the token to no other",
                folder.display()
            )));
        }
        None => Kept {
            nonce: draw(),
            place: None,
            began: false,
        },
    };
    if kept.place.is_none() && config.is_alone {
        kept.place = Some(begin_alone(&config).map_err(failed)?);
        write(&config.folder, &kept).map_err(|why| broken("written", why))?;
    }
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
        let next = match config.is_alone {
            true => "put its disk back, or empty the folder to begin anew with nothing",
            false => "empty the folder and join with a new token (primacy peers add HOST:PORT)",
        };
        return Err(failed(format!(
            "the folder says how this peer joined and has lost its log: it has forgotten its votes; {next}"
        )));
    }
    let config = with_place(config, kept.place.expect("it was given a place"))?;
    if config.is_alone {
        tracing::info!(
            "the configuration names no group: this is peer {} of group {}, in {}; to ask it, set PRIMACY_API={} {}",
            config.id,
            config.group,
            config.folder.display(),
            config.listen,
            match &config.tls {
                Some(_) => format!("PRIMACY_TLS={}", config.tls_folder().display()),
                None => String::new(),
            }
        );
    } else {
        tracing::info!(peer = %config.id, group = %config.group, "this peer has joined");
    }
    Ok(config)
}

/// Whether a peer lives in the folder that did not join with a token, or has its certificate there: a newcomer's would take
/// its place. One that is alone may have been stopped right after it made its own.
fn is_taken(config: &Config) -> bool {
    let own = Files::built_in(&config.tls_folder());
    raft::holds_a_peer(&config.folder) || !config.is_alone && own.certificate.exists()
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

/// The place of a peer in a group of its own, of which it is the authority. Begun again after a crash in the middle, it
/// finds the authority that it made.
fn begin_alone(config: &Config) -> Result<Place, String> {
    let made = || -> Result<GroupId, SecurityError> {
        if config.tls.is_none() {
            return new_installation();
        }
        let folder = config.tls_folder();
        prepare_folder(&folder)?;
        let now = clock::wall_millis();
        let authority = match CertificateAuthority::open(&folder) {
            Ok(authority) => authority,
            Err(SecurityError::Read { .. }) => {
                CertificateAuthority::create(&folder, new_installation()?, now)?
            }
            Err(other) => return Err(other),
        };
        let host = config.listen.ip().to_string();
        let issued = authority.issue(Who::Peer(FIRST), &[host], now)?;
        Files::built_in(&folder).keep(&issued, &[authority.certificate().clone()])?;
        Ok(authority.group())
    };
    let group = made().map_err(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
        format!(
            "the certificate of this peer cannot be made: {error}{cause}; look at {}",
            config.tls_folder().display()
        )
    })?;
    Ok(Place {
        id: FIRST.0,
        group: group.to_string(),
        beginning: 0,
        members: [(FIRST.0, config.listen.to_string())].into(),
        is_first: true,
    })
}

/// Notes that the log of a peer that joined is there.
pub(super) fn note_begin(config: &Config) -> io::Result<()> {
    if !config.joins && !config.is_alone {
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
    let invited = place.members.get(&place.id);
    if let Some(address) = invited.filter(|it| !it.ends_with(&format!(":{}", config.listen.port())))
    {
        tracing::warn!(
            "this peer takes the place of peer {} at {address} and listens on {}: is it the token of another host? \
             Then move this folder there; if the port is forwarded, all is well",
            place.id,
            config.listen
        );
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

    /// Whoever has nothing but a file for orchestrator.
    #[tokio::test]
    async fn a_peer_that_is_alone_begins_a_group_and_stays_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let peer = folder.path().join("peer");
        let text = format!(
            "{{\"ProviderType\": \"postgresql\", \"folder\": \"{}\"}}",
            peer.display()
        );
        let config = Config::parse(&text).unwrap();
        let first = admitted(config.clone()).await.unwrap();
        assert_eq!((first.id, first.joins), (FIRST, false));
        assert_eq!(first.peers[&FIRST], "127.0.0.1:7001");
        let shown = super::super::credentials::load(&first).unwrap();
        assert_eq!(shown.own().unwrap().identity.who, Who::Peer(FIRST));
        note_begin(&first).unwrap();
        raft::durable_file::replace(&peer, "identity", b"whatever it says").unwrap();
        let again = admitted(config.clone()).await.unwrap();
        assert_eq!((again.id, again.group), (first.id, first.group));
        std::fs::remove_file(peer.join("identity")).unwrap();
        let refused = admitted(config).await.unwrap_err().to_string();
        assert!(refused.contains("lost its log"), "{refused}");
        // It had made its authority when its host lost power.
        std::fs::remove_file(peer.join(FILE)).unwrap();
        let config = Config::parse(&text).unwrap();
        assert_eq!(admitted(config).await.unwrap().group, first.group);
    }

    #[tokio::test]
    async fn a_newcomer_leaves_the_folder_of_another_alone() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "zone = \"z1\"\nfolder = \"{}\"\nlisten = \"127.0.0.1:7004\"\n",
            folder.path().display()
        );
        let config = Config::parse(&text).unwrap();
        for sign in ["identity", "tls/own.pem"] {
            let sign = folder.path().join(sign);
            std::fs::create_dir_all(sign.parent().unwrap()).unwrap();
            std::fs::write(&sign, "another's").unwrap();
            let refused = admitted(config.clone()).await.unwrap_err().to_string();
            assert!(refused.contains("of another peer"), "{refused}");
            assert!(!folder.path().join(FILE).exists());
            std::fs::remove_file(sign).unwrap();
        }
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
