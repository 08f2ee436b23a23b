//! The peers and who leads them.

use serde::{Deserialize, Serialize};

/// Who leads the peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderView {
    /// The leader's id.
    pub leader: u64,
    /// Its `host:port`.
    pub address: String,
    /// The Raft term that the answering peer knows.
    pub term: u64,
    /// The peer that answered.
    pub answered_by: u64,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub id: u64,
    /// Its `host:port`.
    pub address: String,
    /// Its failure domain; none if it did not answer.
    pub zone: Option<String>,
    /// Whether it answered just now.
    pub reachable: bool,
    /// `leader`, `follower`, `candidate`, `learner`, `stopped`, `starting` before it takes part, or `unknown`.
    pub role: String,
    /// Whom it believes to lead.
    pub leader: Option<u64>,
    /// Its Raft term.
    pub term: Option<u64>,
    /// The last entry of its log.
    pub last_log_index: Option<u64>,
    /// The last entry that it applied.
    pub applied_index: Option<u64>,
    /// What is allowed there and should not be.
    pub warnings: Vec<String>,
}
