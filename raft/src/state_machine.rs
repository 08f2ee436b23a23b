//! What a group replicates, as its owner writes it.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use crate::RecordError;

/// The replicated state of a group and the one way to change it.
///
/// It must be deterministic: the same commands in the same order give the same state and replies on every peer, so
/// it reads no clock, draws no random number and does no I/O. Whatever it needs of these comes inside the command.
///
/// A change of what a stored command does is a change of history: peers that replay the log with the new program
/// would disagree with those that applied it with the old one. Add a new command instead.
pub trait StateMachine: Clone + Send + Sync + 'static {
    /// One change. Stored in the log as a record of bincode, so variants are only ever appended.
    type Command: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static;
    /// What the proposer of a command learns. A refusal is a reply, not an error.
    type Reply: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static;

    /// Applies the committed command that stands at `index` of the log. Indexes only grow; some are left out,
    /// because the log also holds entries of its own. A panic here stops the peer, and all others that apply it.
    fn apply(&mut self, index: u64, command: Self::Command) -> Self::Reply;

    /// The whole state as bytes, for a snapshot; [`seal`](crate::seal) does it for a serializable type. At most
    /// [`MAX_SNAPSHOT_BYTES`](crate::MAX_SNAPSHOT_BYTES).
    fn encode(&self) -> Vec<u8>;

    /// The state that [`encode`](Self::encode) gave.
    ///
    /// # Errors
    /// [`RecordError`] if the bytes are not such a state; the peer then refuses the snapshot and stops.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError>;
}
