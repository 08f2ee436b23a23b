//! Whether a switchover can be done now, and what is done for the one that was asked for.
//!
//! It adds one thing to a failover: the primary is shut down first, in order, under its own lease. From then on it is an
//! ordinary handover with the same proof, in which the named candidate is preferred if it holds everything, and else the
//! primary that there was. So whatever fails on the way, somebody is elected, and nobody who holds less than is safe.

use crate::model::switchover::{NEAR, NEAR_BYTES, Progress};
use crate::model::{
    Database, Durability, InstanceId, Obstacle, Order, PromotionRule, Report, Standing, Switchover,
    View, WalPosition,
};
use crate::recovery::proof::promises_needed;
use crate::recovery::{Action, Reason, Step};
use crate::state::{Change, ClusterState};

use super::{Plan, configure};

/// Why a switchover to `to` cannot be done now; none if nothing stands in its way.
pub fn obstacle(state: &ClusterState, view: &View, to: &InstanceId) -> Option<Obstacle> {
    common(state, view).or_else(|| of_candidate(state, view, to))
}

/// Whom to switch over to if nobody is named: of those to whom it can be done now the one that operators prefer, then the
/// one that has the most; if there is time to `wait`, else of those to whom it may be done later. Or why it cannot be done.
pub fn choose(state: &ClusterState, view: &View, wait: bool) -> Result<InstanceId, Obstacle> {
    let may_wait = |it: &Obstacle| wait && it.may_pass();
    if let Some(obstacle) = common(state, view).filter(|it| !may_wait(it)) {
        return Err(obstacle);
    }
    let rank = |id: &InstanceId| {
        let obstacle = of_candidate(state, view, id);
        let is_able = obstacle.is_none();
        if !is_able && !obstacle.is_some_and(|it| may_wait(&it)) {
            return None;
        }
        let at = view.fresh(id).and_then(position);
        let rule = std::cmp::Reverse(view.directives.rule(id));
        Some((is_able, rule, at, std::cmp::Reverse(id.clone())))
    };
    let best = state.cluster.members.keys().filter_map(rank).max();
    best.map(|(.., id)| id.0).ok_or(Obstacle::Nobody)
}

/// What stands in the way whoever shall be the primary.
fn common(state: &ClusterState, view: &View) -> Option<Obstacle> {
    let cluster = &state.cluster;
    let Some(primary) = cluster
        .primary
        .as_ref()
        .filter(|_| state.handover.is_none())
    else {
        return Some(Obstacle::Changing);
    };
    if let Some(instance) = state.rejoins.keys().next() {
        return Some(Obstacle::Rejoins(instance.clone()));
    }
    if let Some(held) = view.directives.holds(Some(primary)) {
        return Some(Obstacle::Held(held));
    }
    let Some(report) = view.fresh(primary) else {
        return Some(Obstacle::Silent(primary.clone()));
    };
    if !matches!(report.database, Database::Primary { .. }) {
        return Some(Obstacle::NotServing(primary.clone()));
    }
    let counts = |(id, member): &(&InstanceId, &crate::model::Member)| {
        let incarnation = view.fresh(id).and_then(|report| report.incarnation);
        member.standing == Standing::Voter && incarnation == Some(member.incarnation)
    };
    let heard = cluster.members.iter().filter(counts).count();
    let needed = match cluster.durability {
        Durability::Async => 2,
        Durability::Quorum { .. } => promises_needed(cluster).max(2),
    };
    (heard < needed).then_some(Obstacle::TooFew { heard, needed })
}

/// What stands in the way of this candidate.
fn of_candidate(state: &ClusterState, view: &View, to: &InstanceId) -> Option<Obstacle> {
    let cluster = &state.cluster;
    let Some(member) = cluster.members.get(to) else {
        return Some(Obstacle::NoMember(to.clone()));
    };
    if cluster.primary.as_ref() == Some(to) {
        return Some(Obstacle::IsPrimary(to.clone()));
    }
    if member.standing != Standing::Voter {
        return Some(Obstacle::Recovering(to.clone()));
    }
    if view.directives.rule(to) == PromotionRule::MustNot {
        return Some(Obstacle::MustNot(to.clone()));
    }
    if let Some(held) = view.directives.holds(Some(to)) {
        return Some(Obstacle::Held(held));
    }
    let Some(report) = view.fresh(to) else {
        return Some(Obstacle::Silent(to.clone()));
    };
    if !view.streams(cluster, to) {
        return Some(Obstacle::NotStreaming(to.clone()));
    }
    if view.disk_fails(to) {
        return Some(Obstacle::Disk(to.clone()));
    }
    if let Some(lag) = report.lag.filter(|lag| *lag > NEAR) {
        let instance = to.clone();
        return Some(Obstacle::Late { instance, lag });
    }
    let bytes = behind(state, view, report)?;
    (bytes > NEAR_BYTES).then(|| Obstacle::Behind {
        instance: to.clone(),
        bytes,
    })
}

