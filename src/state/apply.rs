//! How a command changes the state. Every proof is checked again here, so that a buggy or deposed
//! leader is refused by the log itself.

mod handover;

use std::collections::BTreeMap;

use crate::model::{Epoch, InstanceId, Order, Standing};
use crate::recovery::{Evidence, FenceProof, Handover, Rejection, Rejoin};

use super::directives::{may_begin, may_elect};
use super::history::{IN_TOTAL, Kind};
use super::level::has_verdicts;
use super::verdict::Elected;
use super::{ActiveRejoin, Change, ClusterState, Command, Reply, State};

impl State {
    /// Applies one command.
    pub fn apply(&mut self, command: Command) -> Reply {
        let name = command.cluster.clone();
        let is_new = matches!(command.change, Change::Create(_));
        let order = self.change(command)?;
        // A new one takes its share from all.
        let room = IN_TOTAL / self.clusters.len().max(1);
        for (other, state) in &mut self.clusters {
            if is_new || *other == name {
                state.history.keep_within(room);
            }
        }
        Ok(order)
    }

    fn change(&mut self, command: Command) -> Reply {
        let Command {
            cluster: name,
            at,
            change,
        } = command;
        if let Change::Create(new) = change {
            if self.clusters.contains_key(&name) || self.sql.contains_key(&name) {
                return Err(Rejection::Exists(format!("cluster {name}")));
            }
            self.check_vacant(&new)?;
            let state = ClusterState::create(name.clone(), new, at)?;
            let order = state.order();
            self.clusters.insert(name, state);
            return Ok(order);
        }
        if let Change::Record { evidence, .. } = &change {
            self.check_unknown(&name, evidence)?;
        }
        let directives = self.directives.in_force(&name, at);
        let judges = has_verdicts(self.level);
        let known = self.clusters.get_mut(&name);
        let state = known.ok_or_else(|| Rejection::Unknown(format!("cluster {name}")))?;
        state.end_word(at);
        match change {
            Change::Create(_) => Err(Rejection::WrongPhase),
            Change::Begin { seen, cause } => {
                let held = directives.holds_failover(state.cluster.of_failover());
                may_begin(held.filter(|_| !state.cluster.switches_over()))?;
                state.begin(seen, &cause, at)
            }
            Change::Record { order, evidence } => {
                may_elect(&directives, &evidence)?;
                let is_failover = state.fails_over(&evidence);
                let recorded = state.record(order, &evidence, judges, at);
                // One that was promoted from other data than elected it ends without a primary.
                if is_failover && recorded.is_ok() && state.is_established() {
                    let epoch = state.cluster.epoch;
                    self.directives.note_failover(&name, epoch, at);
                }
                recorded
            }
            Change::Abandon { epoch, reason } => state.abandon(epoch, &reason.to_string(), at),
            Change::BeginRejoin {
                epoch,
                instance,
                cause,
            } => {
                may_begin(directives.holds(Some(&instance)))?;
                state.begin_rejoin(epoch, instance, &cause, at)
            }
            Change::EndRejoin {
                order,
                instance,
                reason,
            } => state.end_rejoin(order, &instance, &reason.to_string(), at),
            Change::PlanStop {
                instance,
                order,
                length,
            } => state.plan_stop(instance, order, length, at),
            Change::EndStop { order } => state.end_stop(order),
            Change::PlanSwitchover(new) => {
                // What ran for one says nothing of the next.
                let before = self.hooks.of(&name).filter(|it| it.is_of_switchover());
                if let Some(before) = before {
                    let what = format!("programs of the switchover before: {}", before.text);
                    return Err(Rejection::Exists(what));
                }
                state.plan_switchover(new, &directives, at)
            }
            Change::BeginShutDown { epoch } => state.begin_shut_down(epoch, at),
            Change::ForceFailover(new) => state.force_failover(new, at),
            Change::GiveUpSwitchover { epoch, why } => state.give_up_switchover(epoch, why, at),
            Change::EndSwitchover { order } => state.end_called_off(order, at),
            Change::CallOffSwitchover { seen } => state.call_off(seen, at),
            Change::PlanDurability(new) => state.plan_durability(new, at),
            Change::BeginConfirming { order } => state.begin_confirming(order, at),
            Change::StopConfirming { order, reason } => state.stop_confirming(order, &reason, at),
            Change::RecordLapsed { order } => state.record_lapsed(order, at),
        }
    }
}

