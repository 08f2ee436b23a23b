//! Decisions: what to propose and what to run, as a function of the recorded state and one view.
//!
//! The same function runs on every leader; a new one continues where the record stands. It must never
//! act, wait or read a clock: `View::now` is data.

pub mod analyze;
mod begin;
pub mod discovery;
pub mod durability;
pub mod explain;
pub mod finding;
pub mod forced;
pub mod hooks;
pub mod sql_only;
pub mod switchover;
pub mod turns;
pub mod zones;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broken;
use crate::model::{Database, Held, InstanceId, Standing, View};
use crate::recovery::{Action, Evidence, Handover, Next, Reason, Rejoin, Step};
use crate::state::{Change, ClusterState};

pub use finding::{Finding, Heard};
use hooks::switchovers::{After, Word};
pub use hooks::{Condition, HookStep, Programs};
use hooks::{Scene, Trouble, Verdict, consider};

/// Whoever still saw life in a primary that seems dead is asked again after this, far below the age at which
/// the answer expires: it often only says that the primary died a moment ago.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a leader does next about one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be proposed, in this order. One that is refused makes the leader look again.
    pub proposals: Vec<Change>,
    /// To be carried out; one that is under way already is not sent again.
    pub steps: Vec<Step>,
    /// Instances that the other peers should be asked about.
    pub looks: BTreeSet<InstanceId>,
    /// What was found, most severe first.
    pub findings: Vec<Finding>,
    /// Why nothing happens, for each procedure that waits. The instance is that of a rejoin.
    pub waiting: Vec<(Option<InstanceId>, Reason)>,
    /// What to do about the user's programs.
    pub hook: Option<HookStep>,
    /// How the primary is, for them.
    pub condition: Condition,
}

impl Plan {
    /// Has a failover wait for the user's programs, and says what to do about them.
    pub fn with(mut self, state: &ClusterState, view: &View, programs: &Programs) -> Plan {
        if state.cluster.goes_down_as_asked() {
            // Somebody asked for it, and the primary is down for it: nothing failed, and nothing is to be guarded.
            return self;
        }
        let is_begin = |it: &Change| matches!(it, Change::Begin { .. });
        let begins = self.proposals.iter().any(is_begin);
        let mut findings = self.findings.iter();
        let trouble = findings.find(|it| it.is_actionable() || begins);
        let trouble = trouble.map(|finding| Trouble {
            code: finding.code(),
            text: finding.to_string(),
            failed: state.cluster.of_failover().cloned(),
        });
        let serves = |id: &InstanceId| {
            let report = view.fresh(id);
            report.is_some_and(|it| matches!(it.database, Database::Primary { .. }))
        };
        let primary = state.cluster.primary.as_ref();
        let scene = Scene {
            epoch: state.cluster.epoch,
            is_replaced: state.is_established() && programs.is_before(state.cluster.epoch),
            is_changing: state.handover.is_some(),
            condition: Condition {
                is_troubled: trouble.is_some(),
                is_well: trouble.is_none() && state.is_established() && primary.is_some_and(serves),
            },
            begins,
            trouble,
        };
        let after = After {
            is_asked_for: state.cluster.switchover.is_some(),
            is_changing: state.handover.is_some() && !state.is_established(),
            is_replaced: scene.is_replaced && primary != programs.failed(),
            begins,
        };
        let verdict = programs.after_switchover(after);
        let Verdict { step, held } = verdict.unwrap_or_else(|| consider(&scene, programs));
        let asked = self.asks_before_switchover(state, programs);
        let step = asked.or(step);
        if let Some(held) = held {
            self.proposals.retain(|it| !is_begin(it));
            self.waiting.push((None, Reason::Held(held)));
        }
        self.hook = step;
        self.condition = scene.condition;
        self
    }

