//! What is recorded about a cluster: its members, its durability, who may be primary and under which epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ClusterName, Epoch, Incarnation, InstanceId, Order, SystemIdentifier, Zone};
use super::network::Network;
use super::wal::{Lineage, Lsn, Timeline};

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

/// Whether a read on an old primary may miss what a new one acknowledged. In async clusters it never may: there every
/// failover waits for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// It may, until the old primary's lease ends: a failover waits for no lease.
    #[default]
    Fast,
    /// It never may: a failover also waits until every lease has ended.
    Strict,
}

impl Reads {
    /// One word for the API.
    pub fn name(self) -> &'static str {
        match self {
            Reads::Fast => "fast",
            Reads::Strict => "strict",
        }
    }
}

/// Where an instance answers SQL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Whether the promise of a voter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Counts in N and, with the recorded incarnation, in R.
    Voter,
    /// Counts in N, not in R: its data was or is being replaced, or was never filled.
    Recovering,
}

/// One instance as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it answers SQL.
    pub address: Address,
    /// Where its agent answers health checks.
    pub health: Address,
    /// Its failure domain.
    pub zone: Zone,
    /// The filling of its data folder that Raft knows of; zero before the first.
    pub incarnation: Incarnation,
    /// Whether its promise counts.
    pub standing: Standing,
}

/// A planned stop of the agent of a primary: it was granted one lease that is longer than all others, so that
/// PostgreSQL lives on while the agent is restarted or upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStop {
    /// Whose agent.
    pub instance: InstanceId,
    /// The order of this record; the longer lease is granted under it, and no two stops share one.
    pub order: Order,
    /// How long the longer lease lasts.
    pub length: Duration,
    /// When it was recorded, in milliseconds since 1970 on the leader's wall clock. For display only.
    pub at: u64,
}

impl PlannedStop {
    /// The longest lease of a planned stop: an agent is upgraded and back in less, and an async cluster whose
    /// primary dies meanwhile is without one for as long.
    pub const LONGEST: Duration = Duration::from_secs(60);
}

/// One cluster as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its chosen name.
    pub name: ClusterName,
    /// Known once the first instance was initialised.
    pub identity: Option<SystemIdentifier>,
    /// Fixed at creation.
    pub durability: Durability,
    /// Fixed at creation.
    pub reads: Reads,
    /// V: the primary and every instance that any walsender may count as synchronous. Fixed at creation.
    pub members: BTreeMap<InstanceId, Member>,
    /// The highest epoch burnt.
    pub epoch: Epoch,
    /// The timeline number allocated with the epoch; never used twice.
    pub timeline: Timeline,
    /// The only instance that may ever be primary in this epoch; none while it is being elected.
    pub primary: Option<InstanceId>,
    /// Instances that may hold a primary lease of an earlier epoch, or of this one.
    pub holders: BTreeSet<InstanceId>,
    /// The branches that led to the timeline of the instance elected last; before it reported its
    /// promotion, only where it was elected.
    pub lineage: Lineage,
    /// Where the epoch's first acknowledged commit ends; none before it was acknowledged.
    pub first_commit: Option<Lsn>,
    /// The longer lease that an agent may hold, recorded before it is granted; none once it is certain that
    /// nobody holds it.
    pub planned_stop: Option<PlannedStop>,
}

impl Cluster {
    /// How long a primary lease lasts. Where no failover waits for it, it bounds stale reads and leaves time to restart
    /// an agent; else it is as short as a busy host can keep it. It is renewed once a quarter of it is over, and the
    /// rest is longer than the peers of that network take to replace a leader: nobody renews it meanwhile.
    pub fn lease_length(&self, network: Network) -> Duration {
        match network {
            Network::Lan if self.failover_waits_for_leases() => Duration::from_secs(2),
            Network::Lan | Network::Wan => Duration::from_secs(10),
        }
    }

    /// Whether nobody is elected before every lease that may be held has ended.
    pub fn failover_waits_for_leases(&self) -> bool {
        self.durability == Durability::Async || self.reads == Reads::Strict
    }

    /// Who was primary last, if only one can have been.
    pub fn last_holder(&self) -> Option<&InstanceId> {
        let mut holders = self.holders.iter();
        holders.next().filter(|_| holders.next().is_none())
    }

    /// Whom a failover would replace: the primary, else who was it last.
    pub fn of_failover(&self) -> Option<&InstanceId> {
        self.primary.as_ref().or_else(|| self.last_holder())
    }

    /// N, the size of V.
    pub fn voters(&self) -> usize {
        self.members.len()
    }

    /// The names that the primary counts as synchronous: one for each *other* voter whose promise
    /// counts, each with its incarnation and the epoch, so that a stale, foreign or re-cloned
    /// walsender is never counted.
    pub fn synchronous_names(&self, primary: &InstanceId) -> BTreeSet<String> {
        self.members
            .iter()
            .filter(|(id, member)| *id != primary && member.standing == Standing::Voter)
            .map(|(id, member)| application_name(id, member.incarnation, self.epoch))
            .collect()
    }

    /// The value of `synchronous_standby_names` on `primary`; empty in an async cluster. A quorum
    /// cluster without any admitted voter waits for a name that nobody can carry.
    pub fn synchronous_standby_names(&self, primary: &InstanceId) -> String {
        let Durability::Quorum { standbys } = self.durability else {
            return String::new();
        };
        let names = self.synchronous_names(primary);
        if names.len() < usize::from(standbys) {
            // PostgreSQL warns when k exceeds the names and then waits for ever: just what strict means.
            let missing = usize::from(standbys) - names.len();
            let nobody = (0..missing).map(|n| format!("\"{NOBODY}{n}\""));
            let listed: Vec<_> = names
                .iter()
                .map(|n| format!("\"{n}\""))
                .chain(nobody)
                .collect();
            return format!("ANY {standbys} ({})", listed.join(", "));
        }
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("ANY {standbys} ({})", quoted.join(", "))
    }
}

/// How the names begin that nobody can carry.
const NOBODY: &str = "primacy_waits_for_a_standby_";

/// Whether no standby can acknowledge a commit under these `synchronous_standby_names`, because none can carry one of
/// them.
pub fn is_only_nobody(names: &str) -> bool {
    let quoted = names.split('"').skip(1).step_by(2);
    let mut listed = quoted.peekable();
    listed.peek().is_some() && listed.all(|name| name.starts_with(NOBODY))
}

/// The `application_name` under which a standby streams: `<instance>_<incarnation>_<epoch of the primary>`.
pub fn application_name(instance: &InstanceId, incarnation: Incarnation, epoch: Epoch) -> String {
    format!("{instance}_{incarnation}_{epoch}")
}

/// The replication slot that keeps WAL for `instance` on whoever feeds it. An instance name has no
/// underscore, so two never share a slot.
pub fn slot_name(instance: &InstanceId) -> String {
    format!("primacy_{}", instance.as_str().replace('-', "_"))
}
