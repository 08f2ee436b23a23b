//! What a leader does next about one cluster without agents, as a function of the record and one view.
//!
//! A failover begins only if a majority of peers finds nobody where the primary was, no standby that can be asked hears it,
//! and those who can be asked are enough for a proof. Any answer of a server is a sign of life.

pub mod adoption;
pub mod finding;
mod upkeep;

use std::collections::BTreeSet;
use std::time::Duration;

use super::analyze::counts::{Counts, PrimaryAnswer, Verdict};
use crate::broken;
use crate::model::sql_only::end_of;
use crate::model::{FenceDemand, InstanceFacts, InstanceId, Opinion, Role, SqlView, SyncRule};
use crate::recovery::sql_only::next::{is_cascade, is_dead, lineage_of};
use crate::recovery::sql_only::{SqlNext, SqlReason, SqlStep, proof};
use crate::state::{Observed, SqlChange, SqlState};

pub use crate::recovery::sql_only::rule_of;
pub use finding::SqlFinding;

/// Other peers are asked again about somebody who is gone after this, below the age at which their word expires.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(400);
/// So soon while too few of them agree: they may only not have noticed yet.
const ASK_SOON_AFTER: Duration = Duration::from_millis(50);

/// A promotion that was told to begin shows after this: the server passes it on at once, and looks for it every second.
const PROMOTION_SHOWS_WITHIN: Duration = Duration::from_secs(2);

/// What a leader does next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SqlPlan {
    /// To be proposed. One that is refused makes the leader look again.
    pub proposals: Vec<SqlChange>,
    /// To be carried out; one that is under way already is not begun again.
    pub steps: Vec<SqlStep>,
    /// Of whom the other peers are asked whether they find them gone.
    pub looks: BTreeSet<InstanceId>,
    /// Whom this peer should look at again at once.
    pub again: BTreeSet<InstanceId>,
    /// Whether somebody receives who is not known, so that it is worth a walk.
    pub walk: bool,
    /// What was found, most severe first.
    pub findings: Vec<SqlFinding>,
    /// Why nothing happens.
    pub waiting: Vec<SqlReason>,
}

/// What to do about one cluster, seen at `view.now`.
pub fn decide(state: &SqlState, view: &SqlView) -> SqlPlan {
    let mut plan = SqlPlan::default();
    if let Some(handover) = &state.handover {
        let order = state.order();
        match handover.next(&state.cluster, order, view) {
            SqlNext::Run(steps) => plan.steps.extend(steps),
            SqlNext::Record(evidence) => {
                plan.proposals.push(SqlChange::Record { order, evidence });
            }
            SqlNext::Wait(reason) => plan.waiting.push(reason),
            SqlNext::GiveUp(reason) => plan.proposals.push(SqlChange::Abandon {
                epoch: order.epoch,
                why: reason.to_string(),
            }),
        }
    }
    match &state.cluster.primary {
        Some(primary) => judge(&mut plan, state, view, primary),
        None if state.handover.is_none() => search(&mut plan, state, view),
        None => {}
    }
    match state.handover {
        None => upkeep::keep(&mut plan, state, view),
        Some(_) => upkeep::weaken(&mut plan, state, view),
    }
    ask_others(&mut plan, state, view);
    plan
}

/// Is the primary there, and is it one?
fn judge(plan: &mut SqlPlan, state: &SqlState, view: &SqlView, primary: &InstanceId) {
    let others = primaries(state, view, Some(primary));
    let timeline = |id: &InstanceId| view.fresh(id).and_then(|facts| facts.timeline);
    let current = Some(state.cluster.lineage.current);
    let is_told = |id: &InstanceId| state.cluster.told.contains_key(id) && !broken!(SqlTold);
    let is_stray = |id: &InstanceId| state.cluster.strays.contains(id);
    let beside = |id: &&InstanceId| timeline(id) >= current && !is_told(id);
    let beside: Vec<InstanceId> = others.iter().filter(beside).cloned().collect();
    let is_newer = |id: &&InstanceId| timeline(id) > current && !is_stray(id);
    let promoted: Vec<InstanceId> = beside.iter().filter(is_newer).cloned().collect();
    if let Some(facts) = view.fresh(primary) {
        if facts.role == Role::Primary {
            if let (Some(instance), None) =
                (beside.iter().find(|id| !is_stray(id)), &state.handover)
            {
                plan.proposals.push(SqlChange::Observe {
                    order: state.order(),
                    observed: Observed::Stray {
                        instance: instance.clone(),
                    },
                });
            }
            if !beside.is_empty() {
                let instances = [vec![primary.clone()], beside].concat();
                plan.findings
                    .push(SqlFinding::MultiplePrimaries { instances });
            }
            let counts = counts(state, view, primary, PrimaryAnswer::Serves);
            if counts.verdict() == Verdict::AllStandbyNotReplicating {
                let known = counts.known;
                plan.findings
                    .push(SqlFinding::AllStandbyNotReplicating { known });
            }
            return;
        }
        plan.findings.push(SqlFinding::NoPrimary);
        found(plan, state, view, &promoted);
        return;
    }
    let gone_by = view.gone_by(primary);
    upkeep::refusal(plan, view, primary);
    if view.opinion(primary) != Opinion::Gone {
        return;
    }
    if !is_dead(primary, view) {
        plan.findings.push(SqlFinding::UnreachablePrimary {
            instance: primary.clone(),
            gone_by,
        });
        if state.handover.is_none() {
            plan.waiting.push(SqlReason::NotDead {
                instance: primary.clone(),
                gone_by,
                peers: view.peers,
            });
        }
        return;
    }
    let finding = SqlFinding::DeadPrimary {
        instance: primary.clone(),
        gone_by,
        peers: view.peers,
        counts: counts(state, view, primary, PrimaryAnswer::Nothing),
    };
    let cause = finding.to_string();
    plan.findings.push(finding);
    if !promoted.is_empty() {
        found(plan, state, view, &promoted);
    } else if state.handover.is_none() {
        // One that only repoints gives up by itself when its primary is dead.
        begin(plan, state, view, cause);
    }
}