/// How much of the primary's WAL a standby lacks, in bytes: of what is flushed, or of what is applied.
fn behind(state: &ClusterState, view: &View, of: &Report) -> Option<u64> {
    let Database::Standby {
        flushed, replayed, ..
    } = &of.database
    else {
        return None;
    };
    let end = position(view.fresh(state.cluster.primary.as_ref()?)?)?;
    let least = flushed.lsn.0.min(replayed.0);
    Some(end.lsn.0.saturating_sub(least))
}

/// Where its WAL ends by this report; none if the report does not say.
pub(super) fn position(report: &Report) -> Option<WalPosition> {
    match &report.database {
        Database::Primary { position, .. } => Some(*position),
        Database::Standby { flushed, .. } => Some(*flushed),
        Database::Absent
        | Database::Stopped(_)
        | Database::Starting
        | Database::Unresponsive { .. } => None,
    }
}

/// What is done next for the switchover that is recorded; nothing during a handover.
pub(super) fn proceed(plan: &mut Plan, state: &ClusterState, view: &View) {
    let cluster = &state.cluster;
    let Some(asked) = cluster.switchover.as_ref() else {
        return;
    };
    if state.handover.is_some() {
        return;
    }
    let epoch = cluster.epoch;
    let give_up = |why: String| Change::GiveUpSwitchover { epoch, why };
    match &asked.progress {
        Progress::Waiting => match obstacle(state, view, &asked.to) {
            None if !view.switchover_is_late => {
                plan.proposals.push(Change::BeginShutDown { epoch });
            }
            None => plan.proposals.push(give_up("its time is over".to_owned())),
            Some(why) if view.switchover_is_late => {
                plan.proposals.push(give_up(why.to_string()));
            }
            Some(why) => plan.waiting.push((None, Reason::Obstacle(why))),
        },
        Progress::ShuttingDown => shut_down(plan, state, view, asked),
        Progress::CalledOff { order, .. } => recall(plan, state, view, &asked.from, *order),
        Progress::Down { .. } => {}
    }
}

/// Has the primary shut down, or gives that up while it serves.
fn shut_down(plan: &mut Plan, state: &ClusterState, view: &View, asked: &Switchover) {
    let from = &asked.from;
    let wait = |why: Obstacle| (None, Reason::Obstacle(why));
    let Some(seen) = view.instances.get(from) else {
        plan.waiting.push(wait(Obstacle::Silent(from.clone())));
        return;
    };
    let epoch = state.cluster.epoch;
    let give_up = |why: String| Change::GiveUpSwitchover { epoch, why };
    let serves = matches!(seen.report.database, Database::Primary { .. });
    // An agent that failed works on it no more: what it said later of a primary that serves stays so.
    match view.failure(from, state.order()) {
        Some(failure) if serves && seen.received_at > failure.at => {
            let why = format!("{from} could not be shut down: {}", failure.reason);
            plan.proposals.push(give_up(why));
            return;
        }
        Some(_) if serves => return,
        Some(_) | None => {}
    }
    if view.fresh(from).is_none() {
        plan.waiting.push(wait(Obstacle::Silent(from.clone())));
        return;
    }
    // While nothing shows that it was told, perhaps by a leader that is gone, what stands in the way still counts.
    let is_told = !serves || seen.report.promised.is_some_and(|it| it >= state.order());
    match obstacle(state, view, &asked.to).filter(|_| !is_told) {
        // A leader that begins has not heard everybody yet.
        Some(why @ (Obstacle::Silent(_) | Obstacle::TooFew { .. })) if !view.switchover_is_late => {
            plan.waiting.push(wait(why));
        }
        Some(why) => plan.proposals.push(give_up(why.to_string())),
        None => plan.steps.push(Step {
            instance: from.clone(),
            order: state.order(),
            action: Action::ShutDown,
        }),
    }
}

/// Has the agent of a primary that may have been told to shut down admit a newer order, and then ends the switchover. One
/// that went down by then is replaced.
fn recall(plan: &mut Plan, state: &ClusterState, view: &View, from: &InstanceId, order: Order) {
    let wait = |why: Obstacle| (None, Reason::Obstacle(why));
    let Some(report) = view.fresh(from) else {
        plan.waiting.push(wait(Obstacle::Silent(from.clone())));
        return;
    };
    let serves = matches!(report.database, Database::Primary { .. });
    match report.promised {
        Some(admitted) if admitted >= order && serves => {
            plan.proposals
                .push(Change::EndSwitchover { order: admitted });
        }
        Some(admitted) if admitted >= order => {
            plan.waiting.push(wait(Obstacle::NotServing(from.clone())));
        }
        // It changes nothing, but for the order.
        Some(_) | None => plan.steps.push(configure(state, from)),
    }
}

#[cfg(test)]
mod tests;
