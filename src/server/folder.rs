//! The folder of a peer: what the log is told of it, and what its refusals mean.

use std::collections::BTreeMap;

use raft::StartError;

use super::{Config, ServerError};
use crate::security::Wire;

/// A snapshot is taken after so many log entries: each is a few hundred bytes.
const SNAPSHOT_EVERY: u64 = 10_000;
/// So many entries are kept for a peer that is a little behind.
const KEEP_ENTRIES: u64 = 2_500;

/// What the log is told.
pub(super) fn config_of(config: &Config, wire: &Wire) -> raft::Config {
    raft::Config {
        id: config.id.0,
        group: config.group,
        beginning: config.beginning,
        folder: config.folder.clone(),
        // One that joined is no first member: the log tells it who is.
        members: match config.joins {
            true => BTreeMap::new(),
            false => config
                .peers
                .iter()
                .map(|(id, address)| (id.0, address.clone()))
                .collect(),
        },
        timing: config.timing(),
        transport: wire.transport(),
        snapshot_every: SNAPSHOT_EVERY,
        keep_before_snapshot: KEEP_ENTRIES,
    }
}

/// Refuses a folder that cannot be written, before anything is created in it.
pub(super) fn check(config: &Config) -> Result<(), ServerError> {
    let exists = config
        .folder
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(&config.folder);
    let refuse = |why: String| {
        Err(ServerError::Folder {
            folder: config.folder.display().to_string(),
            why,
        })
    };
    if !exists.is_dir() {
        return refuse(format!(
            "{} is not a folder; choose another",
            exists.display()
        ));
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if let Err(error) = rustix::fs::access(exists, access) {
        return refuse(format!(
            "{} is not writable for this user ({error}); give it to the user that runs the peer, or choose another",
            exists.display()
        ));
    }
    Ok(())
}

/// What a refusal of the log means for whoever runs the peer.
pub(super) fn error(config: &Config, error: StartError) -> ServerError {
    let next = match &error {
        StartError::OtherGroup { .. } | StartError::OtherPeer { .. } => {
            "; correct group, id or folder"
        }
        StartError::InUse => "; stop the other process or choose another folder",
        StartError::LogLost
        | StartError::LogShortened { .. }
        | StartError::Witness(_)
        | StartError::SnapshotLost { .. } => {
            "; put its disk back or leave it stopped: a peer that forgot its votes is dangerous to the others"
        }
        StartError::Unfinished => {
            "; finish it: primacy peers snapshot restore FILE; what was saved of the folder is the newest before-…/saved in it"
        }
        StartError::Stranger { .. } => {
            "; give this peer its old folder back, or leave it stopped and go on with the others; if the group was never up, empty the folders of all its peers"
        }
        StartError::Unmarked => {
            "; put the file `identity` back, or choose an empty folder if this peer was never part of the group"
        }
        StartError::Config(_)
        | StartError::Folder(_)
        | StartError::Identity(_)
        | StartError::Log(_)
        | StartError::Snapshot(_)
        | StartError::Engine(_) => "; look at the folder and its disk",
    };
    let cause = std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
    ServerError::Folder {
        folder: config.folder.display().to_string(),
        why: format!("{error}{cause}{next}"),
    }
}
