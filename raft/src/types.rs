//! openraft's types, filled in once, so that no other module repeats their parameters.
//!
//! Commands and answers are opaque bytes to openraft: any peer can store and forward a command of a newer program,
//! and only applying one needs to understand it. They are shared, not copied, on their way through the log and to every
//! other peer.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The parameters of openraft in this crate.
    pub(crate) TypeConfig:
        D = CommandBytes,
        R = ReplyBytes,
        NodeId = u64,
        Node = openraft::BasicNode,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, bytes::Bytes>;
pub(crate) type RpcError = openraft::errors::RPCError<TypeConfig>;

/// A command as it stands in the log: the record of the state machine's own command type.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandBytes(pub(crate) Bytes);

impl fmt::Debug for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// The reply of the state machine to a command; empty for openraft's own entries. Never stored or sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyBytes(pub(crate) Bytes);
