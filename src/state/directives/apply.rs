//! How what an operator says changes the record, and where it is obeyed once more.

use crate::broken;
use crate::model::{ClusterName, Held, Hold, InForce, InstanceId, Priority, PromotionRule, Ruled};
use crate::recovery::{Evidence, Rejection};
use crate::state::State;

use super::command::{check_words, end};
use super::{Directive, DirectiveCommand, OfCluster};

/// What an operator said is obeyed here once more: a decision may be older than that.
pub(in crate::state) fn may_begin(held: Option<Held>) -> Result<(), Rejection> {
    match held {
        Some(held) if !broken!(Held) => Err(Rejection::Invalid(held.to_string())),
        Some(_) | None => Ok(()),
    }
}

/// Nobody is elected of whom an operator said that it must not be promoted.
pub(in crate::state) fn may_elect(said: &InForce, evidence: &Evidence) -> Result<(), Rejection> {
    match evidence {
        Evidence::Elected { candidate, .. }
            if said.rule(candidate) == PromotionRule::MustNot && !broken!(PromotionRule) =>
        {
            let why = format!("by its promotion rule {candidate} must not be promoted");
            Err(Rejection::Invalid(why))
        }
        _ => Ok(()),
    }
}

impl State {
    /// Applies one command. What is over is forgotten with the next one.
    pub(in crate::state) fn direct(&mut self, command: DirectiveCommand) -> Result<(), Rejection> {
        let DirectiveCommand { at, change } = command;
        let said = match change {
            Directive::Pause { cluster, hold } => self.pause(cluster, Some(hold.begin(at)?)),
            Directive::Resume { cluster } => self.pause(cluster, None),
            Directive::Downtime {
                cluster,
                instance,
                hold,
            } => {
                let hold = hold.begin(at)?;
                let of = self.said_of(&cluster, &instance)?;
                of.downtime.insert(instance, hold);
                Ok(())
            }
            Directive::Uptime { cluster, instance } => {
                let of = self.said_of(&cluster, &instance)?;
                of.downtime.remove(&instance);
                Ok(())
            }
            Directive::Rule {
                cluster,
                instance,
                rule,
                length,
            } => {
                if self.sql.contains_key(&cluster) {
                    return Err(Rejection::Invalid(
                        "rule: promotion rules are for clusters with agents".to_owned(),
                    ));
                }
                let until = length.map(|length| end(at, length)).transpose()?;
                let of = self.said_of(&cluster, &instance)?;
                of.rules.insert(instance, Ruled { rule, until });
                Ok(())
            }
            Directive::Block { cluster, period } => {
                if let Some(period) = period {
                    end(at, period)?;
                }
                let of = self.said_of_cluster(&cluster)?;
                of.block = period;
                of.failover.take_if(|_| period.is_none());
                Ok(())
            }
            Directive::Acknowledge {
                cluster,
                owner,
                comment,
            } => self.acknowledge(&cluster, &owner, &comment, at),
            Directive::Priority { cluster, priority } => self.put_first(cluster, priority),
        };
        let directives = &mut self.directives;
        directives.pause.take_if(|it| !it.is_in_force(at));
        for of in directives.clusters.values_mut() {
            of.keep_in_force(at);
        }
        let nothing = OfCluster::default();
        directives.clusters.retain(|_, of| *of != nothing);
        said
    }

    fn pause(&mut self, cluster: Option<ClusterName>, hold: Option<Hold>) -> Result<(), Rejection> {
        let Some(cluster) = cluster else {
            self.directives.pause = hold;
            return Ok(());
        };
        self.said_of_cluster(&cluster)?.pause = hold;
        Ok(())
    }

    fn put_first(&mut self, cluster: ClusterName, priority: Priority) -> Result<(), Rejection> {
        let limit = Priority::LIMIT;
        if !(-limit..=limit).contains(&priority.0) {
            let why = format!("priority: it lies between -{limit} and {limit}");
            return Err(Rejection::Invalid(why));
        }
        self.said_of_cluster(&cluster)?;
        let priorities = &mut self.directives.priorities;
        priorities.insert(cluster, priority);
        priorities.retain(|_, it| *it != Priority::default());
        Ok(())
    }

    fn acknowledge(
        &mut self,
        cluster: &ClusterName,
        owner: &str,
        comment: &str,
        at: u64,
    ) -> Result<(), Rejection> {
        check_words(owner, ("comment", comment))?;
        let of = self.said_of_cluster(cluster)?;
        let failover = of.failover.as_mut().filter(|it| !it.is_acknowledged);
        let failover = failover.ok_or_else(|| {
            Rejection::Unknown(format!("failover of {cluster} that is to be acknowledged"))
        })?;
        failover.is_acknowledged = true;
        let with_agents = self.clusters.get_mut(cluster).map(|it| &mut it.history);
        let without = self.sql.get_mut(cluster).map(|it| &mut it.history);
        if let Some(history) = with_agents.or(without) {
            history.amend_handover(at, "acknowledged", &format!("by {owner}: {comment}"));
        }
        Ok(())
    }

    fn said_of_cluster(&mut self, cluster: &ClusterName) -> Result<&mut OfCluster, Rejection> {
        if !self.clusters.contains_key(cluster) && !self.sql.contains_key(cluster) {
            return Err(Rejection::Unknown(format!("cluster {cluster}")));
        }
        Ok(self.directives.clusters.entry(cluster.clone()).or_default())
    }

    fn said_of(
        &mut self,
        cluster: &ClusterName,
        instance: &InstanceId,
    ) -> Result<&mut OfCluster, Rejection> {
        let with_agents = self.clusters.get(cluster);
        let is_member = with_agents.map(|it| it.cluster.members.contains_key(instance));
        let without = self.sql.get(cluster);
        let is_member = is_member.or(without.map(|it| it.cluster.members.contains_key(instance)));
        match is_member {
            None => Err(Rejection::Unknown(format!("cluster {cluster}"))),
            Some(false) => Err(Rejection::Unknown(format!("instance {instance}"))),
            Some(true) => {
                let clusters = &mut self.directives.clusters;
                Ok(clusters.entry(cluster.clone()).or_default())
            }
        }
    }
}
