//! The peers and who leads them.

use serde::{Deserialize, Serialize};

/// Who leads the peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderView {
    /// The leader's id.
    pub leader: u64,
    /// Its `host:port`.
    pub address: String,
    /// The Raft term that the answering peer knows; the leader leads since it began.
    pub term: u64,
    /// When this leader took over, RFC 3339, by the wall clock of the peer that answered.
    pub since: Option<String>,
    /// How long the leader still holds its lease by its own clock, in ms, unless it is renewed. If another peer answered,
    /// what is left at most of the lease that this one granted when it last heard the leader, by its own clock: the whole
    /// lease may have been renewed by others, or have ended in a handover. None if it is over. For display; nothing
    /// decides on it.
    pub lease_remaining_ms: Option<u64>,
    /// When that is, RFC 3339, by the wall clock of the peer that answered. For people; no decision uses it.
    pub lease_until: Option<String>,
    /// The peer that answered.
    pub answered_by: u64,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub id: u64,
    /// Its `host:port`; of one that is invited, where it will answer.
    pub address: String,
    /// The Raft group that it is of; none if it did not say.
    #[serde(default)]
    pub group: Option<String>,
    /// Its failure domain; none if it did not answer.
    pub zone: Option<String>,
    /// Whether it answered just now.
    pub reachable: bool,
    /// `leader`, `follower`, `candidate`, `learner`, `stopped`, `starting` before it takes part, or `unknown`. Of
    /// those who are no members yet `invited`, or `joining` once the invitation was used.
    pub role: String,
    /// Whom it believes to lead.
    pub leader: Option<u64>,
    /// Its Raft term.
    pub term: Option<u64>,
    /// How long it still holds the leader's lease by its own clock, in ms, unless that is renewed; none if it does not.
    pub lease_remaining_ms: Option<u64>,
    /// The last entry of its log.
    pub last_log_index: Option<u64>,
    /// The last entry that it applied.
    pub applied_index: Option<u64>,
    /// Whether it has a vote, as the asked peer knows it.
    #[serde(default)]
    pub vote: bool,
    /// Entries of the log that it misses; known if the asked peer leads, and not of itself.
    #[serde(default)]
    pub behind: Option<u64>,
    /// The highest feature level that its version speaks.
    #[serde(default)]
    pub feature_level_spoken: Option<u32>,
    /// The feature level of the group that it has applied; changes that need a higher one are refused.
    #[serde(default)]
    pub feature_level: Option<u32>,
    /// Until when an invitation that nobody used can be, RFC 3339, by the leader's wall clock.
    #[serde(default)]
    pub invited_until: Option<String>,
    /// Differs where what all peers must be given alike differs: the table `[hooks]` and `max_concurrent_recoveries`. None if it
    /// did not say.
    #[serde(default)]
    pub configuration: Option<String>,
    /// What is allowed there and should not be.
    pub warnings: Vec<String>,
}

impl PeerView {
    /// Whether it belongs to the group; else it was only invited.
    pub fn is_member(&self) -> bool {
        !matches!(self.role.as_str(), INVITED | JOINING)
    }
}

/// The role of one that may join.
pub const INVITED: &str = "invited";
/// The role of one that has used its invitation, and is no member yet.
pub const JOINING: &str = "joining";

/// A place that one newcomer may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitedView {
    /// The number that it will have.
    pub id: u64,
    /// Where it will answer.
    pub address: String,
    /// The Raft group.
    pub group: String,
    /// Where the present members answer.
    pub members: Vec<String>,
    /// SHA-256 of the certificate of the authority by which they are known, in hexadecimal digits.
    pub authority: String,
    /// When the invitation ends, by the leader's wall clock.
    pub expires_at: String,
}

/// Who belongs to the group after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersView {
    /// Those with a vote.
    pub voters: Vec<u64>,
    /// Those without.
    pub learners: Vec<u64>,
}

/// Who leads after leadership was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferredView {
    /// The new leader.
    pub leader: u64,
}
