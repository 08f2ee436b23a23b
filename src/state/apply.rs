//! How a command changes the state. Every proof is checked again here, so that a buggy or deposed
//! leader is refused by the log itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Durability, Epoch, InstanceId, Lineage, Member, Order, Standing, WalPosition};
use crate::recovery::proof::promises_needed;
use crate::recovery::{Evidence, FenceProof, Handover, Rejection, Rejoin};

use super::directives::{may_begin, may_elect};
use super::history::{IN_TOTAL, Kind};
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
        let known = self.clusters.get_mut(&name);
        let state = known.ok_or_else(|| Rejection::Unknown(format!("cluster {name}")))?;
        match change {
            Change::Create(_) => Err(Rejection::WrongPhase),
            Change::Begin { seen, cause } => {
                may_begin(directives.holds_failover(state.cluster.of_failover()))?;
                state.begin(seen, &cause, at)
            }
            Change::Record { order, evidence } => {
                may_elect(&directives, &evidence)?;
                let is_failover = state.fails_over(&evidence);
                let recorded = state.record(order, &evidence, at);
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
        }
    }
}

impl ClusterState {
    fn begin(&mut self, seen: Epoch, cause: &str, at: u64) -> Reply {
        if self.handover.is_some() || seen != self.cluster.epoch {
            return Err(Rejection::Stale);
        }
        self.history.end_rejoins(at, "a handover began");
        let from = self
            .cluster
            .primary
            .take()
            .or_else(|| self.cluster.last_holder().cloned());
        self.cluster.epoch = seen.next();
        self.cluster.timeline = self.cluster.timeline.next();
        self.cluster.first_commit = None;
        self.number = 1;
        self.rejoins.clear();
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
        matches!(evidence, Evidence::Promoted { .. }) && !is_first
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
            // Nobody may be promoted or hold a lease under this epoch any more.
            Handover::Fencing { .. } | Handover::Promoting { .. } | Handover::Done => {
                self.cluster.primary = None;
            }
        }
        if let Some(record) = self.history.handover() {
            record.end(at, "gave_up", why);
        }
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

    fn record(&mut self, order: Order, evidence: &Evidence, at: u64) -> Reply {
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
        if let Some(instance) = evidence.of_rejoin()
            && self.rejoins.contains_key(instance)
        {
            return self.record_rejoin(order, instance, evidence, at);
        }
        self.record_handover(evidence, at)
    }

