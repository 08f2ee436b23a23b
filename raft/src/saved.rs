//! All that a stopped peer knows, taken out of its folder into one file that checks itself.
//!
//! It is read from a stopped peer and not asked from a running one: so it works when no peer leads, holds every
//! entry down to the last, and needs nobody's permission but that of the file system. The others go on meanwhile.
//!
//! The last entries of its log may not be committed. They are included, because on this peer alone nobody can tell
//! them from those that were acknowledged; what was acknowledged by a majority without this peer is not in it.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};

use crate::{
    GroupId, RecordError, StartError, StateMachine, View, durable_file,
    identity::{Identity, IdentityFile},
    log::{self, Log},
    machine::Machine,
    record, restore,
    snapshot_file::{Image, SnapshotFile},
    types::LogId,
    wire::MAX_SNAPSHOT_BYTES,
    witness::Witness,
};

/// Most bytes of a saved file: a snapshot, and whose it is.
const LIMIT: usize = MAX_SNAPSHOT_BYTES + 1024;
/// How long the log may take to close.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// The layout of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedFile {
    pub(crate) group: GroupId,
    pub(crate) peer: u64,
    pub(crate) image: Image,
}

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved<S> {
    /// The group of the peer.
    pub group: GroupId,
    /// The peer.
    pub peer: u64,
    /// The last entry that is in the state, and the term it was written in.
    pub applied: Option<(u64, u64)>,
    /// The same in the words of the log.
    pub(crate) last: Option<LogId>,
    /// The members of the group as of that entry, id to `host:port`.
    pub members: BTreeMap<u64, String>,
    /// The state.
    pub state: S,
}

/// Why nothing was saved, or what was saved cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The folder that is to be restored into holds a peer, or a restore into it was not finished.
    #[error("the folder holds a peer already, or what is left of a restore that was not finished")]
    Occupied,
    /// The folder holds no peer, or one that would not start either.
    #[error("cannot use the folder")]
    Folder(#[source] StartError),
    /// It was saved by a peer of another group.
    #[error("the state was saved by a peer of group {found}, not of {expected}")]
    OtherGroup {
        /// The group of the state.
        found: GroupId,
        /// The group of the configuration.
        expected: GroupId,
    },
    /// It was saved when this peer was no member: others know more.
    #[error("peer {id} is no member in what was saved")]
    NoMember {
        /// The peer that shall begin anew.
        id: u64,
    },
    /// The folder cannot be written.
    #[error("cannot write the folder")]
    Write(#[source] io::Error),
    /// The file cannot be written or read.
    #[error("cannot use the file")]
    File(#[source] io::Error),
    /// The file is damaged, or no saved state.
    #[error("the file is damaged or no saved state")]
    Damaged(#[source] RecordError),
    /// The file is whole, but this program cannot read the state in it.
    #[error("the state in the file cannot be read by this program")]
    State(#[source] RecordError),
}

/// Saves what the stopped peer in `folder` knows into `file`, which must not exist; durable on return. The state
/// before the first command is `initial`. Blocks its thread for the time that a start of the peer takes.
///
/// # Errors
/// [`SavedError::Folder`], for one while the peer runs, or [`SavedError::File`].
pub async fn save<S: StateMachine>(
    folder: &Path,
    initial: S,
    file: &Path,
) -> Result<Saved<S>, SavedError> {
    if file.exists() {
        return Err(SavedError::File(io::ErrorKind::AlreadyExists.into()));
    }
    let content = taken(folder, initial).await.map_err(SavedError::Folder)?;
    write(&content, file)
}

/// Writes what was taken into `file`; durable on return. Blocks.
pub(crate) fn write<S: StateMachine>(
    content: &SavedFile,
    file: &Path,
) -> Result<Saved<S>, SavedError> {
    let bytes = record::seal(content).map_err(|error| SavedError::File(io::Error::other(error)))?;
    // What could not be read again must not be taken for a copy.
    let saved = decoded(&bytes)?;
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| SavedError::File(io::ErrorKind::InvalidFilename.into()))?;
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    durable_file::replace(parent.unwrap_or(Path::new(".")), name, &bytes)
        .map_err(SavedError::File)?;
    Ok(saved)
}

/// Reads what was saved into `file`, and checks all of it. Blocks.
///
/// # Errors
/// [`SavedError`], but not [`SavedError::Folder`].
pub fn read_saved<S: StateMachine>(file: &Path) -> Result<Saved<S>, SavedError> {
    decoded(&durable_file::read_whole(file).map_err(SavedError::File)?)
}

/// What the peer in `folder` knows: its snapshot, and its whole log on top.
pub(crate) async fn taken<S: StateMachine>(
    folder: &Path,
    initial: S,
) -> Result<SavedFile, StartError> {
    if restore::is_unfinished(folder) {
        return Err(StartError::Unfinished);
    }
    let Identity {
        group, id: peer, ..
    } = IdentityFile::owner(folder)?;
    let identity = IdentityFile::open(folder, group, 0, peer)?;
    let holds_data = identity.holds_data();
    let witness = || Witness::open(folder, holds_data);
    let (log, watch) = Log::open(&folder.join(log::NAME), identity, witness)?;
    let (view, _) = watch::channel(View::FIRST);
    let machine =
        Machine::open(SnapshotFile::new(folder), initial, view).map_err(StartError::Snapshot)?;
    machine.reaches(log.purged().map_err(StartError::Log)?)?;
    let first = match machine.image().applied {
        None => 0,
        Some(applied) => applied.index.checked_add(1).ok_or_else(no_next)?,
    };
    for entry in log.read(first..u64::MAX).map_err(StartError::Log)? {
        machine.apply_one(entry).map_err(StartError::Log)?;
    }
    drop(log);
    closed(watch).await.map_err(StartError::Log)?;
    Ok(SavedFile {
        group,
        peer,
        image: machine.image(),
    })
}

/// A whole snapshot that says so was not written by a peer.
fn no_next() -> StartError {
    let why = "the snapshot says that it holds the last entry that there can be";
    StartError::Snapshot(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Waits until a log that was dropped is closed.
pub(crate) async fn closed(mut watch: watch::Receiver<()>) -> io::Result<()> {
    // Nothing is ever sent: the channel can only close.
    match timeout(CLOSED_WITHIN, watch.changed()).await {
        Ok(_) => Ok(()),
        Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
    }
}

pub(crate) fn decoded<S: StateMachine>(bytes: &[u8]) -> Result<Saved<S>, SavedError> {
    let SavedFile { group, peer, image } =
        record::unseal(bytes, LIMIT).map_err(SavedError::Damaged)?;
    let nodes = image.membership.nodes();
    Ok(Saved {
        group,
        peer,
        applied: image
            .applied
            .map(|applied| (applied.index, applied.committed_leader_id().term)),
        last: image.applied,
        members: nodes.map(|(id, node)| (*id, node.addr.clone())).collect(),
        state: S::decode(&image.state).map_err(SavedError::State)?,
    })
}
