//! What is told of a cluster that serves and calls for no step: commits that may be lost, a disk that stands still, standbys
//! far behind or on another branch, and what would keep a failover from succeeding.

use crate::decision::analyze::standby_behind::{LAG_LIMIT, LAG_LIMIT_BYTES};
use crate::model::sql_only::end_of;
use crate::model::{
    FenceDemand, Held, InstanceFacts, InstanceId, Lineage, Position, ReplicaFacts, Role, SqlView,
    SyncPolicy, SyncRule, WalPosition,
};
use crate::recovery::sql_only::{proof, reach};
use crate::state::SqlState;

use super::{SqlFinding, SqlPlan, SqlReason};

/// What a primary that serves lets expect of its commits.
pub(super) fn primary(
    plan: &mut SqlPlan,
    state: &SqlState,
    view: &SqlView,
    (primary, facts): (&InstanceId, &InstanceFacts),
) {
    let instance = || primary.clone();
    if let Some(stall) = view.stalled.get(primary) {
        plan.findings.push(SqlFinding::StalledPrimary {
            instance: instance(),
            stall: stall.clone(),
        });
    }
    if facts.read_only_default && state.quieted.is_none() {
        plan.findings.push(SqlFinding::PrimaryReadOnly {
            instance: instance(),
        });
    }
    let streams = |it: &&ReplicaFacts| it.state == "streaming";
    let names = facts.replicas.iter().filter(streams);
    let names = names.map(|it| it.application_name.as_str());
    let needs = facts.sync.policy.as_ref().and_then(|it| it.needs_of(names));
    if let Some((needed, streaming)) = needs
        && streaming < needed
    {
        plan.findings.push(SqlFinding::PrimaryBlockedOnSync {
            instance: instance(),
            needed,
            streaming,
        });
    }
    let promises = facts.sync.policy != Some(SyncPolicy::Async);
    if promises && !facts.sync.weak.is_empty() {
        plan.findings.push(SqlFinding::WeakCommits {
            instance: instance(),
            settings: facts.sync.weak.clone(),
        });
    }
}

/// Standbys that receive, and are far behind the end of the primary's log.
pub(super) fn behind(
    plan: &mut SqlPlan,
    state: &SqlState,
    view: &SqlView,
    primary: &InstanceFacts,
) {
    let Some(end) = end_of(primary) else {
        return;
    };
    for id in state.cluster.members.keys() {
        let Some(facts) = view.fresh(id) else {
            continue;
        };
        let Some(received) = end_of(facts).filter(|at| at.timeline == end.timeline) else {
            continue;
        };
        if facts.role == Role::Primary || !facts.status.io_thread_running {
            continue;
        }
        let applied = match &facts.status.applied {
            Some(Position::Wal(at)) => at.lsn,
            _ => received.lsn,
        };
        // Looks of different moments may show a standby ahead: that is no lag.
        let not_received = end.lsn.0.saturating_sub(received.lsn.0);
        let not_applied = received.lsn.0.saturating_sub(applied.0);
        let lag = u64::try_from(facts.status.lag).ok();
        let is_late = lag.is_some_and(|lag| lag >= LAG_LIMIT.as_secs());
        if is_late || not_received + not_applied >= LAG_LIMIT_BYTES {
            plan.findings.push(SqlFinding::StandbyBehindBeyondLimit {
                instance: id.clone(),
                not_received,
                not_applied,
                lag,
            });
        }
    }
}

/// Whether WAL that ends there is certainly none of this history. On an older branch of which nobody knows where it was left
/// that cannot be said.
pub(super) fn is_beside(lineage: &Lineage, end: WalPosition) -> bool {
    let is_known = end.timeline > lineage.current || lineage.left_at.contains_key(&end.timeline);
    is_known && !lineage.contains(end)
}

/// What keeps a failover from succeeding as long as it lasts.
pub(super) fn unprepared(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let cluster = &state.cluster;
    if cluster.fence == FenceDemand::Required {
        // Somebody wants it so, and the status says it.
        return;
    }
    let is_unclear = matches!(cluster.rule, SyncRule::Unclear { .. });
    let never = hindrance(&cluster.rule, cluster.members.len());
    // Who is away now is one fewer to revoke if the primary died.
    let now = || {
        let primary = cluster
            .primary
            .as_ref()
            .filter(|_| state.handover.is_none());
        let serves = |it: &InstanceFacts| it.role == Role::Primary;
        let primary = primary.filter(|it| view.fresh(it).is_some_and(serves))?;
        let reason = reach::why_unprovable(cluster, (None, Some(primary)), view)?;
        Some(reason.to_string())
    };
    if let Some(why) = never.or_else(now).filter(|_| !is_unclear) {
        plan.findings.push(SqlFinding::FailoverImpossible { why });
    }
    for (id, lacks) in &view.lacks {
        // What one that cannot be asked now lacked before, nobody can mend there.
        if cluster.members.contains_key(id) && view.fresh(id).is_some() {
            plan.findings.push(SqlFinding::Unprepared {
                instance: id.clone(),
                lacks: lacks.clone(),
            });
        }
    }
}

/// Why no failover of a cluster with so many instances could ever be proven; none if one could.
pub(super) fn hindrance(rule: &SyncRule, instances: usize) -> Option<String> {
    let known = rule.voters().len();
    match (rule, proof::needed(rule)) {
        _ if instances < 2 => Some("there is no standby".to_owned()),
        (SyncRule::Unclear { why }, _) => Some(why.clone()),
        (SyncRule::Any { .. }, Some(needed)) if needed > known => Some(format!(
            "it would take {needed} standbys of synchronous_standby_names that are known, and there are {known}"
        )),
        (SyncRule::Any { .. } | SyncRule::Async, _) => None,
    }
}

/// What operators said that keeps it from beginning anything.
pub(super) fn held(plan: &mut SqlPlan, view: &SqlView) {
    let epochs = plan.waiting.iter().filter_map(|reason| match reason {
        SqlReason::Held(Held::Blocked { epoch }) => Some(*epoch),
        _ => None,
    });
    if let Some(epoch) = epochs.max() {
        plan.findings.push(SqlFinding::FailoverBlocked { epoch });
    }
    if let Some(paused) = &view.directives.paused {
        plan.findings.push(SqlFinding::Paused {
            everywhere: paused.everywhere,
            owner: paused.hold.owner.clone(),
            reason: paused.hold.reason.clone(),
        });
    }
}

/// What it waits for that does not end by itself, as problems of their own.
pub(super) fn blocked(plan: &mut SqlPlan) {
    let lasts = |reason: &&SqlReason| match reason {
        SqlReason::Vetoed { .. }
        | SqlReason::NotProven { .. }
        | SqlReason::RuleUnclear { .. }
        | SqlReason::AgentsRequired
        | SqlReason::Failed { .. }
        | SqlReason::Undecided { .. }
        | SqlReason::NobodyReachable => true,
        // Of these there is a finding already, or it is said with the finding that would lead on.
        SqlReason::NotDead { .. }
        | SqlReason::Held(_)
        | SqlReason::Asking
        | SqlReason::Lives { .. }
        | SqlReason::MultiplePrimaries { .. } => false,
    };
    let why: Vec<_> = plan.waiting.iter().filter(lasts).collect();
    if !why.is_empty() {
        let why: Vec<_> = why.iter().map(ToString::to_string).collect();
        plan.findings.push(SqlFinding::RecoveryBlocked {
            why: why.join("; "),
        });
    }
}

#[cfg(test)]
mod tests;
