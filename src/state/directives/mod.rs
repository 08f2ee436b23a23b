//! What operators said of automation, as it is recorded: pauses, downtimes, promotion rules and the block period. When each
//! ends is reckoned from the wall clock of the leader that had it recorded, and stands in the record.

mod apply;
mod command;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Blocked, ClusterName, Epoch, Hold, InForce, InstanceId, Paused, Priority, PromotionRule, Ruled,
};

pub(super) use apply::{may_begin, may_elect};
pub(super) use command::check_words;
use command::millis;
pub use command::{Directive, DirectiveCommand, NewHold};

/// What was said and is not over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Directives {
    /// The pause of all clusters.
    pause: Option<Hold>,
    clusters: BTreeMap<ClusterName, OfCluster>,
    /// How much each cluster matters; none of those of which nothing is said. Written apart: see `state::record`.
    #[serde(skip)]
    pub(super) priorities: BTreeMap<ClusterName, Priority>,
}

/// What was said of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct OfCluster {
    pause: Option<Hold>,
    downtime: BTreeMap<InstanceId, Hold>,
    rules: BTreeMap<InstanceId, Ruled>,
    /// How long a failover keeps another one off, unless it is acknowledged; none if it does not.
    block: Option<Duration>,
    /// The last failover; none while `block` is not set.
    failover: Option<Failover>,
}

/// A failover that came to its promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failover {
    epoch: Epoch,
    /// When the promotion was recorded, in milliseconds since 1970 on the leader's wall clock.
    at: u64,
    is_acknowledged: bool,
}

impl OfCluster {
    fn keep_in_force(&mut self, at: u64) {
        self.pause.take_if(|it| !it.is_in_force(at));
        self.downtime.retain(|_, it| it.is_in_force(at));
        self.rules.retain(|_, it| is_in_force(*it, at));
        let is_over = self.blocked().is_none_or(|it| at >= it.until);
        self.failover.take_if(|_| is_over);
    }

    fn blocked(&self) -> Option<Blocked> {
        let failover = self.failover.as_ref().filter(|it| !it.is_acknowledged)?;
        let until = failover.at.saturating_add(millis(self.block?));
        Some(Blocked {
            epoch: failover.epoch,
            until,
        })
    }
}

fn is_in_force(ruled: Ruled, at: u64) -> bool {
    ruled.rule != PromotionRule::Neutral && ruled.until.is_none_or(|until| at < until)
}

impl Directives {
    /// What is in force for a cluster at that wall time.
    pub fn in_force(&self, cluster: &ClusterName, at: u64) -> InForce {
        let of = self.clusters.get(cluster);
        let own = of.and_then(|of| of.pause.as_ref());
        let paused = |hold: Option<&Hold>, everywhere| {
            let hold = hold.filter(|it| it.is_in_force(at))?.clone();
            Some(Paused { hold, everywhere })
        };
        let pauses = [paused(own, false), paused(self.pause.as_ref(), true)];
        let mut said = InForce {
            paused: pauses.into_iter().flatten().max_by_key(|it| it.hold.until),
            priority: self.priorities.get(cluster).copied().unwrap_or_default(),
            ..InForce::default()
        };
        if let Some(of) = of {
            let downtime = of.downtime.iter().filter(|(_, it)| it.is_in_force(at));
            said.downtime = downtime.map(|(id, it)| (id.clone(), it.clone())).collect();
            let rules = of.rules.iter().filter(|(_, it)| is_in_force(**it, at));
            said.rules = rules.map(|(id, it)| (id.clone(), *it)).collect();
            said.block_period = of.block;
            said.blocked = of.blocked().filter(|it| at < it.until);
        }
        said
    }

    /// A failover came to its promotion.
    pub(super) fn note_failover(&mut self, cluster: &ClusterName, epoch: Epoch, at: u64) {
        let of = self.clusters.get_mut(cluster);
        if let Some(of) = of.filter(|it| it.block.is_some()) {
            of.failover = Some(Failover {
                epoch,
                at,
                is_acknowledged: false,
            });
        }
    }

    /// The pause of all clusters, if it is in force at that wall time.
    pub fn pause(&self, at: u64) -> Option<&Hold> {
        self.pause.as_ref().filter(|it| it.is_in_force(at))
    }

    /// Nothing said of a cluster holds for another one of its name.
    pub(super) fn forget(&mut self, cluster: &ClusterName) {
        self.clusters.remove(cluster);
        self.priorities.remove(cluster);
    }
}