impl ClusterState {
    pub(super) fn begin(&mut self, seen: Epoch, cause: &str, at: u64) -> Reply {
        if self.handover.is_some() || seen != self.cluster.epoch {
            return Err(Rejection::Stale);
        }
        self.history.end_rejoins(at, "a handover began");
        self.switchover_meets_handover(cause, at);
        let from = self
            .cluster
            .primary
            .take()
            .or_else(|| self.cluster.last_holder().cloned());
        self.cluster.epoch = seen.next();
        self.cluster.timeline = self.cluster.timeline.next();
        self.cluster.first_commit = None;
        self.cluster.forced = None;
        self.number = 1;
        self.rejoins.clear();
        self.durability_meets_handover(at);
        self.handover = Some(Handover::Fencing {
            promises: BTreeMap::new(),
        });
        self.history
            .begin(at, Kind::Handover, self.cluster.epoch, from, None, cause);
        Ok(self.order())
    }

    /// Whether this promotion is the end of a failover.
    fn fails_over(&self, evidence: &Evidence) -> bool {
        let is_first = matches!(
            &self.handover,
            Some(Handover::Promoting {
                proof: FenceProof::Created,
                ..
            })
        );
        let is_failure = !is_first && (!self.cluster.goes_down_as_asked() || self.may_have_lost());
        matches!(evidence, Evidence::Promoted { .. }) && is_failure
    }

    /// Whoever was elected by an operator's word may have begun to open its timeline, and by that alone would be taken for
    /// the furthest.
    pub(super) fn forsake(&mut self, handover: &Handover) {
        if let Handover::Promoting {
            proof: FenceProof::Forced { .. },
            position,
            ..
        } = handover
        {
            let timeline = self.cluster.timeline;
            self.cluster.forsaken.insert(timeline, *position);
        }
    }

    fn abandon(&mut self, epoch: Epoch, why: &str, at: u64) -> Reply {
        let Some(handover) = self.handover.take_if(|_| epoch == self.cluster.epoch) else {
            return Err(Rejection::Stale);
        };
        match handover {
            // The new primary serves; whoever was not repointed will rejoin.
            Handover::Repointing { .. } => {}
            Handover::Creating { .. } => {
                self.handover = Some(handover);
                return Err(Rejection::WrongPhase);
            }
            // It was elected by somebody's word, which is over: that it was says nothing of what it holds.
            Handover::Promoting {
                proof: FenceProof::Forced { .. },
                ..
            } => {
                self.forsake(&handover);
                self.cluster.primary = None;
                self.cluster.holders = self.cluster.members.keys().cloned().collect();
            }
            // Nobody may be promoted or hold a lease under this epoch any more.
            Handover::Fencing { .. } | Handover::Promoting { .. } | Handover::Done => {
                self.cluster.primary = None;
            }
        }
        if let Some(record) = self.history.handover() {
            record.end(at, "gave_up", why);
        }
        // One for which the primary was shut down goes on until there is one: no pause holds that back.
        if self.cluster.primary.is_some() || !self.cluster.switches_over() {
            self.end_switchover("gave_up", why, at);
        }
        self.cluster.forced = None;
        self.number += 1;
        Ok(self.order())
    }

    fn begin_rejoin(&mut self, epoch: Epoch, instance: InstanceId, cause: &str, at: u64) -> Reply {
        if epoch != self.cluster.epoch || !self.is_established() {
            return Err(Rejection::Stale);
        }
        let is_pending = matches!(&self.handover, Some(Handover::Repointing { pending }) if pending.contains(&instance));
        if is_pending
            || self.cluster.primary.as_ref() == Some(&instance)
            || self.rejoins.contains_key(&instance)
        {
            return Err(Rejection::WrongPhase);
        }
        if !self.cluster.members.contains_key(&instance) {
            return Err(Rejection::Unknown(instance.to_string()));
        }
        self.number += 1;
        self.history
            .begin(at, Kind::Rejoin, epoch, Some(instance.clone()), None, cause);
        self.rejoins.insert(
            instance,
            ActiveRejoin {
                since: self.number,
                rejoin: Rejoin::Following,
            },
        );
        Ok(self.order())
    }