/// The primary and its standbys in numbers. Those behind another standby replicate when they hear that one, which says
/// nothing of the primary; they are not among them.
fn counts(state: &SqlState, view: &SqlView, primary: &InstanceId, answer: PrimaryAnswer) -> Counts {
    let cluster = &state.cluster;
    let members = cluster.members.keys().filter(|id| *id != primary);
    let is_direct = |id: &&InstanceId| !view.fresh(id).is_some_and(|it| is_cascade(cluster, it));
    let standbys: Vec<_> = members.filter(is_direct).collect();
    let reachable = || standbys.iter().filter_map(|id| view.fresh(id));
    let replicates = |it: &&InstanceFacts| it.role.is_in_recovery() && it.status.io_thread_running;
    Counts {
        primary: answer,
        known: standbys.len(),
        reachable: reachable().count(),
        replicating: reachable().filter(replicates).count(),
    }
}

/// Nobody is recorded: somebody may be the primary all the same.
fn search(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    plan.findings.push(SqlFinding::NoPrimary);
    let there = primaries(state, view, None);
    let shows = |since| view.now.since(since) >= PROMOTION_SHOWS_WITHIN;
    if !view.leaderless_since.is_some_and(shows) {
        plan.waiting.push(SqlReason::Asking);
        return;
    }
    let in_recovery = |id: &InstanceId| view.fresh(id).is_some_and(|it| it.role.is_in_recovery());
    let is_settled =
        |id: &InstanceId| in_recovery(id) || is_dead(id, view) || broken!(SqlUndecided);
    let suspects = state.cluster.suspects.iter();
    let mut open = suspects.filter(|id| !there.contains(id) && !is_settled(id));
    if let Some(instance) = open.next().cloned() {
        plan.waiting.push(SqlReason::Undecided { instance });
        return;
    }
    // Whoever was elected and has done it is the primary, whoever else came back since.
    let cluster = &state.cluster;
    let is_told = |id: &&InstanceId| cluster.told.contains_key(*id);
    let is_elected = |id: &&InstanceId| is_told(id) && cluster.suspects.contains(*id);
    let elected: Vec<_> = there.iter().filter(is_elected).cloned().collect();
    let is_none = |id: &&InstanceId| is_told(id) || cluster.strays.contains(*id);
    let there: Vec<_> = match elected.is_empty() {
        true => there.iter().filter(|id| !is_none(id)).cloned().collect(),
        false => elected,
    };
    if !there.is_empty() {
        found(plan, state, view, &there);
        return;
    }
    begin(plan, state, view, "no instance is the primary".to_owned());
}

/// Somebody else made these primaries.
fn found(plan: &mut SqlPlan, state: &SqlState, view: &SqlView, there: &[InstanceId]) {
    let [instance] = there else {
        if !there.is_empty() {
            let instances = there.to_vec();
            plan.findings.push(SqlFinding::MultiplePrimaries {
                instances: instances.clone(),
            });
            plan.waiting
                .push(SqlReason::MultiplePrimaries { instances });
        }
        return;
    };
    let facts = view.fresh(instance);
    let told = state.cluster.told.get(instance);
    let lineage = facts.and_then(|facts| lineage_of(&state.cluster.lineage, told, facts));
    if let (Some(lineage), None) = (lineage, &state.handover) {
        plan.proposals.push(SqlChange::Observe {
            order: state.order(),
            observed: Observed::Primary {
                instance: instance.clone(),
                lineage,
            },
        });
    }
}

fn primaries(state: &SqlState, view: &SqlView, but: Option<&InstanceId>) -> Vec<InstanceId> {
    let members = state.cluster.members.keys().filter(|id| Some(*id) != but);
    let is_one = |facts: &InstanceFacts| facts.role == Role::Primary;
    members
        .filter(|id| view.fresh(id).is_some_and(is_one))
        .cloned()
        .collect()
}

