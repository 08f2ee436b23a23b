//! What a leader does next about one cluster without agents, as a function of the record and one view.
//!
//! A failover begins only if a majority of peers finds nobody where the primary was, no standby that can be asked hears it,
//! and those who can be asked are enough for a proof. Any answer of a server is a sign of life.

pub mod adoption;
mod analyze;
mod begin;
mod copies;
mod counts;
pub mod explain;
pub mod finding;
pub mod newcomer;
mod standby;
pub mod switchover;
mod upkeep;
pub mod walks;
pub mod write_path;

use std::collections::BTreeSet;
use std::time::Duration;

use super::analyze::counts::{PrimaryAnswer, Verdict};
use super::hooks::{self, Condition, HookStep, Programs, Scene, Trouble};
use crate::broken;
use crate::model::{InstanceFacts, InstanceId, Opinion, Role, SqlView};
use crate::recovery::sql_only::next::{is_dead, lineage_of};
use crate::recovery::sql_only::{SqlNext, SqlReason, SqlStep};
use crate::state::{Observed, SqlChange, SqlState};

pub use crate::recovery::sql_only::rule_of;
use begin::begin;
use counts::counts;
use walks::Stranger;

pub use copies::not_told_apart;
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
    /// Who receives and is not known, so that it may be worth a walk.
    pub strangers: BTreeSet<Stranger>,
    /// What was found, most severe first.
    pub findings: Vec<SqlFinding>,
    /// Why nothing happens.
    pub waiting: Vec<SqlReason>,
    /// What to do about the user's programs.
    pub hook: Option<HookStep>,
    /// How the primary is, for them.
    pub condition: Condition,
}

impl SqlPlan {
    /// Has a failover wait for the user's programs, and says what to do about them.
    pub fn with(mut self, state: &SqlState, view: &SqlView, programs: &Programs) -> SqlPlan {
        let is_begin = |it: &SqlChange| matches!(it, SqlChange::Begin { .. });
        let begins = self.proposals.iter().any(is_begin);
        let mut findings = self.findings.iter();
        let trouble = findings.find(|it| it.is_actionable() || begins);
        let trouble = trouble.map(|finding| Trouble {
            code: finding.code(),
            text: finding.to_string(),
            failed: state.cluster.primary.clone(),
        });
        let primary = state.cluster.primary.as_ref();
        let serves = |id: &InstanceId| view.fresh(id).is_some_and(|it| it.role == Role::Primary);
        // One that was given up leaves the old primary where it was, in a later epoch.
        let failed = programs.incident.as_ref().and_then(|it| it.failed.as_ref());
        let scene = Scene {
            epoch: state.cluster.epoch,
            is_replaced: primary.is_some_and(|it| Some(it) != failed)
                && programs.is_before(state.cluster.epoch),
            is_changing: state.handover.is_some(),
            condition: Condition {
                is_troubled: trouble.is_some(),
                is_well: trouble.is_none() && primary.is_some_and(serves),
            },
            begins,
            trouble,
        };
        let hooks::Verdict { step, held } = hooks::consider(&scene, programs);
        if let Some(held) = held {
            self.proposals.retain(|it| !is_begin(it));
            self.waiting.push(SqlReason::Held(held));
        }
        self.hook = step;
        self.condition = scene.condition;
        self
    }
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
    analyze::blocked(&mut plan);
    analyze::unprepared(&mut plan, state, view);
    analyze::held(&mut plan, view);
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
        if promoted.is_empty() {
            demoted(plan, state, view, primary);
        } else {
            found(plan, state, view, &promoted);
        }
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

/// The recorded primary runs as a standby: somebody restarted it as one. It accepts no writes, and whoever is the best of all,
/// itself among them, takes its place.
fn demoted(plan: &mut SqlPlan, state: &SqlState, view: &SqlView, primary: &InstanceId) {
    if state.handover.is_some() {
        return;
    }
    let since = view.instances.get(primary).and_then(|it| it.same_since);
    if since.is_none_or(|since| view.now.since(since) < PROMOTION_SHOWS_WITHIN) {
        // Whoever restarted it may be promoting it, or another one.
        plan.waiting.push(SqlReason::Asking);
        return;
    }
    let cause = format!("the primary {primary} runs as a standby");
    begin(plan, state, view, cause);
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
