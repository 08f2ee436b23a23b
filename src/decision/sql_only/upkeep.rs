//! While nothing changes the primary: whom a change left behind, who was asked to be quiet for nothing, who came, and
//! whose flush commits wait for.

use std::time::Duration;

use crate::model::sql_only::{Outcome, end_of};
use crate::model::{
    InstanceFacts, InstanceId, Opinion, ReplicaFacts, Role, SqlMember, SqlView, SyncRule,
};
use crate::recovery::sql_only::next::failed;
use crate::recovery::sql_only::{SqlAction, SqlStep};
use crate::state::{Observed, SqlChange, SqlState};

use super::{SqlFinding, SqlPlan, rule_of};

/// A rule that is stronger than the recorded one is recorded once it was seen for so long: each process of the primary
/// reads it for itself, and one that is busy does so late.
pub const RULE_STEADY_FOR: Duration = Duration::from_secs(3);

pub(super) fn keep(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let cluster = &state.cluster;
    names(plan, state, view);
    unquiet(plan, state, view);
    let Some(primary) = &cluster.primary else {
        return;
    };
    for id in cluster.members.keys().filter(|id| *id != primary) {
        match view.fresh(id) {
            Some(facts) => standby(plan, state, view, (id, facts)),
            None if view.opinion(id) == Opinion::Gone => {
                plan.findings.push(SqlFinding::StandbyNotReplicating {
                    instance: id.clone(),
                    why: Some("nobody answers there".to_owned()),
                });
            }
            None => refusal(plan, view, id),
        }
    }
    weaken(plan, state, view);
    if let Some(facts) = view.fresh(primary).filter(|it| it.role == Role::Primary) {
        primary_findings(plan, state, primary, facts);
    }
}

/// Whether a server that lives lets this peer look at it.
pub(super) fn refusal(plan: &mut SqlPlan, view: &SqlView, id: &InstanceId) {
    let look = view.instances.get(id).and_then(|seen| seen.last.as_ref());
    if let Some(Outcome::Refused(why)) = look.map(|look| &look.outcome)
        && view.opinion(id) == Opinion::Lives
    {
        plan.findings.push(SqlFinding::Refuses {
            instance: id.clone(),
            why: why.clone(),
        });
    }
}

/// What keeps a primary that serves from committing.
fn primary_findings(
    plan: &mut SqlPlan,
    state: &SqlState,
    primary: &InstanceId,
    facts: &InstanceFacts,
) {
    if facts.read_only_default && state.quieted.is_none() {
        plan.findings.push(SqlFinding::PrimaryReadOnly {
            instance: primary.clone(),
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
            instance: primary.clone(),
            needed,
            streaming,
        });
    }
}

/// Also while the primary changes: a weaker rule counts from its first commit on.
pub(super) fn weaken(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let Some(primary) = &state.cluster.primary else {
        return;
    };
    let serving = view.fresh(primary).filter(|it| it.role == Role::Primary);
    if let Some(facts) = serving {
        commits(plan, state, view, (primary, facts));
    }
}

/// Whether somebody receives whom nobody knows, and under which names the known ones do.
fn names(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let members = &state.cluster.members;
    for (id, member) in members {
        let Some(facts) = view.fresh(id) else {
            continue;
        };
        let known = |name: &str| {
            let mut all = members.values();
            all.any(|it| it.application_name.as_deref() == Some(name))
        };
        plan.walk |= facts.replicas.iter().any(|it| !known(&it.application_name));
        let streams_as = facts
            .source
            .as_ref()
            .filter(|_| facts.status.io_thread_running)
            .map(|it| it.application_name.clone());
        if streams_as.is_some() && streams_as != member.application_name {
            plan.proposals.push(SqlChange::Observe {
                order: state.order(),
                observed: Observed::Member {
                    instance: id.clone(),
                    member: SqlMember {
                        application_name: streams_as,
                        ..member.clone()
                    },
                },
            });
        }
    }
}

/// What was asked to be quiet for a change that came to nothing. That it is quiet may show late, so it is let go on without
/// a look.
fn unquiet(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    if let Some(instance) = &state.quieted
        && view.fresh(instance).is_some()
    {
        act(plan, state, view, instance, SqlAction::Unquiet);
    }
}

