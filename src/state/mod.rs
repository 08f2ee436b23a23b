//! What Raft replicates. `apply` is deterministic: no clock, no randomness, no effects. Times come with
//! the command, stamped by the leader, and serve display only.

pub mod access;
mod anew;
pub mod apply;
pub mod command;
mod creation;
pub mod directives;
mod durability;
pub mod entry;
#[cfg(test)]
pub mod example;
mod forced;
pub mod history;
pub mod hooks;
pub mod level;
pub mod peers;
mod planned_stop;
pub mod published;
mod record;
pub mod sql_only;
mod switchover;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Cluster, ClusterName, InstanceId, Order};
use crate::recovery::{Handover, Rejoin};

pub use access::{Access, AccessChange, AccessCommand, AccessRefusal, Guest, GuestInvitation};
pub use command::{
    Change, Command, ForceFailover, NewCluster, NewDurability, NewSwitchover, Reply,
};
pub use directives::{Directive, DirectiveCommand, Directives, NewHold};
pub use entry::{Answer, Entry};
pub use history::{History, Kind, RecoveryRecord};
pub use hooks::{HookChange, HookCommand, Hooks};
pub use level::FeatureLevel;
pub use peers::{Peers, PeersChange, PeersCommand, PeersRefusal};
pub use published::PublishedPrimary;
pub use sql_only::{Adopted, Observed, SqlChange, SqlCommand, SqlState};
pub use switchover::asked_for;

/// Everything that is replicated. How it is written: `record`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// By name.
    pub clusters: BTreeMap<ClusterName, ClusterState>,
    /// Which ids were given, and who is invited.
    pub peers: Peers,
    /// Tokens, and who else is invited.
    pub access: Access,
    /// What every peer understands.
    pub level: FeatureLevel,
    /// Clusters without agents, by name; none before feature level 2.
    pub sql: BTreeMap<ClusterName, SqlState>,
    /// What operators said; nothing before feature level 3.
    pub directives: Directives,
    /// What became of the user's programs; nothing before feature level 4.
    pub hooks: Hooks,
}

/// What is replicated of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// The record.
    pub cluster: Cluster,
    /// How many transitions this epoch has recorded.
    pub number: u32,
    /// The order under which the present primary was elected; its lease is granted under it.
    pub elected: Order,
    /// The handover under way, if any.
    pub handover: Option<Handover>,
    /// The rejoins under way, at most one for each instance.
    pub rejoins: BTreeMap<InstanceId, ActiveRejoin>,
    /// What happened.
    pub history: History,
}

/// A rejoin under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveRejoin {
    /// The number with which it began: evidence of an earlier order belongs to an earlier rejoin.
    pub since: u32,
    /// Where it stands.
    pub rejoin: Rejoin,
}

impl ClusterState {
    /// The order of commands given now.
    pub fn order(&self) -> Order {
        Order {
            epoch: self.cluster.epoch,
            number: self.number,
        }
    }

    /// The order under which `instance` may hold a primary lease now; none if it may not.
    pub fn lease_order(&self, instance: &InstanceId) -> Option<Order> {
        (self.cluster.primary.as_ref() == Some(instance)).then_some(self.elected)
    }

    /// Whether the recorded primary was promoted and serves.
    pub fn is_established(&self) -> bool {
        self.cluster.primary.is_some()
            && matches!(
                self.handover,
                None | Some(Handover::Repointing { .. } | Handover::Done)
            )
    }
}
