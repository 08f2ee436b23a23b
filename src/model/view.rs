//! Everything a decision may look at beside the recorded state. Built by the shell; `now` is data.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::Cluster;
use super::directive::InForce;
use super::ids::{Epoch, Incarnation, InstanceId, Order};
use super::report::{Database, DiskTrouble, Receiver, Report};
use super::time::Timestamp;

/// An agent that has said nothing for this long is silent. Two missed reports and a margin.
pub const SILENT_AFTER: Duration = Duration::from_millis(1200);
/// A receiver that has heard nothing for this long does not hear its source any more
/// (the managed `wal_receiver_timeout`).
pub const DEAF_AFTER: Duration = Duration::from_millis(1000);
/// A primary that has answered its own agent nothing for this long does not serve: two looks in a row brought
/// nothing. Its standbys veto while they hear it.
pub const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(3);
/// An answer to a question is not used for a decision after this long.
pub const ANSWER_STALE_AFTER: Duration = Duration::from_millis(500);

/// One peer's readings of one cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The moment, on this peer's clock.
    pub now: Timestamp,
    /// Since when this peer has looked without a gap. One that was frozen itself calls nobody silent.
    pub awake_since: Timestamp,
    /// After this no instance holds a lease that this or any earlier leader granted.
    pub leases_lapse_at: Timestamp,
    /// Whether nobody holds the longer lease of the recorded planned stop any more, nor ever will.
    pub stop_is_over: bool,
    /// Whether all leases and words have ended that an async cluster does not wait for, before `async` is recorded.
    pub longer_leases_lapsed: bool,
    /// Whether the time of the recorded switchover is over, by this peer's wall clock.
    pub switchover_is_late: bool,
    /// Whether a forced failover still waits for those who are heard and slow to promise, by this peer's wall clock.
    pub awaits_the_slow: bool,
    /// What operators said and is in force, by this peer's wall clock.
    pub directives: InForce,
    /// The readings, by instance; none for an instance that was never heard.
    pub instances: BTreeMap<InstanceId, Sighting>,
    /// How many peers there are, this one included.
    pub peers: usize,
    /// How many of the other peers heard an instance, and when they said so.
    pub looks: BTreeMap<InstanceId, (Timestamp, usize)>,
}

/// What is known of one instance.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The last report.
    pub report: Report,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Whether the agent's connection stands.
    pub connected: bool,
    /// Its last answer to [`crate::recovery::Action::Ask`], and when it arrived.
    pub answer: Option<(Timestamp, Answer)>,
    /// The last command that it could not carry out.
    pub failure: Option<Failure>,
}

/// What an agent answers when it is asked whether it would promise an epoch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// The epoch asked about.
    pub epoch: Epoch,
    /// Whether it would promise it.
    pub would_promise: bool,
    /// Whether its instance hears a primary right now.
    pub hears_primary: bool,
    /// The filling of its data folder.
    pub incarnation: Option<Incarnation>,
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The order it was given under.
    pub order: Order,
    /// When the failure arrived.
    pub at: Timestamp,
    /// In words, for the operator.
    pub reason: String,
    /// Whether its agent gave its word to back the primary of before: it will do so in a few seconds.
    pub backs: bool,
}

impl View {
    /// The last report of an agent that is connected and not silent.
    pub fn fresh(&self, instance: &InstanceId) -> Option<&Report> {
        let sighting = self.instances.get(instance)?;
        let recent = self.now.since(sighting.received_at) <= SILENT_AFTER;
        (sighting.connected && recent).then_some(&sighting.report)
    }

    /// What keeps the disk of the instance from taking writes, if its agent says that something does.
    pub fn disk_trouble(&self, instance: &InstanceId) -> Option<&DiskTrouble> {
        self.fresh(instance)?.disk.as_ref()
    }

    /// Whether the agent says that the disk of the instance fails, and is not only busy.
    pub fn disk_fails(&self, instance: &InstanceId) -> bool {
        self.disk_trouble(instance)
            .is_some_and(DiskTrouble::is_failure)
    }

    /// The instance's answer about `epoch`, if it is recent enough to act on.
    pub fn answer(&self, instance: &InstanceId, epoch: Epoch) -> Option<&Answer> {
        self.fresh(instance)?;
        let (at, answer) = self.instances.get(instance)?.answer.as_ref()?;
        let recent = self.now.since(*at) <= ANSWER_STALE_AFTER;
        (recent && answer.epoch == epoch).then_some(answer)
    }

    /// How many of the other peers hear the agent of `instance`; none if they were not asked recently.
    pub fn heard_by_others(&self, instance: &InstanceId) -> Option<usize> {
        let (at, peers) = self.looks.get(instance)?;
        (self.now.since(*at) <= ANSWER_STALE_AFTER).then_some(*peers)
    }

    /// Why the instance could not carry out a command of this order.
    pub fn failure(&self, instance: &InstanceId, order: Order) -> Option<&Failure> {
        let failure = self.instances.get(instance)?.failure.as_ref()?;
        (failure.order == order).then_some(failure)
    }

    /// Whether the standby `instance` streams from the primary of `cluster`'s present epoch under
    /// the incarnation that is recorded, and hears it.
    pub fn streams(&self, cluster: &Cluster, instance: &InstanceId) -> bool {
        let Some(member) = cluster.members.get(instance) else {
            return false;
        };
        let name = super::cluster::application_name(instance, member.incarnation, cluster.epoch);
        match self.fresh(instance).map(|report| &report.database) {
            Some(Database::Standby {
                receiver:
                    Receiver::Streaming {
                        application_name,
                        silent_for,
                    },
                ..
            }) => *application_name == name && *silent_for < DEAF_AFTER,
            _ => false,
        }
    }
}
