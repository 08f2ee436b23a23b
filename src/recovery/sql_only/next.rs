//! What a change of primary over SQL wants now, from what is recorded and what is seen.

use std::collections::{BTreeMap, BTreeSet};

use super::feeding::{follows, is_cascade};
use super::proof::{self, SqlProof};
use super::rule::sync_of;
use super::{SqlAction, SqlEvidence, SqlHandover, SqlPhase, SqlReason, SqlStep, reach, rule_of};
use crate::broken;
use crate::model::sql_only::end_of;
use crate::model::{
    Address, InstanceFacts, InstanceId, Lineage, Opinion, Order, Role, SqlCluster, SqlView,
    WalPosition,
};
use crate::recovery::RETRY_AFTER;

/// What a change of primary wants now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlNext {
    /// Carry these out.
    Run(Vec<SqlStep>),
    /// Record what is known.
    Record(SqlEvidence),
    /// Nothing can be done yet, and why.
    Wait(SqlReason),
    /// It cannot succeed any more, and why.
    GiveUp(SqlReason),
}

/// Whether a majority of peers finds nobody there.
pub fn is_dead(instance: &InstanceId, view: &SqlView) -> bool {
    match broken!(SqlMajority) {
        true => view.opinion(instance) == Opinion::Gone,
        false => view.is_dead(instance),
    }
}

impl SqlHandover {
    /// What to do now.
    pub fn next(&self, cluster: &SqlCluster, order: Order, view: &SqlView) -> SqlNext {
        match &self.phase {
            SqlPhase::Quieting { end } => self.quieting(cluster, *end, order, view),
            SqlPhase::Revoking { ends } => self.revoking(cluster, order, ends, view),
            SqlPhase::Promoting {
                candidate,
                position,
                proof,
                ..
            } => self.promoting(cluster, order, (candidate, *position, proof), view),
            SqlPhase::Repointing { pending } => repointing(cluster, order, pending, view),
            SqlPhase::Done => SqlNext::Wait(SqlReason::Asking),
        }
    }

    fn quieting(
        &self,
        cluster: &SqlCluster,
        end: Option<WalPosition>,
        order: Order,
        view: &SqlView,
    ) -> SqlNext {
        let (Some(from), Some(named)) = (&self.from, &self.named) else {
            return SqlNext::GiveUp(SqlReason::NobodyReachable);
        };
        // Before anybody is asked to refuse writes, and again before all others lose their source.
        let reason = reach::why_unprovable(cluster, self.whom(), view);
        if let Some(reason) = reason.filter(|_| !broken!(SqlReach)) {
            return SqlNext::GiveUp(reason);
        }
        let (instance, action) = match end {
            None => (from, SqlAction::Quiet),
            Some(to) => {
                let received = view.fresh(named).and_then(end_of);
                if received.is_some_and(|at| at.timeline == to.timeline && at.lsn >= to.lsn) {
                    let instance = named.clone();
                    return SqlNext::Record(SqlEvidence::CaughtUp { instance });
                }
                (named, SqlAction::Await { to })
            }
        };
        // Somebody waits for it with writes refused: one try, and then the old primary goes on.
        match failed(instance, order, view) {
            Some(reason) => SqlNext::GiveUp(reason),
            None => one(instance, order, action),
        }
    }

    /// An old primary that may be written to, although it seemed to be gone.
    fn living(
        &self,
        cluster: &SqlCluster,
        but: Option<&InstanceId>,
        view: &SqlView,
    ) -> Option<InstanceId> {
        if self.named.is_some() {
            // It is quiet, and known to live.
            return None;
        }
        let mut suspects = cluster.suspects.iter().filter(|id| Some(*id) != but);
        let lives = |id: &&InstanceId| {
            let in_recovery = view.fresh(id).is_some_and(|it| it.role.is_in_recovery());
            view.opinion(id) == Opinion::Lives && !in_recovery
        };
        suspects.find(lives).cloned()
    }

    /// One that may be or become a primary: it is neither dead nor, as one that was never told to promote, in recovery. One
    /// that was told is none of these only once it was revoked, because a promotion that has begun shows late.
    fn undecided(
        &self,
        cluster: &SqlCluster,
        but: Option<&InstanceId>,
        view: &SqlView,
    ) -> Option<InstanceId> {
        if broken!(SqlUndecided) {
            return None;
        }
        let is_from = |id: &InstanceId| self.from.as_ref() == Some(id);
        let in_recovery =
            |id: &InstanceId| view.fresh(id).is_some_and(|it| it.role.is_in_recovery());
        let is_settled = |id: &InstanceId| {
            let is_known = is_from(id) && (self.named.is_some() || in_recovery(id));
            is_known || is_dead(id, view)
        };
        let mut suspects = cluster.suspects.iter();
        suspects
            .find(|id| Some(*id) != but && !is_settled(id))
            .cloned()
    }