    /// Has a switchover that waits wait for the user's programs too, or gives it up as they say; what to do about them.
    fn asks_before_switchover(
        &mut self,
        state: &ClusterState,
        programs: &Programs,
    ) -> Option<HookStep> {
        let epoch = state.cluster.epoch;
        let asked = state.cluster.switchover.as_ref();
        let asked = asked.filter(|it| !it.has_begun() && state.handover.is_none())?;
        let is_begin = |it: &Change| matches!(it, Change::BeginShutDown { .. });
        let is_given_up = |it: &Change| matches!(it, Change::GiveUpSwitchover { .. });
        let may_begin = self.proposals.iter().any(is_begin);
        let (step, word) = programs.before_switchover(asked, epoch, may_begin);
        match word {
            Word::Go => {}
            Word::Wait(held) => {
                self.proposals.retain(|it| !is_begin(it));
                self.waiting.push((None, Reason::Held(held)));
            }
            Word::No(why) => {
                self.proposals.retain(|it| !is_begin(it));
                if !self.proposals.iter().any(is_given_up) {
                    let change = Change::GiveUpSwitchover { epoch, why };
                    self.proposals.push(change);
                }
            }
        }
        step
    }
}

/// What to do about one cluster, seen at `view.now`.
pub fn decide(state: &ClusterState, view: &View) -> Plan {
    let mut plan = Plan {
        findings: analyze::analyze(state, view),
        ..Plan::default()
    };
    if let Some(handover) = &state.handover {
        take(
            &mut plan,
            state,
            None,
            handover.next(&state.cluster, state.order(), view),
        );
    }
    if let Some(stop) = state.cluster.planned_stop.as_ref()
        && view.stop_is_over
    {
        let order = stop.order;
        plan.proposals.push(Change::EndStop { order });
    }
    switchover::proceed(&mut plan, state, view);
    let unreachable = plan.findings.iter().find_map(|finding| {
        let Finding::UnreachablePrimary {
            instance, heard, ..
        } = finding
        else {
            return None;
        };
        match heard {
            Heard::NotAsked | Heard::ByPeers(_) => Some(instance),
            Heard::ByStandbys => None,
        }
    });
    if let Some(instance) = unreachable {
        let looked_at = view.looks.get(instance).map(|(at, _)| *at);
        if looked_at.is_none_or(|at| view.now.since(at) >= ASK_AGAIN_AFTER) {
            plan.looks.insert(instance.clone());
        }
    }
    let dead = plan
        .findings
        .iter()
        .find(|finding| finding.calls_for_asking())
        .cloned();
    // One that only repoints gives up by itself when its primary is dead.
    if let (Some(finding), None) = (&dead, &state.handover) {
        let held = view.directives.holds_failover(state.cluster.of_failover());
        let is_asked_for = state.cluster.switches_over();
        match held.filter(|_| !broken!(Held) && !is_asked_for) {
            Some(held) => {
                if let (true, &Held::Blocked { epoch }) = (finding.is_actionable(), &held) {
                    plan.findings.push(Finding::FailoverBlocked { epoch });
                }
                plan.waiting.push((None, Reason::Held(held)));
            }
            None => begin::prepare(&mut plan, state, view, finding),
        }
    }
    // Whom a living primary feeds may be the one who is missing to replace it.
    let lives = |finding: &Finding| finding.living_primary().is_some();
    if dead.as_ref().is_none_or(lives) && state.is_established() {
        keep_primary(&mut plan, state, view);
        // Nobody is brought back to a primary that is being shut down.
        if !state.cluster.switches_over() {
            rejoin(&mut plan, state, view);
            if let Some(primary) = serving(state, view) {
                durability::proceed(&mut plan, state, primary, view);
            }
        }
    }
    plan
}

