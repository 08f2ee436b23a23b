//! Clusters without agents: what is recorded of one, and what a peer sees of it over SQL.
//!
//! Nothing here is a promise: over SQL alone a fence is a courtesy, and whoever was fenced may be let loose again by
//! anybody. So a fact counts for as long as it is seen, and no longer.

mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::cluster::Address;
use super::ids::{ClusterName, Epoch, InstanceId, SystemIdentifier};
use super::replication::CopyMark;
use super::wal::{Lineage, WalPosition};

pub use seen::{
    LOOK_FRESH_FOR, LOOKS_APART, Look, Opinion, Outcome, SqlSighting, SqlView, Stall, end_of, note,
};

/// What has to keep an old primary from writing before another one is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceDemand {
    /// That it is asked to, where it can be reached.
    #[default]
    Courtesy,
    /// An agent. A cluster without one is then watched and never failed over.
    Required,
}

impl FenceDemand {
    /// One word for the API.
    pub fn name(self) -> &'static str {
        match self {
            FenceDemand::Courtesy => "courtesy",
            FenceDemand::Required => "required",
        }
    }
}

/// Whose flush a commit waits for, as the primary was seen to have it. Never stronger than what any of its processes may
/// still go by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncRule {
    /// Nobody's.
    Async,
    /// Any so many of these.
    Any {
        /// W, at least 1.
        acks: u8,
        /// The standbys that may be counted; the primary is none of them.
        voters: BTreeSet<InstanceId>,
        /// How many more are named that nobody knows: each may hold what was acknowledged.
        unknown: u32,
    },
    /// Standbys that cannot be named, so that nothing can be proven.
    Unclear {
        /// Why, and what to do.
        why: String,
    },
}

impl SyncRule {
    /// The weaker of two: what a commit was acknowledged under whichever of them was in force.
    #[must_use]
    pub fn or(&self, other: &SyncRule) -> SyncRule {
        match (self, other) {
            (SyncRule::Unclear { .. }, _) => self.clone(),
            (_, SyncRule::Unclear { .. }) => other.clone(),
            (SyncRule::Async, _) | (_, SyncRule::Async) => SyncRule::Async,
            (
                SyncRule::Any {
                    acks,
                    voters,
                    unknown,
                },
                SyncRule::Any {
                    acks: others,
                    voters: more,
                    unknown: besides,
                },
            ) => SyncRule::Any {
                acks: (*acks).min(*others),
                voters: voters.union(more).cloned().collect(),
                unknown: (*unknown).max(*besides),
            },
        }
    }

    /// Those that may be counted.
    pub fn voters(&self) -> BTreeSet<InstanceId> {
        match self {
            SyncRule::Any { voters, .. } => voters.clone(),
            SyncRule::Async | SyncRule::Unclear { .. } => BTreeSet::new(),
        }
    }
}

impl fmt::Display for SyncRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncRule::Async => f.write_str("async"),
            SyncRule::Any { acks, .. } => write!(f, "quorum {acks}"),
            SyncRule::Unclear { .. } => f.write_str("unclear"),
        }
    }
}

/// One instance as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlMember {
    /// Where it answers SQL.
    pub address: Address,
    /// Under which name it was last seen to stream; none if it never was.
    pub application_name: Option<String>,
}

/// Which copy of the data a member holds, as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlCopy {
    /// None if the right to see it is missing: then one copy cannot be told from the next by it.
    pub mark: Option<CopyMark>,
    /// When the server started that was seen over it last, in microseconds since 1970 on its own clock. While that one runs
    /// on, nothing was replaced.
    pub started: u64,
    /// Whether this copy was seen to hold all that was acknowledged when it was there already. One that was not counts for
    /// nothing: whatever it acknowledged before it was replaced may be gone.
    pub is_proven: bool,
}

/// One cluster as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlCluster {
    /// Its chosen name.
    pub name: ClusterName,
    /// Its database history.
    pub system: SystemIdentifier,
    /// What has to keep an old primary from writing.
    pub fence: FenceDemand,
    /// Its instances. One that goes stays: it may hold what nobody else has.
    pub members: BTreeMap<InstanceId, SqlMember>,
    /// Whose flush commits waited for.
    pub rule: SyncRule,
    /// The highest epoch burnt.
    pub epoch: Epoch,
    /// The branches that led to that of the recorded primary, as far as they were seen.
    pub lineage: Lineage,
    /// The primary; none while another one is being chosen.
    pub primary: Option<InstanceId>,
    /// While no primary is recorded: who may be one all the same, the one of before and whoever was told to become one.
    pub suspects: BTreeSet<InstanceId>,
    /// Who was told to become the primary, and was seen neither to be it nor to be a standby since; each with the position
    /// that elected it. While another one is the primary, one of these that runs as one is deposed: the number of its
    /// timeline says nothing, because over SQL none can be allocated.
    pub told: BTreeMap<InstanceId, WalPosition>,
    /// Who was seen to run as a primary beside the one that serves, and not as a standby since: somebody's copy, or
    /// somebody's mistake. None of these becomes the primary because it is there.
    pub strays: BTreeSet<InstanceId>,
    /// Which copy each member holds; nothing before feature level 4, and then every copy counts. Written apart: see
    /// `state::record`.
    #[serde(skip)]
    pub copies: BTreeMap<InstanceId, SqlCopy>,
}

impl SqlCluster {
    /// The member that answers at an address.
    pub fn at(&self, address: &Address) -> Option<&InstanceId> {
        let mut members = self.members.iter();
        let found = members.find(|(_, member)| member.address == *address);
        found.map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests;
