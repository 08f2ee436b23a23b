//! What is recorded about a cluster: its members, its durability, who may be primary and under which epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broken;

use super::durability::{ChangePhase, Durability, DurabilityChange};
use super::ids::{ClusterName, Epoch, Incarnation, InstanceId, Order, SystemIdentifier, Zone};
use super::network::Network;
use super::switchover::{Forced, Progress, Switchover};
use super::wal::{Lineage, Lsn, Timeline, WalPosition};

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
    /// Never stronger than what any walsender may still be using.
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
    /// The switchover that somebody asked for and that is not over. How it is written: `state::record`.
    #[serde(skip)]
    pub switchover: Option<Switchover>,
    /// That the handover under way may lose what was acknowledged, if an operator said so. Written as `switchover` is.
    #[serde(skip)]
    pub forced: Option<Forced>,
    /// Timelines that somebody may have opened who was elected by an operator's word and given up: where each leaves the one
    /// before it. Nothing was acknowledged on them. Written as `switchover` is.
    #[serde(skip)]
    pub forsaken: BTreeMap<Timeline, WalPosition>,
    /// What the last change of primary that proves nothing may have lost, until that is known better. Written as
    /// `switchover` is.
    #[serde(skip)]
    pub loss: Option<Loss>,
    /// Another durability that somebody asked for and that is not recorded yet. Written as `switchover` is.
    #[serde(skip)]
    pub durability_change: Option<DurabilityChange>,
}

/// What a change of primary may have lost: all that the primary before it wrote beyond the place of the election.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Of which recovery in the history.
    pub recovery: u64,
    /// The primary before.
    pub of: InstanceId,
    /// With what the new one was elected.
    pub elected: WalPosition,
}

impl Cluster {
    /// How long a primary lease lasts that is granted now. Where no failover waits for it, it bounds stale reads and leaves
    /// time to restart an agent; else it is as short as a busy host can keep it, and so it is once somebody has asked for
    /// such a cluster. It is renewed once a quarter of it is over, and the rest is longer than the peers of that network take
    /// to replace a leader: nobody renews it meanwhile.
    pub fn lease_length(&self, network: Network) -> Duration {
        match self.becomes_async() {
            true => shorter(network),
            false => self.longest_lease(network),
        }
    }

    /// How long a primary lease may last that was granted under this record.
    pub fn longest_lease(&self, network: Network) -> Duration {
        match self.failover_waits_for_leases() {
            true => shorter(network),
            false => LONGER_LEASE,
        }
    }

    /// Whether `async` was asked for in the place of the quorum that is recorded.
    pub fn becomes_async(&self) -> bool {
        let asked = self.durability_change.as_ref().map(|it| it.to);
        self.durability != Durability::Async && asked == Some(Durability::Async)
    }

    /// Whether nobody is elected before every lease that may be held has ended.
    pub fn failover_waits_for_leases(&self) -> bool {
        self.durability == Durability::Async || self.reads == Reads::Strict
    }

    /// How far data is with which somebody may be elected: by what it held before a timeline that was given up.
    pub fn rank(&self, position: WalPosition) -> WalPosition {
        let before = self.forsaken.get(&position.timeline);
        before.map_or(position, |before| self.rank(*before))
    }

    /// Whether the group of peers began anew from a saved state, and leases of before may not have ended: everybody may hold
    /// one, as after a planned stop. Since it was saved `async` may have been recorded, and somebody acknowledge by that.
    pub fn is_of_old_state(&self) -> bool {
        let may_all_hold = self.holders.len() == self.members.len();
        self.planned_stop.is_some() && self.primary.is_none() && may_all_hold
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

    /// Whether the primary was told to shut down, so that somebody else takes its place.
    pub fn switches_over(&self) -> bool {
        self.switchover.as_ref().is_some_and(Switchover::has_begun)
    }

    /// Whether it goes down because somebody wants that still: one that was given up is none of ours.
    pub fn goes_down_as_asked(&self) -> bool {
        let asked = self.switchover.as_ref();
        let is_given_up = asked.is_some_and(|it| matches!(it.progress, Progress::CalledOff { .. }));
        self.switches_over() && !is_given_up
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

    /// The durability that is being confirmed on the primary, if one is.
    pub fn confirming(&self) -> Option<Durability> {
        let change = self.durability_change.as_ref();
        let confirming = change.filter(|it| it.phase == ChangePhase::Confirming);
        confirming.map(|it| it.to)
    }

    /// How many standbys a commit waits for now: those that the record says, or more.
    pub fn acks_in_force(&self) -> usize {
        let confirming = self.confirming().map_or(0, Durability::standby_acks);
        confirming.max(self.durability.standby_acks())
    }

    /// The value of `synchronous_standby_names` on `primary`; empty in an async cluster. A quorum
    /// cluster without any admitted voter waits for a name that nobody can carry.
    ///
    /// While a stronger durability is confirmed it is written with FIRST, and as many names that nobody carries come first
    /// as standbys are asked for: a walsender under `ANY` shows a priority of 1 whatever the number, and one under this shows
    /// a place in the list, which is the number and more. So it can be read back who runs the new rule, and that it is not
    /// one of another number that was confirmed a moment ago. As many must have flushed a commit as under `ANY`.
    ///
    /// The same place under fewer, of a longer list, is as good: whoever left the list since is still one of N, so that a
    /// proof needs one more promise for each of them, and those are asked who could have been passed over.
    pub fn synchronous_standby_names(&self, primary: &InstanceId) -> String {
        let names = self.synchronous_names(primary);
        let quoted = names.iter().map(|name| format!("\"{name}\""));
        if let Some(Durability::Quorum { standbys }) = self.confirming() {
            let number = match broken!(ConfirmedNumber) {
                true => 1,
                false => standbys,
            };
            let marks = (1..=number).map(|n| format!("\"{MARK}{n}\""));
            let listed: Vec<_> = marks.chain(quoted).collect();
            return format!("FIRST {standbys} ({})", listed.join(", "));
        }
        let Durability::Quorum { standbys } = self.durability else {
            return String::new();
        };
        // PostgreSQL warns when k exceeds the names and then waits for ever: just what strict means.
        let missing = usize::from(standbys).saturating_sub(names.len());
        let nobody = (0..missing).map(|n| format!("\"{NOBODY}{n}\""));
        let listed: Vec<_> = quoted.chain(nobody).collect();
        format!("ANY {standbys} ({})", listed.join(", "))
    }
}

/// How the names begin that nobody can carry.
const NOBODY: &str = "primacy_waits_for_a_standby_";
/// How the names begin that come first while a stronger durability is confirmed. Nobody can carry them either.
const MARK: &str = "primacy_confirms_the_durability_";
/// A primary lease that no failover waits for.
const LONGER_LEASE: Duration = Duration::from_secs(10);

/// A primary lease that every failover waits for.
fn shorter(network: Network) -> Duration {
    match network {
        Network::Lan => Duration::from_secs(2),
        Network::Wan => LONGER_LEASE,
    }
}

/// Whether it can be read back who runs these `synchronous_standby_names`.
pub fn shows_who_runs(names: &str) -> bool {
    names.contains(MARK)
}

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
