//! What is done next for a durability that somebody asked for.
//!
//! Nothing begins before as many standbys stream as it takes, so that commits are not held up by it; and if they are gone
//! while it is confirmed, commits wait for as many as recorded again. `async` needs none: the agent of the primary is told, and
//! then it is waited until what a quorum cluster was granted has ended.

use std::time::Duration;

use crate::model::{
    ChangePhase, Cluster, Durability, DurabilityChange, Failure, InstanceId, Member, Standing, View,
};
use crate::recovery::handover::one;
use crate::recovery::{Action, Next, Reason};
use crate::state::{Change, ClusterState};

use super::{Plan, take};

/// Longer than any other command waits: an agent of an older build ends its session over this one, and has a lease to renew.
const AGAIN_AFTER: Duration = Duration::from_secs(3);

/// Only while the primary serves and is not being shut down.
pub(super) fn proceed(plan: &mut Plan, state: &ClusterState, primary: &InstanceId, view: &View) {
    let cluster = &state.cluster;
    let Some(change) = &cluster.durability_change else {
        return;
    };
    let order = state.order();
    let acknowledges = |(id, member): &(&InstanceId, &Member)| {
        *id != primary
            && member.standing == Standing::Voter
            && view.streams(cluster, id)
            && view.disk_trouble(id).is_none()
    };
    let needed = change.to.standby_acks();
    let streaming = cluster.members.iter().filter(acknowledges).count();
    let too_few = (streaming < needed).then_some(Reason::TooFewStandbys { streaming, needed });
    match (change.phase, too_few) {
        (ChangePhase::Waiting, Some(reason)) => take(plan, state, None, Next::Wait(reason)),
        (ChangePhase::Waiting, None)
            if cluster.first_commit.is_none() && !cluster.becomes_async() =>
        {
            take(plan, state, None, Next::Wait(Reason::NoCommitYet));
        }
        (ChangePhase::Waiting, None) => plan.proposals.push(Change::BeginConfirming { order }),
        (ChangePhase::Lapsing, _) if view.longer_leases_lapsed => {
            plan.proposals.push(Change::RecordLapsed { order });
        }
        (ChangePhase::Lapsing, _) => take(plan, state, None, Next::Wait(Reason::LeasesLapse)),
        (ChangePhase::Confirming, Some(reason)) => {
            plan.proposals
                .push(Change::StopConfirming { order, reason });
        }
        (ChangePhase::Confirming, None) => {
            let action = Action::Confirm {
                synchronous_standby_names: cluster.synchronous_standby_names(primary),
                members: cluster.members.keys().cloned().collect(),
            };
            let failure = view.failure(primary, order);
            match failure.filter(|it| view.now.since(it.at) < AGAIN_AFTER) {
                None => take(plan, state, None, one(view, primary, order, action)),
                Some(failure) => {
                    let (instance, why) = (primary.clone(), failure.reason.clone());
                    take(
                        plan,
                        state,
                        None,
                        Next::Wait(Reason::Failed { instance, why }),
                    );
                }
            }
        }
    }
}