fn act(
    plan: &mut SqlPlan,
    state: &SqlState,
    view: &SqlView,
    instance: &InstanceId,
    action: SqlAction,
) {
    match failed(instance, state.order(), view) {
        Some(reason) => plan.waiting.push(reason),
        None => plan.steps.push(SqlStep {
            instance: instance.clone(),
            order: state.order(),
            action,
        }),
    }
}

fn standby(
    plan: &mut SqlPlan,
    state: &SqlState,
    view: &SqlView,
    (id, facts): (&InstanceId, &InstanceFacts),
) {
    let cluster = &state.cluster;
    if facts.role == Role::Primary {
        // Any other one that is on a younger branch was promoted by somebody else.
        if facts.timeline < Some(cluster.lineage.current) || cluster.told.contains_key(id) {
            plan.findings.push(SqlFinding::DeposedPrimary {
                instance: id.clone(),
                is_quiet: facts.read_only_default,
            });
            if !facts.read_only_default {
                act(plan, state, view, id, SqlAction::Fence);
            }
        }
        return;
    }
    if facts.status.io_thread_running {
        let source = facts.source.as_ref();
        let source = source.and_then(|source| cluster.at(&source.address));
        let is_noted = cluster.told.contains_key(id) || cluster.strays.contains(id);
        if is_noted && source == cluster.primary.as_ref() {
            let instance = id.clone();
            plan.proposals.push(SqlChange::Observe {
                order: state.order(),
                observed: Observed::Standby { instance },
            });
        }
        return;
    }
    let serves = |it: &InstanceFacts| it.role == Role::Primary;
    let primary = cluster.primary.as_ref();
    let primary = primary.filter(|id| view.fresh(id).is_some_and(serves));
    let to = primary.and_then(|id| cluster.members.get(id));
    let mut why = None;
    if let (Some(to), true) = (to, is_left_behind(state, view, facts)) {
        match end_of(facts) {
            Some(end)
                if end.timeline == cluster.lineage.current && facts.role == Role::Detached =>
            {
                act(plan, state, view, id, SqlAction::Restore);
            }
            Some(end) if cluster.lineage.contains(end) => {
                let to = to.address.clone();
                act(plan, state, view, id, SqlAction::Repoint { to });
            }
            Some(end) => {
                why = Some(format!(
                    "it is at {end}, beside the history of the primary; rebuild it from there"
                ));
            }
            None => why = Some("where its WAL ends cannot be known over SQL".to_owned()),
        }
    }
    plan.findings.push(SqlFinding::StandbyNotReplicating {
        instance: id.clone(),
        why,
    });
}

/// Whether a change of primary left it without a source: it was revoked, or it follows one that is gone or deposed.
fn is_left_behind(state: &SqlState, view: &SqlView, facts: &InstanceFacts) -> bool {
    if facts.role == Role::Detached {
        return true;
    }
    let source = facts.source.as_ref();
    let Some(source) = source.and_then(|source| state.cluster.at(&source.address)) else {
        return false;
    };
    let is_primary = |it: &InstanceFacts| it.role == Role::Primary;
    let is_over =
        view.opinion(source) == Opinion::Gone || view.fresh(source).is_some_and(is_primary);
    state.cluster.primary.as_ref() != Some(source) && is_over
}

/// Records whose flush commits wait for: what is weaker at once, what is stronger once it is certain.
fn commits(
    plan: &mut SqlPlan,
    state: &SqlState,
    view: &SqlView,
    (primary, facts): (&InstanceId, &InstanceFacts),
) {
    let recorded = &state.cluster.rule;
    let seen = rule_of(&state.cluster.members, primary, facts);
    if let SyncRule::Unclear { why } = &seen {
        plan.findings
            .push(SqlFinding::RuleUnclear { why: why.clone() });
    }
    let is_steady = view
        .rule_since
        .is_some_and(|since| view.now.since(since) >= RULE_STEADY_FOR);
    let weaker = recorded.or(&seen);
    let rule = match (weaker == *recorded, seen == *recorded) {
        (true, true) => return,
        (true, false) if is_steady && state.handover.is_none() => seen,
        (true, false) => return,
        (false, _) => weaker,
    };
    plan.proposals.push(SqlChange::Observe {
        order: state.order(),
        observed: Observed::Rule { rule },
    });
}
