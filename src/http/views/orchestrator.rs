//! Answers in orchestrator's words, for what already reads them.

use serde::{Deserialize, Serialize};

/// `/api/raft-status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrchestratorRaftView {
    /// Where this peer listens.
    #[serde(rename = "RaftBind")]
    pub bind: String,
    /// Its `host:port` as the group knows it.
    #[serde(rename = "RaftAdvertise")]
    pub advertise: String,
    /// `Leader`, `Follower`, `Candidate`, `Learner`, `Shutdown`, or `Starting` before it takes part.
    #[serde(rename = "State")]
    pub state: String,
    /// Whether it is part of a group that has a leader.
    #[serde(rename = "Healthy")]
    pub healthy: bool,
    /// The same.
    #[serde(rename = "IsPartOfQuorum")]
    pub is_part_of_quorum: bool,
    /// The leader's `host:port`; empty if none is heard.
    #[serde(rename = "Leader")]
    pub leader: String,
    /// The leader's URI; empty if none is heard.
    #[serde(rename = "LeaderURI")]
    pub leader_uri: String,
    /// The `host:port` of every peer with a vote.
    #[serde(rename = "Peers")]
    pub peers: Vec<String>,
}

/// `/api/health` and `/api/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrchestratorAnswerView {
    /// `OK` or `ERROR`.
    pub code: String,
    /// In words.
    pub message: String,
    /// What is known.
    pub details: OrchestratorHealthView,
}

/// What is known of a peer and its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrchestratorHealthView {
    /// Whether it is part of a group that has a leader.
    pub healthy: bool,
    /// Its host.
    pub hostname: String,
    /// Always empty.
    pub token: String,
    /// Whether it leads.
    pub is_active_node: bool,
    /// The leader.
    pub active_node: OrchestratorNodeView,
    /// The peers that are known to take part: all of them on the leader, itself and the leader on the others.
    pub available_nodes: Vec<OrchestratorNodeView>,
    /// The leader's `host:port`; empty if none is heard.
    pub raft_leader: String,
    /// Whether it leads.
    pub is_raft_leader: bool,
    /// The leader's URI; empty if none is heard.
    #[serde(rename = "RaftLeaderURI")]
    pub raft_leader_uri: String,
    /// Its `host:port` as the group knows it.
    pub raft_advertise: String,
    /// The `host:port` of the available nodes.
    pub raft_healthy_members: Vec<String>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrchestratorNodeView {
    /// Its host.
    pub hostname: String,
    /// Always empty.
    pub token: String,
}

/// `/api/check-global-recoveries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrchestratorSwitchView {
    /// `OK`.
    pub code: String,
    /// In words.
    pub message: String,
    /// `enabled` or `disabled`.
    pub details: String,
}