/// Proposes to begin a failover, or says what it waits for.
fn begin(plan: &mut SqlPlan, state: &SqlState, view: &SqlView, cause: String) {
    let cluster = &state.cluster;
    if cluster.fence == FenceDemand::Required {
        plan.waiting.push(SqlReason::AgentsRequired);
        return;
    }
    if let Some(held) = view.directives.holds_failover(cluster.primary.as_ref()) {
        plan.waiting.push(SqlReason::Held(held));
        return;
    }
    let gone_since = cluster
        .primary
        .as_ref()
        .and_then(|id| view.instances.get(id)?.gone_since);
    let standbys: Vec<(&InstanceId, &InstanceFacts)> = cluster
        .members
        .keys()
        .filter_map(|id| Some((id, view.fresh(id)?)))
        .filter(|(_, facts)| facts.role.is_in_recovery())
        .collect();
    if standbys.is_empty() {
        plan.waiting.push(SqlReason::NobodyReachable);
        return;
    }
    // What was seen before the primary went says nothing of now.
    let is_old = |id: &InstanceId| {
        let looked = view.instances.get(id).and_then(|seen| seen.last.as_ref());
        looked.map(|look| look.at) < gone_since
    };
    let old = standbys.iter().filter(|(id, _)| is_old(id));
    plan.again.extend(old.map(|(id, _)| (*id).clone()));
    let hears =
        |facts: &InstanceFacts| facts.status.io_thread_running && !is_cascade(cluster, facts);
    let hearing = standbys.iter().filter(|(_, facts)| hears(facts));
    let by: Vec<_> = hearing.map(|(id, _)| (*id).clone()).collect();
    if !broken!(SqlVeto) {
        if !by.is_empty() {
            plan.again.extend(by.iter().cloned());
            plan.waiting.push(SqlReason::Vetoed { by });
            return;
        }
        if !plan.again.is_empty() {
            plan.waiting.push(SqlReason::Asking);
            return;
        }
    }
    if let Some(reason) = no_proof(state, view, &standbys) {
        plan.waiting.push(reason);
        return;
    }
    plan.proposals.push(SqlChange::Begin {
        seen: cluster.epoch,
        cause,
        named: None,
    });
}

/// Why revoking all that can be reached could prove nothing; none if it could. Revoking for nothing would be an outage of
/// its own.
fn no_proof(
    state: &SqlState,
    view: &SqlView,
    standbys: &[(&InstanceId, &InstanceFacts)],
) -> Option<SqlReason> {
    let cluster = &state.cluster;
    if let SyncRule::Unclear { why } = &cluster.rule {
        return Some(SqlReason::RuleUnclear { why: why.clone() });
    }
    let voters = cluster.rule.voters();
    let at = |facts: &InstanceFacts| end_of(facts).map(|end| end.timeline);
    let comparable = standbys
        .iter()
        .filter(|(_, facts)| at(facts) == Some(cluster.lineage.current));
    let comparable: Vec<_> = comparable.map(|(id, _)| *id).collect();
    let counted = comparable.iter().filter(|id| voters.contains(**id)).count();
    let needed = proof::needed(&cluster.rule).unwrap_or(usize::MAX);
    if counted >= needed && !comparable.is_empty() {
        return None;
    }
    let missing = cluster.members.keys().filter(|id| {
        let is_wanted = voters.contains(*id) || voters.is_empty();
        is_wanted && cluster.primary.as_ref() != Some(*id) && !comparable.contains(id)
    });
    let missing = missing
        .map(|id| {
            let timeline = standbys.iter().find(|(it, _)| *it == id);
            let is_primary = |facts: &InstanceFacts| facts.role == Role::Primary;
            let why = match timeline.and_then(|(_, facts)| at(facts)) {
                None if view.fresh(id).is_some_and(is_primary) => {
                    "runs as a primary of its own".to_owned()
                }
                Some(other) => format!(
                    "is on timeline {other}, incomparable with {}: not promoted",
                    cluster.lineage.current
                ),
                None => "cannot be asked".to_owned(),
            };
            (id.clone(), why)
        })
        .collect();
    Some(SqlReason::NotProven {
        counted,
        needed: needed.max(1),
        missing,
    })
}

/// Whoever seems gone to this peer and matters now.
fn ask_others(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let cluster = &state.cluster;
    let matter = cluster.primary.iter().chain(&cluster.suspects);
    for id in matter.filter(|id| view.opinion(id) == Opinion::Gone) {
        let after = match is_dead(id, view) {
            true => ASK_AGAIN_AFTER,
            false => ASK_SOON_AFTER,
        };
        let asked = view.gone.get(id).map(|(at, _)| *at);
        if asked.is_none_or(|at| view.now.since(at) >= after) {
            plan.looks.insert(id.clone());
        }
    }
}
