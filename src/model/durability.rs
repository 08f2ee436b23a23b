//! How many standbys must have flushed a commit before it is acknowledged, and how that is changed.
//!
//! The record is never stronger than what any walsender may still be using. A weaker rule is recorded first and put in force
//! then. A stronger one is put in force first, and recorded once every walsender runs it and a commit was acknowledged under
//! it: whatever was acknowledged before lies before that commit, and so is held by as many.
//!
//! With a quorum no failover waits for a lease, so leases may be long, and a few words of others back a primary that its peers
//! cannot reach; without one a failover waits for the leases, and it takes the words of all. So before `async` is recorded in
//! the place of a quorum, leases are granted as short as then, the agent of the primary has forgotten that fewer words were
//! enough, and all that lasts longer has ended. The other way nothing need end: who has a short lease has no long one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many standbys must have flushed a commit before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// None: a failover may lose what the old primary had not sent yet.
    Async,
    /// Any `standbys` of the voters. Strict: commits wait when fewer are there.
    Quorum {
        /// W, at least 1.
        standbys: u8,
    },
}

impl Durability {
    /// W, the standby acknowledgements that a commit waits for.
    pub fn standby_acks(self) -> usize {
        match self {
            Durability::Async => 0,
            Durability::Quorum { standbys } => usize::from(standbys),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Durability::Async => f.write_str("async"),
            Durability::Quorum { standbys } => write!(f, "quorum {standbys}"),
        }
    }
}

/// A durability that somebody asked for and that is not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurabilityChange {
    /// What it shall be.
    pub to: Durability,
    /// Who asked for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The number, within the epoch, of the record with which the phase began: what is said of an earlier one is refused.
    pub since: u32,
    /// How far it is.
    pub phase: ChangePhase,
}

/// How far a change of durability is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangePhase {
    /// For standbys; commits wait for as many as recorded.
    Waiting,
    /// Commits wait for as many as asked for, and it is not proven yet that all do. Before `async`: they wait for as many as
    /// recorded, and the agent of the primary has not said yet that it counts on no fewer words than all.
    Confirming,
    /// Before `async`: the leases that were granted before, and what fewer words made of them, come to their end.
    Lapsing,
}

impl ChangePhase {
    /// One word for the API.
    pub fn name(self) -> &'static str {
        match self {
            ChangePhase::Waiting => "waiting",
            ChangePhase::Confirming => "confirming",
            ChangePhase::Lapsing => "lapsing",
        }
    }
}