fn take(plan: &mut Plan, state: &ClusterState, subject: Option<&InstanceId>, next: Next) {
    match next {
        Next::Run(steps) => plan.steps.extend(steps),
        Next::Record(evidence) => {
            plan.proposals.push(Change::Record {
                order: state.order(),
                evidence,
            });
        }
        Next::Wait(reason) => plan.waiting.push((subject.cloned(), reason)),
        Next::AskAgain(reason, steps) => {
            plan.waiting.push((subject.cloned(), reason));
            plan.steps.extend(steps);
        }
        Next::GiveUp(reason) => plan.proposals.push(match subject {
            None => Change::Abandon {
                epoch: state.cluster.epoch,
                reason,
            },
            Some(instance) => Change::EndRejoin {
                order: state.order(),
                instance: instance.clone(),
                reason,
            },
        }),
    }
}

/// Keeps the recorded names in force on the primary, and records its first commit.
fn keep_primary(plan: &mut Plan, state: &ClusterState, view: &View) {
    let cluster = &state.cluster;
    let Some(primary) = &cluster.primary else {
        return;
    };
    let Some(report) = view.fresh(primary) else {
        return;
    };
    let Database::Primary {
        synchronous_standby_names,
        first_commit,
        ..
    } = &report.database
    else {
        return;
    };
    let recorded = cluster.synchronous_standby_names(primary);
    // What is being confirmed is put in force by that.
    let is_confirmed = cluster.confirming().is_some() && !cluster.switches_over();
    if *synchronous_standby_names != recorded && !is_confirmed {
        plan.steps.push(configure(state, primary));
    }
    if let (None, Some((epoch, lsn))) = (cluster.first_commit, first_commit)
        && *epoch == cluster.epoch
    {
        let evidence = Evidence::FirstCommit { lsn: *lsn };
        plan.proposals.push(Change::Record {
            order: state.order(),
            evidence,
        });
    }
}

/// Puts the recorded names in force on the primary.
fn configure(state: &ClusterState, primary: &InstanceId) -> Step {
    let cluster = &state.cluster;
    Step {
        instance: primary.clone(),
        order: state.order(),
        action: Action::Configure {
            synchronous_standby_names: cluster.synchronous_standby_names(primary),
            members: cluster.members.keys().cloned().collect(),
        },
    }
}

/// The recorded primary, if its agent says that it serves.
fn serving<'a>(state: &'a ClusterState, view: &View) -> Option<&'a InstanceId> {
    let primary = state.cluster.primary.as_ref()?;
    let report = view.fresh(primary)?;
    matches!(report.database, Database::Primary { .. }).then_some(primary)
}

/// Continues the rejoins under way and begins one for every instance that should stream and does not.
fn rejoin(plan: &mut Plan, state: &ClusterState, view: &View) {
    let cluster = &state.cluster;
    let primary_serves = serving(state, view).is_some();
    let diverged: BTreeSet<_> = state
        .rejoins
        .iter()
        .filter(|(_, active)| matches!(active.rejoin, Rejoin::Diverged { .. }))
        .map(|(instance, _)| instance)
        .collect();
    for (instance, member) in &cluster.members {
        if cluster.primary.as_ref() == Some(instance) {
            continue;
        }
        if let Some(active) = state.rejoins.get(instance) {
            let next = active
                .rejoin
                .next(instance, cluster, &diverged, state.order(), view);
            take(plan, state, Some(instance), next);
            continue;
        }
        let is_pending = matches!(&state.handover, Some(Handover::Repointing { pending }) if pending.contains(instance));
        let is_settled = member.standing == Standing::Voter && view.streams(cluster, instance);
        if primary_serves && !is_pending && !is_settled && view.fresh(instance).is_some() {
            let held = view.directives.holds(Some(instance));
            if let Some(held) = held.filter(|_| !broken!(Held)) {
                plan.waiting
                    .push((Some(instance.clone()), Reason::Held(held)));
                continue;
            }
            plan.proposals.push(Change::BeginRejoin {
                epoch: cluster.epoch,
                instance: instance.clone(),
                cause: "it does not stream from the primary".to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
