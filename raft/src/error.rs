//! The errors a caller can meet, each with what it may do about it.

use std::io;

use crate::{GroupId, RecordError};

/// Why a peer does not start. None of them goes away by itself, except [`StartError::InUse`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The timings contradict each other.
    #[error("configuration is refused: {0}")]
    Config(String),
    /// The folder cannot be created, or what is noted in it of the leases that this peer granted cannot be read or
    /// written.
    #[error("cannot prepare the folder")]
    Folder(#[source] io::Error),
    /// Another process, or a peer that is still shutting down, holds the folder.
    #[error("the folder is in use by another peer")]
    InUse,
    /// The identity of the folder cannot be read or written.
    #[error("cannot use the identity of the folder")]
    Identity(#[source] io::Error),
    /// The folder holds a log and no identity, so it cannot be told whose log it is.
    #[error("the folder holds a log, yet no identity")]
    Unmarked,
    /// A restore into the folder began and did not end.
    #[error("a restore into this folder was not finished")]
    Unfinished,
    /// The folder belongs to another group.
    #[error("the folder belongs to group {found}, not to {expected}")]
    OtherGroup {
        /// Group that the folder is marked with.
        found: GroupId,
        /// Group of the configuration.
        expected: GroupId,
    },
    /// The folder belongs to another peer of the group.
    #[error("the folder belongs to peer {found}, not to {expected}")]
    OtherPeer {
        /// Peer that the folder is marked with.
        found: u64,
        /// Peer of the configuration.
        expected: u64,
    },
    /// The folder has held votes or entries and they are gone. This peer must come back under a fresh id.
    #[error("the log is empty, yet this folder has held data: the log is lost")]
    LogLost,
    /// The log holds less than this peer has acknowledged: its disk lost or damaged what was flushed. This peer must
    /// come back under a fresh id.
    #[error("the log has lost what this peer acknowledged: {what}")]
    LogShortened {
        /// What was acknowledged, and what is there instead.
        what: String,
    },
    /// The witness of what the log holds cannot be read or written.
    #[error("cannot use the witness of the log")]
    Witness(#[source] io::Error),
    /// The log before this index was dropped in favour of a snapshot, and there is none that old.
    #[error("the snapshot is lost: the log begins after entry {purged}, and {found}")]
    SnapshotLost {
        /// The last entry that the log dropped.
        purged: u64,
        /// What the snapshot holds, in words.
        found: String,
    },
    /// The folder is new, and this peer has had another one: it has forgotten its votes. It must come back under a
    /// fresh id, or with its old folder.
    #[error("this folder is new, yet peer {known_to} knows peer {id} by another folder")]
    Stranger {
        /// This peer.
        id: u64,
        /// The peer that knows the other folder.
        known_to: u64,
    },
    /// The log cannot be opened or does not check out.
    #[error("cannot open the log")]
    Log(#[source] io::Error),
    /// The snapshot cannot be read or does not check out.
    #[error("cannot read the snapshot")]
    Snapshot(#[source] io::Error),
    /// openraft refused to start over this store.
    #[error("cannot start: {0}")]
    Engine(String),
}

/// Why a proposal did not end in a reply.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Not accepted, and never will be: this peer is not the leader, or cannot prove that it still is.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader {
        /// The leader as far as this peer knows; `None` also while a leader waits for its lease.
        leader: Option<u64>,
    },
    /// Whether the command was or will be applied is not known.
    #[error("outcome unknown")]
    Unknown,
    /// This peer has stopped. The command may have been accepted before.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Not accepted: the command is over the limit.
    #[error("command of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Encoded length of the command.
        bytes: usize,
        /// Most bytes of a command.
        limit: usize,
    },
    /// Not accepted: the command has no encoded form.
    #[error("cannot encode the command")]
    Command(#[source] RecordError),
    /// Applied, but its reply has no encoded form.
    #[error("cannot decode the reply of the command applied at index {index}")]
    Reply {
        /// Where the command stands in the log.
        index: u64,
        /// What is wrong with the reply.
        #[source]
        source: RecordError,
    },
}

/// Why leadership was not confirmed. A read that depends on it must not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// This peer is not the leader.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader {
        /// The leader as far as this peer knows.
        leader: Option<u64>,
    },
    /// No majority answered, or the state did not catch up, before the deadline.
    #[error("a majority did not confirm leadership in time")]
    Unconfirmed,
    /// This peer has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why leadership was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// This peer has no leadership to hand over.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader {
        /// The leader as far as this peer knows.
        leader: Option<u64>,
    },
    /// The target has no vote, or is this peer.
    #[error("peer {to} cannot take over: it is not another voter")]
    NotAVoter {
        /// The target.
        to: u64,
    },
    /// The target does not answer. Nothing was changed.
    #[error("peer {to} does not answer the leader; start it, or look at its network")]
    Silent {
        /// The target.
        to: u64,
    },
    /// The target misses too many entries. Try again when it has caught up.
    #[error("peer {to} is {entries} entries behind")]
    Behind {
        /// The target.
        to: u64,
        /// Entries it has yet to receive.
        entries: u64,
    },
    /// No other voter answers this leader.
    #[error("no other voter answers")]
    Nobody,
    /// The target did not take over in time; an election decides who leads.
    #[error("peer {to} did not take over in time")]
    NotTaken {
        /// The target.
        to: u64,
    },
    /// This peer has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// This peer has stopped, on request or because its store failed. Only a new start helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this peer has stopped: {reason}")]
pub struct Stopped {
    /// Why, in words for people.
    pub reason: String,
}
