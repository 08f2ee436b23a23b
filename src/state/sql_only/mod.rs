//! Clusters without agents: what is replicated of one, and the commands that change it.

mod apply;
mod observe;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{
    ClusterName, Epoch, FenceDemand, InstanceId, Lineage, Order, SqlCluster, SqlCopy, SqlMember,
    SyncRule, SystemIdentifier,
};
use crate::recovery::sql_only::{SqlEvidence, SqlHandover};

use super::History;

/// What is replicated of one cluster without agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlState {
    /// The record.
    pub cluster: SqlCluster,
    /// When it was adopted, in milliseconds since 1970 on the leader's clock: tells one adoption from the next.
    pub adopted_at: u64,
    /// How many transitions this epoch has recorded.
    pub number: u32,
    /// The change of primary under way, if any.
    pub handover: Option<SqlHandover>,
    /// The primary that was asked to be quiet for a change that came to nothing, and must be let go on.
    pub quieted: Option<InstanceId>,
    /// What happened.
    pub history: History,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlCommand {
    /// The cluster that it changes.
    pub cluster: ClusterName,
    /// The proposing leader's wall clock, in milliseconds since 1970. For display only.
    pub at: u64,
    /// What changes.
    pub change: SqlChange,
}

/// What changes. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqlChange {
    /// Look after it from now on.
    Adopt(Adopted),
    /// Look after it no longer. Touches no database.
    Forget,
    /// Burn the next epoch and begin a change of primary. Compare-and-set on the epoch that the decision saw.
    Begin {
        /// The epoch that the decision saw.
        seen: Epoch,
        /// Why, in words.
        cause: String,
        /// Who shall be the primary, if somebody asked for that.
        named: Option<InstanceId>,
    },
    /// Record what a step brought back, or what is seen to follow from it.
    Record {
        /// The order of the record that it was decided on.
        order: Order,
        /// What came back.
        evidence: SqlEvidence,
    },
    /// End the change of primary: it cannot succeed.
    Abandon {
        /// Its epoch.
        epoch: Epoch,
        /// Why.
        why: String,
    },
    /// Record what is seen of the cluster and was not known.
    Observe {
        /// The order of the record that it was decided on.
        order: Order,
        /// What.
        observed: Observed,
    },
}

/// A cluster as its plan showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Its database history.
    pub system: SystemIdentifier,
    /// What has to keep an old primary from writing.
    pub fence: FenceDemand,
    /// Its instances.
    pub members: BTreeMap<InstanceId, SqlMember>,
    /// Whose flush its commits wait for.
    pub rule: SyncRule,
    /// Its primary.
    pub primary: InstanceId,
    /// The branches that led to the primary's, as far as they are known.
    pub lineage: Lineage,
}

/// Something that was seen of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observed {
    /// An instance that belongs to it, or another name under which one streams.
    Member {
        /// Its name here.
        instance: InstanceId,
        /// What is known of it.
        member: SqlMember,
    },
    /// Somebody made this one the primary.
    Primary {
        /// Who.
        instance: InstanceId,
        /// Its branches, as far as they are known.
        lineage: Lineage,
    },
    /// Whose flush commits wait for.
    Rule {
        /// As it may be counted on.
        rule: SyncRule,
    },
    /// One that was told to become the primary, or a stray, is a standby of the one that is.
    Standby {
        /// Who.
        instance: InstanceId,
    },
    /// One runs as a primary beside the one that serves.
    Stray {
        /// Who.
        instance: InstanceId,
    },
    /// Which copy of the data a member holds, and whether it holds all that was acknowledged. From feature level 4 on.
    Copy {
        /// Who.
        instance: InstanceId,
        /// Which.
        copy: SqlCopy,
    },
}

impl SqlState {
    /// The order of what is decided now.
    pub fn order(&self) -> Order {
        Order {
            epoch: self.cluster.epoch,
            number: self.number,
        }
    }
}