    fn end_rejoin(&mut self, order: Order, instance: &InstanceId, why: &str, at: u64) -> Reply {
        let current = |active: &ActiveRejoin| order.number >= active.since;
        if order.epoch != self.cluster.epoch || !self.rejoins.get(instance).is_some_and(current) {
            return Err(Rejection::Stale);
        }
        self.rejoins.remove(instance);
        self.number += 1;
        if let Some(record) = self.history.rejoin(instance) {
            record.end(at, "gave_up", why);
        }
        Ok(self.order())
    }

    /// `judges`: whether it is recorded what is lost.
    fn record(&mut self, order: Order, evidence: &Evidence, judges: bool, at: u64) -> Reply {
        if order.epoch != self.cluster.epoch || order.number > self.number {
            return Err(Rejection::Stale);
        }
        if let Evidence::FirstCommit { lsn } = evidence {
            if !self.is_established() || self.cluster.first_commit.is_some() {
                return Err(Rejection::WrongPhase);
            }
            self.cluster.first_commit = Some(*lsn);
            self.history
                .amend_handover(at, "first_commit", &format!("acknowledged at {lsn}"));
            self.number += 1;
            return Ok(self.order());
        }
        if let Evidence::ShutDown { instance, position } = evidence {
            return self.record_shut_down(instance, *position, at);
        }
        if let Evidence::Confirmed {
            instance,
            synchronous_standby_names,
        } = evidence
        {
            return self.record_confirmed(order, instance, synchronous_standby_names, at);
        }
        if let Some(instance) = evidence.of_rejoin()
            && self.rejoins.contains_key(instance)
        {
            return self.record_rejoin(order, instance, evidence, at);
        }
        let promises = match &self.handover {
            Some(Handover::Fencing { promises }) if judges => promises.clone(),
            _ => return self.record_handover(evidence, at),
        };
        let before = self.cluster.clone();
        let recorded = self.record_handover(evidence, at)?;
        if let (
            Evidence::Elected { candidate, proof },
            Some(Handover::Promoting { position, .. }),
        ) = (evidence, &self.handover)
        {
            let elected = Elected {
                candidate,
                position: *position,
                proof,
                promises: &promises,
            };
            self.judge(&elected.verdict(&before), *position, at);
        }
        Ok(recorded)
    }

    fn record_rejoin(
        &mut self,
        order: Order,
        instance: &InstanceId,
        evidence: &Evidence,
        at: u64,
    ) -> Reply {
        let active = self.rejoins[instance].clone();
        if order.number < active.since {
            return Err(Rejection::Stale);
        }
        let was_following = active.rejoin == Rejoin::Following;
        let rejoin = active.rejoin.record(&self.cluster, evidence)?;
        self.number += 1;
        match evidence {
            Evidence::RebuiltKeeping {
                apart: Some(it), ..
            } => {
                self.judge_anew(instance, Some(*it), at);
            }
            // It follows with all that it has.
            Evidence::Following { .. } if was_following => self.judge_anew(instance, None, at),
            // What it had is replaced, and nobody has read it: that it follows one day says nothing of it.
            Evidence::Rebuilt { .. } | Evidence::RebuiltKeeping { apart: None, .. } => {
                self.cluster.loss.take_if(|it| it.of == *instance);
            }
            _ => {}
        }
        let record = self.history.rejoin(instance);
        let member = self.cluster.members.get_mut(instance);
        if let (Rejoin::Rebuilding { incarnation, .. }, Some(member)) = (&rejoin, member) {
            member.incarnation = *incarnation;
            member.standing = Standing::Recovering;
        } else if let (Rejoin::Done, Some(member)) =
            (&rejoin, self.cluster.members.get_mut(instance))
        {
            member.standing = Standing::Voter;
        }
        if let Some(record) = record {
            if let Evidence::RebuiltKeeping { kept, .. } = evidence {
                record.note(at, "kept", kept);
            }
            match &rejoin {
                Rejoin::Done => record.end(at, "done", "streams and counts"),
                Rejoin::Diverged { why, .. } => record.note(at, "diverged", why),
                Rejoin::Following | Rejoin::Rebuilding { .. } | Rejoin::CatchingUp { .. } => {
                    record.note(at, rejoin.phase(), "");
                }
            }
        }
        if rejoin == Rejoin::Done {
            self.rejoins.remove(instance);
        } else {
            self.rejoins
                .insert(instance.clone(), ActiveRejoin { rejoin, ..active });
        }
        Ok(self.order())
    }
}