    fn revoking(
        &self,
        cluster: &SqlCluster,
        order: Order,
        ends: &BTreeMap<InstanceId, Option<WalPosition>>,
        view: &SqlView,
    ) -> SqlNext {
        if let Some(instance) = self.living(cluster, None, view) {
            return SqlNext::GiveUp(SqlReason::Lives { instance });
        }
        let still = |id: &InstanceId| match ends.get(id) {
            Some(Some(end)) => view.fresh(id).is_some_and(|it| proof::is_revoked(it, *end)),
            Some(None) | None => false,
        };
        let targets: Vec<_> = self
            .targets(cluster, view)
            .filter(|id| !still(id) && !broken!(SqlRevocation))
            .collect();
        let (failing, to_ask): (Vec<_>, Vec<_>) = targets
            .into_iter()
            .partition(|id| failed(id, order, view).is_some() || ends.get(*id) == Some(&None));
        if !to_ask.is_empty() {
            let revoke = |id: &InstanceId| step(id, order, SqlAction::Revoke);
            return SqlNext::Run(to_ask.into_iter().map(revoke).collect());
        }
        match proof::elect(cluster, self.whom(), ends, view) {
            Ok((candidate, proof)) => match self.undecided(cluster, Some(&candidate), view) {
                Some(instance) => SqlNext::Wait(SqlReason::Undecided { instance }),
                None => elected(cluster, candidate, proof, view),
            },
            // With the old primary quiet, nobody waits for others to come back.
            Err(reason) if self.named.is_some() => SqlNext::GiveUp(reason),
            Err(reason) => {
                let why = failing.first().and_then(|id| failed(id, order, view));
                SqlNext::Wait(why.unwrap_or(reason))
            }
        }
    }

    /// Who was asked for, and who was the primary.
    fn whom(&self) -> (Option<&InstanceId>, Option<&InstanceId>) {
        (self.named.as_ref(), self.from.as_ref())
    }

    /// Where the old primary answers, if it was asked to be quiet.
    fn beside(&self, cluster: &SqlCluster) -> Option<Address> {
        let from = self.from.as_ref().filter(|_| self.named.is_some())?;
        cluster.members.get(from).map(|it| it.address.clone())
    }

    /// Whoever may receive from the old primary or be counted by it, and can be reached.
    fn targets<'a>(
        &'a self,
        cluster: &'a SqlCluster,
        view: &'a SqlView,
    ) -> impl Iterator<Item = &'a InstanceId> {
        let voters = cluster.rule.voters();
        cluster.members.keys().filter(move |id| {
            let is_target = |facts: &InstanceFacts| {
                let counts = voters.contains(*id) || self.from.as_ref() == Some(*id);
                facts.role.is_in_recovery() && (counts || !is_cascade(cluster, facts))
            };
            view.fresh(id).is_some_and(is_target)
        })
    }

    fn promoting(
        &self,
        cluster: &SqlCluster,
        order: Order,
        (candidate, position, proof): (&InstanceId, WalPosition, &SqlProof),
        view: &SqlView,
    ) -> SqlNext {
        let Some(facts) = view.fresh(candidate) else {
            let is_over = is_dead(candidate, view) || broken!(SqlUndecided);
            let instance = candidate.clone();
            return match is_over {
                true => SqlNext::GiveUp(SqlReason::NobodyReachable),
                false => SqlNext::Wait(SqlReason::Undecided { instance }),
            };
        };
        if facts.role == Role::Primary {
            let Some(current) = facts.timeline else {
                return SqlNext::Wait(SqlReason::Asking);
            };
            let mut lineage = cluster.lineage.clone();
            lineage.left_at.insert(position.timeline, position.lsn);
            lineage.current = current;
            let instance = candidate.clone();
            return SqlNext::Record(SqlEvidence::Promoted { instance, lineage });
        }
        // From here on nothing was seen to have happened, and all that it rests on must be so still.
        if let Some(instance) = self.living(cluster, Some(candidate), view) {
            return SqlNext::GiveUp(SqlReason::Lives { instance });
        }
        if let Some(instance) = self.undecided(cluster, Some(candidate), view) {
            return SqlNext::Wait(SqlReason::Undecided { instance });
        }
        let voters = proof::electors(cluster, self.from.as_ref());
        let seen = |id: &&InstanceId| {
            let is_revoked = |it: &InstanceFacts| {
                proof::has_no_source(it) && it.status.receiver_silent_for_ms.is_none()
            };
            voters.contains(*id) && view.fresh(id).is_some_and(is_revoked)
        };
        let counted = proof.counted().iter().filter(seen).count();
        let needed = proof::needed(&cluster.rule).unwrap_or(usize::MAX);
        if counted < needed && !broken!(SqlRevocation) {
            return SqlNext::GiveUp(SqlReason::NotProven {
                counted,
                needed,
                missing: vec![],
            });
        }
        if let Some(reason) = failed(candidate, order, view) {
            return SqlNext::Wait(reason);
        }
        let action = SqlAction::Promote {
            at_least: position,
            sync: sync_of(cluster, candidate, facts, view),
            beside: self.beside(cluster),
        };
        one(candidate, order, action)
    }
}

