//! While nothing changes the primary: whom a change left behind, who was asked to be quiet for nothing, who came, and
//! whose flush commits wait for.

use std::time::Duration;

use crate::broken;
use crate::model::sql_only::Outcome;
use crate::model::{InstanceFacts, InstanceId, Opinion, Role, SqlMember, SqlView, SyncRule};
use crate::recovery::sql_only::next::failed;
use crate::recovery::sql_only::{SqlAction, SqlStep};
use crate::state::{Observed, SqlChange, SqlState};

use super::analyze;
use super::copies::copies;
use super::standby::standby;
use super::walks::Stranger;
use super::{SqlFinding, SqlPlan, rule_of};

/// From one that failed to the next attempt to prove what commits wait for.
const PROVE_AGAIN_AFTER: Duration = Duration::from_secs(30);

pub(super) fn keep(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let cluster = &state.cluster;
    names(plan, state, view);
    copies(plan, state, view);
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
                    why: Some(why_away(view, id).to_owned()),
                });
            }
            None => refusal(plan, view, id),
        }
    }
    weaken(plan, state, view);
    if let Some(facts) = view.fresh(primary).filter(|it| it.role == Role::Primary) {
        analyze::primary(plan, state, view, (primary, facts));
        analyze::behind(plan, state, view, facts);
    }
    unused_slots(plan, state, view);
}

/// Why one at whose place nobody answers does not receive.
fn why_away(view: &SqlView, id: &InstanceId) -> &'static str {
    let seen = view.instances.get(id).and_then(|it| it.facts.as_ref());
    match seen.is_some_and(|(_, facts)| facts.role == Role::Primary) {
        false => "nobody answers there",
        true => {
            "nobody answers there, and when it was seen last it ran as a primary: copy it anew from the primary before it is \
             started, as a standby"
        }
    }
}

/// Slots that keep WAL for nobody, which fills a disk in the end. Who is away may come back for its own.
fn unused_slots(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let cluster = &state.cluster;
    let is_settled = |id: &InstanceId| {
        let is_primary = cluster.primary.as_ref() == Some(id);
        view.fresh(id)
            .is_some_and(|it| is_primary || it.status.io_thread_running)
    };
    if !cluster.members.keys().all(is_settled) {
        return;
    }
    for (id, member) in &cluster.members {
        let Some(facts) = view.fresh(id) else {
            continue;
        };
        let is_of_somebody = |slot: &String| {
            let sources = cluster
                .members
                .keys()
                .filter_map(|it| view.fresh(it)?.source.as_ref());
            let mut here = sources.filter(|it| it.address == member.address);
            here.any(|it| it.slot.as_ref() == Some(slot))
        };
        let slots = facts.unused_slots.iter().filter(|it| !is_of_somebody(it));
        let slots: Vec<String> = slots.cloned().collect();
        if !slots.is_empty() {
            plan.findings.push(SqlFinding::UnusedSlots {
                instance: id.clone(),
                slots,
            });
        }
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
        let unknown = facts.replicas.iter();
        let unknown = unknown.filter(|it| !known(&it.application_name));
        let places: Vec<_> = unknown.map(|it| (&it.application_name, &it.host)).collect();
        plan.strangers.extend(places.iter().map(|place| Stranger {
            application_name: place.0.clone(),
            host: place.1.clone(),
            count: places.iter().filter(|it| *it == place).count(),
        }));
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

pub(super) fn act(
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

/// Records whose flush commits wait for: what is weaker at once, what is stronger once it is proven.
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
    let weaker = recorded.or(&seen);
    let rule = match (weaker == *recorded, seen == *recorded) {
        (true, true) => return,
        (true, false) if claims_nothing(&seen) || broken!(SqlBarrier) => seen,
        (true, false) => return prove(plan, state, view, (primary, facts), seen),
        (false, _) => weaker,
    };
    plan.proposals.push(SqlChange::Observe {
        order: state.order(),
        observed: Observed::Rule { rule },
    });
}

fn claims_nothing(rule: &SyncRule) -> bool {
    match rule {
        SyncRule::Async => true,
        SyncRule::Any { .. } | SyncRule::Unclear { .. } => false,
    }
}

/// What is stronger than the record is proven first, where enough standbys are there for a commit to return.
fn prove(
    plan: &mut SqlPlan,
    state: &SqlState,
    view: &SqlView,
    (primary, facts): (&InstanceId, &InstanceFacts),
    rule: SyncRule,
) {
    let streaming = facts.replicas.iter().filter(|it| it.state == "streaming");
    let names = streaming.map(|it| it.application_name.as_str());
    let policy = facts.sync.policy.clone();
    let Some((policy, (needed, there))) =
        policy.and_then(|policy| Some((policy.clone(), policy.needs_of(names)?)))
    else {
        return;
    };
    let seen = view.instances.get(primary);
    let failed = seen.and_then(|it| it.failure.as_ref());
    // Each try is a commit.
    let is_late = failed.is_none_or(|it| view.now.since(it.at) >= PROVE_AGAIN_AFTER);
    if there >= needed && state.handover.is_none() && is_late {
        act(
            plan,
            state,
            view,
            primary,
            SqlAction::Prove { rule, policy },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::model::example::{self, id};
    use crate::model::sql_only::Look;

    #[test]
    fn one_that_ran_as_a_primary_is_not_to_be_started_again_as_it_is() {
        let why = |role: Option<Role>| {
            let mut view = SqlView::default();
            let seen = view.instances.entry(id("a")).or_default();
            let mut facts = example::facts("a");
            facts.role = role.unwrap_or(Role::Standby);
            let looks = [
                role.map(|_| Outcome::Facts(facts.into())),
                Some(Outcome::Gone(String::new())),
            ];
            for outcome in looks.into_iter().flatten() {
                let at = Timestamp(0);
                seen.note(Look { at, outcome });
            }
            why_away(&view, &id("a"))
        };
        assert!(why(Some(Role::Primary)).contains("copy it anew"));
        assert_eq!(why(Some(Role::Standby)), "nobody answers there");
        assert_eq!(why(None), "nobody answers there");
    }
}
