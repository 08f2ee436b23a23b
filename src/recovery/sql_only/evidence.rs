//! What came back from an act over SQL, recorded in Raft before the next decision.

use serde::{Deserialize, Serialize};

use super::proof::SqlProof;
use crate::model::{InstanceId, Lineage, SyncRule, WalPosition};

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqlEvidence {
    /// The primary was asked to accept nothing more, and every session of before is over.
    Quieted {
        /// Who.
        instance: InstanceId,
        /// Where its WAL ended then.
        position: WalPosition,
    },
    /// It accepts writes again.
    Unquieted {
        /// Who.
        instance: InstanceId,
    },
    /// The named candidate has received all that the quiet primary had.
    CaughtUp {
        /// Who.
        instance: InstanceId,
    },
    /// A standby was seen to receive nothing more.
    Revoked {
        /// Who.
        instance: InstanceId,
        /// The end of what it has; none if that cannot be known over SQL, and then it does not count.
        position: Option<WalPosition>,
    },
    /// A candidate was chosen.
    Elected {
        /// Who.
        candidate: InstanceId,
        /// Why it may be.
        proof: SqlProof,
        /// Whose flush its commits will wait for.
        serves: SyncRule,
    },
    /// It was seen out of recovery.
    Promoted {
        /// Who.
        instance: InstanceId,
        /// Its branches, as far as they are known.
        lineage: Lineage,
    },
    /// It cannot be promoted, and nothing was changed.
    CannotPromote {
        /// Who.
        instance: InstanceId,
        /// Why.
        why: String,
    },
    /// A standby follows the new primary.
    Following {
        /// Who.
        instance: InstanceId,
    },
    /// A standby that should follow is away or cannot.
    LeftBehind {
        /// Who.
        instance: InstanceId,
        /// Why.
        why: String,
    },
}
