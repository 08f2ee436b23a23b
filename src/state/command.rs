//! The log format: every change that can be asked of the replicated state. Golden files guard it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Address, ClusterName, Durability, Epoch, InstanceId, Order, Reads, WalPosition, Zone,
};
use crate::recovery::{Evidence, Reason, Rejection};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The cluster it changes.
    pub cluster: ClusterName,
    /// The proposing leader's wall clock, in milliseconds since 1970. For display only.
    pub at: u64,
    /// What changes.
    pub change: Change,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Record a new cluster and the permit to initialise its first instance.
    Create(NewCluster),
    /// Burn the next epoch and begin a handover. Compare-and-set on the epoch the decision saw.
    Begin {
        /// The epoch the decision saw.
        seen: Epoch,
        /// The finding, in words.
        cause: String,
    },
    /// Record what a step brought back.
    Record {
        /// The order of the step, or of the record that the leader drew a conclusion from.
        order: Order,
        /// What came back.
        evidence: Evidence,
    },
    /// End the handover: it cannot succeed under this epoch.
    Abandon {
        /// Its epoch.
        epoch: Epoch,
        /// Why.
        reason: Reason,
    },
    /// Begin to bring an instance back. Burns no epoch.
    BeginRejoin {
        /// The epoch the decision saw.
        epoch: Epoch,
        /// Whom.
        instance: InstanceId,
        /// Why, in words.
        cause: String,
    },
    /// End a rejoin that cannot go on.
    EndRejoin {
        /// The order of the record that the leader drew the conclusion from.
        order: Order,
        /// Whose.
        instance: InstanceId,
        /// Why.
        reason: Reason,
    },
    /// The agent of the primary is being stopped on purpose: record a longer lease before it is granted.
    PlanStop {
        /// Whose agent.
        instance: InstanceId,
        /// The order under which its lease is renewed.
        order: Order,
        /// How long the lease shall last.
        length: Duration,
    },
    /// Nobody holds the longer lease of a planned stop any more.
    EndStop {
        /// Of the record of the stop.
        order: Order,
    },
    /// Somebody asks for another primary.
    PlanSwitchover(NewSwitchover),
    /// The primary is about to be told to shut down for the switchover.
    BeginShutDown {
        /// The epoch the decision saw.
        epoch: Epoch,
    },
    /// The switchover is given up; the primary stays.
    GiveUpSwitchover {
        /// The epoch the decision saw.
        epoch: Epoch,
        /// Why, in words.
        why: String,
    },
    /// An operator has a failover begin, or go on, although it may lose what was acknowledged.
    ForceFailover(ForceFailover),
    /// The agent of the primary has admitted the order under which the switchover was given up, and PostgreSQL serves.
    EndSwitchover {
        /// The highest order that it admitted.
        order: Order,
    },
    /// Somebody takes back a switchover that still waits.
    CallOffSwitchover {
        /// The epoch that they saw.
        seen: Epoch,
    },
    /// Somebody asks for another durability.
    PlanDurability(NewDurability),
    /// Commits shall wait for as many as was asked for, so that this can be confirmed.
    BeginConfirming {
        /// The order of the record that the leader drew the conclusion from.
        order: Order,
    },
    /// Too few standbys are left to confirm it: commits wait for as many as recorded again.
    StopConfirming {
        /// The order of the record that the leader drew the conclusion from.
        order: Order,
        /// Why.
        reason: Reason,
    },
    /// What was granted in a quorum cluster has ended, so `async` may be recorded.
    RecordLapsed {
        /// The order of the record that the leader drew the conclusion from.
        order: Order,
    },
}

/// A durability that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDurability {
    /// What it shall be.
    pub to: Durability,
    /// Who asks.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// A failover that is forced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForceFailover {
    /// The epoch that they saw.
    pub seen: Epoch,
    /// Whose word it is.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// What was known of the loss, in words.
    pub loss: String,
    /// What they accept to lose: only what lies beyond this.
    pub accepted: WalPosition,
    /// Whether they say that the old primary is off, or those who may back it.
    pub old_is_off: bool,
}

/// A switchover that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSwitchover {
    /// The epoch that they saw.
    pub seen: Epoch,
    /// Who shall be the primary.
    pub to: InstanceId,
    /// How long it may wait for the candidate.
    pub length: Duration,
    /// Who asks.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// A cluster to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCluster {
    /// Until somebody asks for another one.
    pub durability: Durability,
    /// Fixed from now on.
    pub reads: Reads,
    /// V, fixed from now on.
    pub members: BTreeMap<InstanceId, NewMember>,
    /// The one that is initialised; the others are cloned from it.
    pub first: InstanceId,
}

/// A member of a cluster to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMember {
    /// Where it answers SQL.
    pub address: Address,
    /// Where its agent answers health checks.
    pub health: Address,
    /// Its failure domain.
    pub zone: Zone,
}

/// What the state machine answers: the order after the change, or why it did not take it.
pub type Reply = Result<Order, Rejection>;