    fn record_handover(&mut self, evidence: &Evidence, at: u64) -> Reply {
        let handover = self.handover.clone().ok_or(Rejection::WrongPhase)?;
        if let Evidence::CannotPromote { instance, why } = evidence {
            return match &handover {
                Handover::Promoting { candidate, .. } if candidate == instance => {
                    let why = format!("{instance} cannot be promoted: {why}");
                    self.abandon(self.cluster.epoch, &why, at)
                }
                _ => Err(Rejection::WrongPhase),
            };
        }
        let proof = match &handover {
            Handover::Promoting { proof, .. } => Some(proof.clone()),
            Handover::Creating { .. }
            | Handover::Fencing { .. }
            | Handover::Repointing { .. }
            | Handover::Done => None,
        };
        let handover = match handover.record(&self.cluster, evidence) {
            Err(Rejection::Unproven(why)) if matches!(evidence, Evidence::Promoted { .. }) => {
                // The first primary has the only data there is, so there is none that it could outrank.
                if proof == Some(FenceProof::Created) {
                    return self.abandon(self.cluster.epoch, &why, at);
                }
                return self.distrust_candidate(why, at);
            }
            other => other?,
        };
        self.number += 1;
        let mut note = |event: &str, detail: String, to: Option<&InstanceId>| {
            if let Some(record) = self.history.handover() {
                record.note(at, event, &detail);
                record.to = to.cloned().or(record.to.take());
            }
        };
        match (&handover, evidence) {
            (
                _,
                Evidence::Initialised {
                    instance,
                    identity,
                    position,
                },
            ) => {
                note(
                    "initialised",
                    format!("system identifier {identity}, {position}"),
                    Some(instance),
                );
                self.cluster.identity = Some(*identity);
                // The first primary is promoted like every other.
                self.cluster.timeline = position.timeline.next();
                self.elect(instance.clone(), *position);
            }
            (
                _,
                Evidence::TakenOver {
                    instance,
                    identity,
                    position,
                    serves,
                },
            ) => {
                let how = if *serves { "runs" } else { "does not run" };
                note(
                    "taken_over",
                    format!("system identifier {identity}, {position}; it {how}"),
                    Some(instance),
                );
                self.cluster.identity = Some(*identity);
                // What it has written so far is the branch of the first epoch; all later ones come from here.
                self.cluster.timeline = match serves {
                    true => position.timeline,
                    false => position.timeline.next(),
                };
                self.elect(instance.clone(), *position);
            }
            (_, Evidence::Promised { instance, promise }) => {
                let at = promise
                    .position
                    .map_or("unknown".to_owned(), |p| p.to_string());
                note(
                    "fenced",
                    format!("{instance} promised, WAL ends at {at}"),
                    None,
                );
            }
            (Handover::Promoting { position, .. }, Evidence::Elected { candidate, proof }) => {
                note(
                    "elected",
                    format!("{candidate} at {position}, {}", in_words(proof)),
                    Some(candidate),
                );
                self.elect(candidate.clone(), *position);
            }
            (_, Evidence::Promoted { instance, lineage }) => {
                note(
                    "promoted",
                    format!("{instance} on timeline {}", lineage.current),
                    None,
                );
                self.cluster.lineage = lineage.clone();
            }
            (_, Evidence::Following { instance }) => note("repointed", instance.to_string(), None),
            (_, Evidence::CannotFollow { instance, why }) => {
                note("cannot_follow", format!("{instance}: {why}"), None);
            }
            (_, Evidence::LeftBehind { instance }) => {
                note("left_behind", instance.to_string(), None)
            }
            _ => {}
        }
        if handover == Handover::Done {
            if let Some(record) = self.history.handover() {
                record.end(at, "done", "a primary serves");
            }
            self.handover = None;
        } else {
            self.handover = Some(handover);
        }
        Ok(self.order())
    }

    /// The candidate was promoted from other data than elected it. By its timeline it would outrank those who hold
    /// that data, so it counts for nothing until it is replaced, and another is elected. Also if nobody can be
    /// elected then: a cluster that waits for a human still has every acknowledged commit.
    fn distrust_candidate(&mut self, mut why: String, at: u64) -> Reply {
        let candidate = self.cluster.primary.as_ref();
        if let Some(member) = candidate.and_then(|id| self.cluster.members.get_mut(id)) {
            member.standing = Standing::Recovering;
        }
        let members = self.cluster.members.values();
        let counts = |member: &&Member| member.standing == Standing::Voter;
        let left = members.filter(counts).count();
        let needed = match self.cluster.durability {
            Durability::Async => 1,
            Durability::Quorum { .. } => promises_needed(&self.cluster),
        };
        if left < needed {
            why += &format!(
                "; its promise counts no more, and nobody can be elected from {left} of {needed} voters needed"
            );
        }
        self.abandon(self.cluster.epoch, &why, at)
    }

    /// From here on `instance` is the only one that may ever be primary in this epoch. The proof that elected
    /// it says that no older lease is held, or that none matters: so no longer one is either.
    fn elect(&mut self, instance: InstanceId, position: WalPosition) {
        self.cluster.planned_stop = None;
        self.cluster.holders = BTreeSet::from([instance.clone()]);
        self.cluster.lineage = Lineage::before_promotion(position);
        self.cluster.primary = Some(instance);
        self.elected = self.order();
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
        let rejoin = active.rejoin.record(&self.cluster, evidence)?;
        self.number += 1;
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

fn in_words(proof: &FenceProof) -> String {
    match proof {
        FenceProof::Quorum { counted } => {
            let names: Vec<_> = counted.iter().map(InstanceId::as_str).collect();
            format!(
                "nothing acknowledged is lost, proven by {}",
                names.join(" and ")
            )
        }
        FenceProof::OldPrimaryPromised => "the old primary promised to stop".to_owned(),
        FenceProof::LeaseLapsed => {
            "every lease has ended; what was not replicated is lost".to_owned()
        }
        FenceProof::Created => "the first primary".to_owned(),
    }
}