/// What a change waits for, in words for the operator.
pub fn waits_for(asked: &DurabilityChange, cluster: &Cluster, view: &View, plan: &Plan) -> String {
    let codes = ["too_few_standbys", "no_commit_yet", "leases_lapse"];
    let waits = plan.waiting.iter().map(|(_, reason)| reason);
    if let Some(reason) = waits.clone().find(|it| codes.contains(&it.code())) {
        let words = reason.to_string();
        return words.trim_start_matches("durability: ").to_owned();
    }
    let what = match asked.phase {
        ChangePhase::Waiting => "the primary to serve, and nothing else to be under way",
        ChangePhase::Confirming if asked.to == Durability::Async => {
            "the agent of the primary to say that it counts on no fewer words than all"
        }
        ChangePhase::Confirming => {
            "every walsender to run it, and a commit to be acknowledged under it: a standby that streams and is slow holds up \
             that one, and all others"
        }
        ChangePhase::Lapsing => "leases of the quorum cluster to end",
    };
    let primary = cluster.primary.as_ref();
    let failure = primary.and_then(|id| view.instances.get(id)?.failure.as_ref());
    let is_of_it =
        |it: &&Failure| it.order.epoch == cluster.epoch && it.order.number >= asked.since;
    let failure = failure.filter(is_of_it);
    match failure {
        Some(failure) if asked.phase == ChangePhase::Confirming => {
            format!("{what}; the last try failed: {}", failure.reason)
        }
        Some(_) | None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::decide;
    use crate::model::Lsn;
    use crate::model::example::{at, cluster, id, primary, standby, view};
    use crate::recovery::Evidence;
    use crate::state::example::at_rest;
    use crate::state::{Command, NewDurability, State};

    const ONE: Durability = Durability::Quorum { standbys: 1 };
    const TWO: Durability = Durability::Quorum { standbys: 2 };

    fn asked(to: Durability) -> ClusterState {
        let mut state = State::default();
        let from = if to == ONE { TWO } else { ONE };
        let before = at_rest(cluster(&["a", "b", "c"], from));
        let name = before.cluster.name.clone();
        state.clusters.insert(name.clone(), before);
        let new = NewDurability {
            to,
            owner: "ana".to_owned(),
            reason: "why".to_owned(),
        };
        let change = Change::PlanDurability(new);
        apply(&mut state, change);
        state.clusters.remove(&name).unwrap()
    }

    fn apply(state: &mut State, change: Change) {
        let cluster = state.clusters.keys().next().unwrap().clone();
        let command = Command {
            cluster,
            at: 7,
            change,
        };
        state.apply(command).unwrap();
    }

    fn seen(state: &ClusterState, streaming: &[&'static str]) -> View {
        let cluster = &state.cluster;
        let standbys = streaming.iter();
        let standbys = standbys.map(|name| (*name, standby(cluster, name, at(2, 50))));
        view([("a", primary(cluster, "a"))].into_iter().chain(standbys))
    }

    fn confirming() -> ClusterState {
        let mut state = State::default();
        let before = asked(TWO);
        let order = before.order();
        state
            .clusters
            .insert(before.cluster.name.clone(), before.clone());
        apply(&mut state, Change::BeginConfirming { order });
        state.clusters.remove(&before.cluster.name).unwrap()
    }

    #[test]
    fn a_weaker_one_is_recorded_at_once_and_put_in_force_then() {
        let state = asked(ONE);
        assert_eq!(state.cluster.durability, ONE);
        assert_eq!(state.cluster.durability_change, None);
        let mut seen = seen(&state, &["b", "c"]);
        assert!(decide(&state, &seen).steps.is_empty());
        let before = at_rest(cluster(&["a", "b", "c"], TWO));
        let sighting = seen.instances.get_mut(&id("a")).unwrap();
        sighting.report = primary(&before.cluster, "a");
        let steps = decide(&state, &seen).steps;
        assert!(
            matches!(&steps[0].action, Action::Configure { synchronous_standby_names: names, .. } if names.starts_with("ANY 1"))
        );
    }

    #[test]
    fn a_stronger_one_waits_for_standbys_and_for_the_first_commit() {
        let mut state = asked(TWO);
        assert_eq!(state.cluster.durability, ONE);
        let plan = decide(&state, &seen(&state, &["b"]));
        assert_eq!(plan.waiting[0].1.code(), "too_few_standbys");
        let begin = [Change::BeginConfirming {
            order: state.order(),
        }];
        let plan = decide(&state, &seen(&state, &["b", "c"]));
        assert_eq!(plan.proposals, begin);
        state.cluster.first_commit = None;
        let plan = decide(&state, &seen(&state, &["b", "c"]));
        assert_eq!(plan.waiting[0].1, Reason::NoCommitYet);
        state.cluster.first_commit = Some(Lsn(10));
        assert!(
            state.cluster.synchronous_standby_names(&id("a")) == "ANY 1 (\"b_1_1\", \"c_1_1\")"
        );
    }

    #[test]
    fn async_is_recorded_once_the_agent_knows_and_the_longer_leases_have_ended() {
        let mut state = asked(Durability::Async);
        state.cluster.first_commit = None;
        let name = state.cluster.name.clone();
        assert_eq!(state.cluster.durability, ONE);
        assert_eq!(state.cluster.backers(&id("a")).needed, 2);
        let order = state.order();
        let begin = [Change::BeginConfirming { order }];
        let plan = decide(&state, &seen(&state, &[]));
        assert_eq!(plan.proposals, begin);
        let mut all = State::default();
        all.clusters.insert(name.clone(), state);
        apply(&mut all, Change::BeginConfirming { order });
        let state = &all.clusters[&name];
        let names = state.cluster.synchronous_standby_names(&id("a"));
        assert_eq!(names, "ANY 1 (\"b_1_1\", \"c_1_1\")");
        assert_eq!(state.cluster.acks_in_force(), 1);
        let view = seen(state, &[]);
        let plan = decide(state, &view);
        assert!(matches!(&plan.steps[0].action, Action::Confirm { .. }));
        let evidence = Evidence::Confirmed {
            instance: id("a"),
            synchronous_standby_names: names,
        };
        let order = state.order();
        apply(&mut all, Change::Record { order, evidence });
        let state = &all.clusters[&name];
        assert_eq!(state.cluster.durability, ONE);
        let plan = decide(state, &view);
        assert_eq!(plan.waiting[0].1, Reason::LeasesLapse);
        let asked = state.cluster.durability_change.as_ref().unwrap();
        let words = waits_for(asked, &state.cluster, &view, &plan);
        assert!(words.contains("would not wait for them"), "{words}");
        let view = View {
            longer_leases_lapsed: true,
            ..view
        };
        let lapsed = Change::RecordLapsed {
            order: state.order(),
        };
        let plan = decide(state, &view);
        assert_eq!(plan.proposals, std::slice::from_ref(&lapsed));
        apply(&mut all, lapsed);
        let state = &all.clusters[&name];
        assert_eq!(state.cluster.durability, Durability::Async);
        assert_eq!(state.cluster.durability_change, None);
        assert_eq!(decide(state, &view).steps[0].action.name(), "configure");
    }

    /// However long the proof fails: what is recorded is put in force by the next command.
    #[test]
    fn what_is_recorded_takes_back_what_is_being_confirmed() {
        let before = confirming();
        let (name, recorded) = (before.cluster.name.clone(), before.cluster.durability);
        let mut state = State::default();
        state.clusters.insert(name.clone(), before.clone());
        let new = NewDurability {
            to: recorded,
            owner: "ben".to_owned(),
            reason: "commits wait".to_owned(),
        };
        apply(&mut state, Change::PlanDurability(new));
        let state = &state.clusters[&name];
        assert_eq!(state.cluster.durability_change, None);
        let mut seen = seen(state, &["b", "c"]);
        let sighting = seen.instances.get_mut(&id("a")).unwrap();
        sighting.report = primary(&before.cluster, "a");
        let steps = decide(state, &seen).steps;
        assert!(steps[0].order > before.order());
        assert!(
            matches!(&steps[0].action, Action::Configure { synchronous_standby_names: names, .. } if names.starts_with("ANY 1"))
        );
    }

    #[test]
    fn it_is_confirmed_by_the_agent_alone_and_given_up_without_standbys() {
        let state = confirming();
        let names = "FIRST 2 (\"primacy_confirms_the_durability_1\", \"primacy_confirms_the_durability_2\", \"b_1_1\", \"c_1_1\")";
        assert_eq!(state.cluster.synchronous_standby_names(&id("a")), names);
        let plan = decide(&state, &seen(&state, &["b", "c"]));
        assert_eq!(plan.proposals, []);
        assert_eq!(plan.steps.len(), 1, "{plan:?}");
        assert!(matches!(&plan.steps[0].action, Action::Confirm { .. }));
        let plan = decide(&state, &seen(&state, &["b"]));
        let stops = |it: &Change| matches!(it, Change::StopConfirming { .. });
        assert!(plan.proposals.iter().any(stops), "{plan:?}");
        assert!(
            !plan
                .steps
                .iter()
                .any(|it| matches!(it.action, Action::Confirm { .. }))
        );
    }
}