fn elected(
    cluster: &SqlCluster,
    candidate: InstanceId,
    proof: SqlProof,
    view: &SqlView,
) -> SqlNext {
    let Some(facts) = view.fresh(&candidate) else {
        return SqlNext::Wait(SqlReason::Asking);
    };
    let mut as_primary = facts.clone();
    if let Some(policy) = sync_of(cluster, &candidate, facts, view) {
        as_primary.sync.policy = Some(policy);
    }
    let serves = rule_of(&cluster.members, &candidate, &as_primary);
    SqlNext::Record(SqlEvidence::Elected {
        candidate,
        proof,
        serves,
    })
}

fn step(instance: &InstanceId, order: Order, action: SqlAction) -> SqlStep {
    SqlStep {
        instance: instance.clone(),
        order,
        action,
    }
}

fn one(instance: &InstanceId, order: Order, action: SqlAction) -> SqlNext {
    SqlNext::Run(vec![step(instance, order, action)])
}

/// Why the last step of this order failed on it, for as long as it is not tried again.
pub fn failed(instance: &InstanceId, order: Order, view: &SqlView) -> Option<SqlReason> {
    let failure = view.instances.get(instance)?.failure.as_ref()?;
    let is_of_now = failure.order.epoch == order.epoch && view.now.since(failure.at) < RETRY_AFTER;
    is_of_now.then(|| SqlReason::Failed {
        instance: instance.clone(),
        why: failure.reason.clone(),
    })
}

fn repointing(
    cluster: &SqlCluster,
    order: Order,
    pending: &BTreeSet<InstanceId>,
    view: &SqlView,
) -> SqlNext {
    let Some((primary, member)) = cluster
        .primary
        .as_ref()
        .and_then(|id| Some((id, cluster.members.get(id)?)))
    else {
        return SqlNext::GiveUp(SqlReason::NobodyReachable);
    };
    if is_dead(primary, view) {
        return SqlNext::GiveUp(SqlReason::NobodyReachable);
    }
    for id in pending {
        if view
            .fresh(id)
            .is_some_and(|it| follows(cluster, view, it, primary))
        {
            let instance = id.clone();
            return SqlNext::Record(SqlEvidence::Following { instance });
        }
        let why = match (view.opinion(id), failed(id, order, view)) {
            (_, Some(reason)) => Some(reason.to_string()),
            (Opinion::Gone, None) => Some("nobody answers there".to_owned()),
            (Opinion::Lives | Opinion::Unsure, None) => None,
        };
        if let Some(why) = why {
            let instance = id.clone();
            return SqlNext::Record(SqlEvidence::LeftBehind { instance, why });
        }
    }
    let to = &member.address;
    let steps = pending.iter().map(|id| {
        let to = to.clone();
        step(id, order, SqlAction::Repoint { to })
    });
    SqlNext::Run(steps.collect())
}

/// What is known of the branches of a primary that was not seen to be promoted. `told` is the position of one that was told
/// to be.
pub fn lineage_of(
    before: &Lineage,
    told: Option<&WalPosition>,
    facts: &InstanceFacts,
) -> Option<Lineage> {
    let current = facts.timeline?;
    Some(match (current == before.current, told) {
        (true, _) => before.clone(),
        (false, Some(at)) if at.timeline == before.current => {
            let mut lineage = before.clone();
            lineage.left_at.insert(at.timeline, at.lsn);
            lineage.current = current;
            lineage
        }
        // Where it left the others is not to be seen.
        (false, _) => Lineage {
            current,
            left_at: BTreeMap::new(),
        },
    })
}
