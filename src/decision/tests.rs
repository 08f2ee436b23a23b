//! What is proposed and ordered, and in what order.

use std::collections::BTreeMap;

use super::*;
use crate::model::example::{at, cluster, id, order, primary, report, standby, view};
use crate::model::{
    Answer, Blocked, Durability, Epoch, Hold, Incarnation, Paused, PlannedStop, Stopped, Timestamp,
};
use crate::recovery::{Promise, RETRY_AFTER};
use crate::state::example::at_rest;

fn state() -> ClusterState {
    at_rest(cluster(
        &["a", "b", "c"],
        Durability::Quorum { standbys: 1 },
    ))
}

fn healthy(state: &ClusterState) -> View {
    let of = |name| standby(&state.cluster, name, at(2, 50));
    view([
        ("a", primary(&state.cluster, "a")),
        ("b", of("b")),
        ("c", of("c")),
    ])
}

fn answer(view: &mut View, name: &str, hears_primary: bool) {
    let answer = Answer {
        epoch: state().cluster.epoch.next(),
        would_promise: true,
        hears_primary,
        incarnation: Some(Incarnation(1)),
    };
    let now = view.now;
    view.instances.get_mut(&id(name)).unwrap().answer = Some((now, answer));
}

fn begins(plan: &Plan) -> bool {
    plan.proposals
        .iter()
        .any(|change| matches!(change, Change::Begin { .. }))
}

fn silence(view: &mut View, name: &str) {
    view.instances.get_mut(&id(name)).unwrap().connected = false;
    let now = view.now;
    view.looks.insert(id(name), (now, 0));
}

#[test]
fn a_healthy_cluster_is_left_alone() {
    let state = state();
    assert_eq!(decide(&state, &healthy(&state)), Plan::default());
}

#[test]
fn a_dead_postmaster_is_replaced_once_a_proof_can_be_reached() {
    let state = state();
    let mut view = healthy(&state);
    view.instances.get_mut(&id("a")).unwrap().report = report(Database::Stopped(Stopped::Died));
    let plan = decide(&state, &view);
    assert!(!begins(&plan));
    let asked: Vec<_> = plan.steps.iter().map(|step| step.action.name()).collect();
    assert_eq!(asked, ["ask", "ask", "ask"]);
    answer(&mut view, "b", true);
    assert!(!begins(&decide(&state, &view)), "one promise is not enough");
    answer(&mut view, "c", true);
    assert!(
        begins(&decide(&state, &view)),
        "its own agent's word is not vetoed"
    );
}

#[test]
fn the_last_primary_comes_back_although_no_standby_is_admitted() {
    let mut state = state();
    for standby in ["b", "c"] {
        state
            .cluster
            .members
            .get_mut(&id(standby))
            .unwrap()
            .standing = Standing::Recovering;
    }
    let mut view = healthy(&state);
    view.instances.get_mut(&id("a")).unwrap().report = report(Database::Stopped(Stopped::Found));
    answer(&mut view, "b", false);
    answer(&mut view, "c", false);
    assert!(!begins(&decide(&state, &view)));
    answer(&mut view, "a", false);
    assert!(begins(&decide(&state, &view)));
}

#[test]
fn standbys_that_hear_a_silent_primary_veto() {
    let state = state();
    let mut view = healthy(&state);
    silence(&mut view, "a");
    answer(&mut view, "b", false);
    assert!(!begins(&decide(&state, &view)), "c may still hear it");
    answer(&mut view, "c", true);
    let plan = decide(&state, &view);
    assert!(!begins(&plan));
    assert_eq!(plan.waiting, [(None, Reason::Vetoed { by: vec![id("c")] })]);
    answer(&mut view, "c", false);
    assert!(begins(&decide(&state, &view)));
}

#[test]
fn a_lapsed_lease_is_not_vetoed() {
    let state = state();
    let mut view = healthy(&state);
    silence(&mut view, "a");
    answer(&mut view, "b", true);
    answer(&mut view, "c", true);
    assert!(!begins(&decide(&state, &view)));
    view.leases_lapse_at = Timestamp(view.now.0 - 1);
    assert!(begins(&decide(&state, &view)));
}

#[test]
fn the_record_of_a_planned_stop_is_withdrawn_when_it_is_over() {
    let mut state = state();
    state.cluster.planned_stop = Some(PlannedStop {
        instance: id("a"),
        order: order(1, 4),
        length: PlannedStop::LONGEST,
        at: 0,
    });
    let mut view = healthy(&state);
    assert_eq!(decide(&state, &view), Plan::default());
    view.stop_is_over = true;
    let order = order(1, 4);
    assert_eq!(decide(&state, &view).proposals, [Change::EndStop { order }]);
}

#[test]
fn a_primary_that_other_peers_hear_is_not_replaced() {
    let state = state();
    let mut view = healthy(&state);
    view.instances.get_mut(&id("a")).unwrap().connected = false;
    assert_eq!(decide(&state, &view).looks, BTreeSet::from([id("a")]));
    let now = view.now;
    view.looks.insert(id("a"), (now, 2));
    answer(&mut view, "b", false);
    answer(&mut view, "c", false);
    let plan = decide(&state, &view);
    assert!(!begins(&plan));
    assert_eq!(plan.findings[0].code(), "UnreachablePrimary");
    assert_eq!(plan.looks, BTreeSet::new());
    view.now = now.after(ASK_AGAIN_AFTER);
    let again = decide(&state, &view).looks;
    assert_eq!(again, BTreeSet::from([id("a")]), "it may have died since");
}

#[test]
fn changed_names_are_put_back_in_force() {
    let mut state = state();
    state.cluster.members.get_mut(&id("c")).unwrap().incarnation = Incarnation(2);
    let plan = decide(&state, &healthy(&self::state()));
    let configure = plan
        .steps
        .iter()
        .find(|step| step.action.name() == "configure");
    assert!(configure.is_some_and(|step| step.instance == id("a")));
}

#[test]
fn who_does_not_stream_is_brought_back() {
    let state = state();
    let mut view = healthy(&state);
    view.instances.get_mut(&id("c")).unwrap().report = report(Database::Stopped(Stopped::Found));
    let plan = decide(&state, &view);
    let begun = |change: &Change| matches!(change, Change::BeginRejoin { instance, .. } if *instance == id("c"));
    assert!(plan.proposals.iter().any(begun));
}

#[test]
fn a_promise_that_does_not_count_is_asked_for_again() {
    let mut state = state();
    let mut view = healthy(&state);
    silence(&mut view, "a");
    state.cluster.primary = None;
    let promise = |position| Promise {
        incarnation: Some(Incarnation(1)),
        position,
        running: true,
    };
    let fencing = |b| Handover::Fencing {
        promises: BTreeMap::from([(id("b"), b), (id("c"), promise(Some(at(2, 50))))]),
    };
    let fenced = |plan: &Plan| -> Vec<_> {
        let steps = plan.steps.iter();
        steps
            .map(|step| (step.instance.clone(), step.action.name()))
            .collect()
    };
    let waits = |plan: &Plan| matches!(plan.waiting[..], [(None, Reason::NotProven { .. })]);
    state.handover = Some(fencing(promise(None)));
    let plan = decide(&state, &view);
    assert!(waits(&plan), "{plan:?}");
    assert_eq!(fenced(&plan), [(id("b"), "fence")]);
    let moment = view.now;
    view.now = moment.after(RETRY_AFTER / 2);
    let plan = decide(&state, &view);
    assert!(waits(&plan) && plan.steps.is_empty(), "not all the time");
    view.now = moment.after(RETRY_AFTER);
    assert_eq!(fenced(&decide(&state, &view)), [(id("b"), "fence")]);
    // Other data under its name is only asked again when the right data is back.
    let mut other = promise(Some(at(2, 50)));
    other.incarnation = None;
    state.handover = Some(fencing(other));
    assert_eq!(fenced(&decide(&state, &view)), [(id("b"), "fence")]);
    let b = view.instances.get_mut(&id("b")).unwrap();
    b.report.incarnation = None;
    assert!(decide(&state, &view).steps.is_empty());
}

fn hold() -> Hold {
    Hold {
        since: 0,
        until: 1,
        owner: "ana".to_owned(),
        reason: "patch".to_owned(),
    }
}

fn waits(plan: &Plan) -> Vec<(Option<InstanceId>, &'static str)> {
    let waiting = plan.waiting.iter();
    waiting
        .map(|(who, why)| (who.clone(), why.code()))
        .collect()
}

#[test]
fn a31_while_paused_a_death_is_found_and_nothing_is_begun() {
    let state = state();
    let mut view = healthy(&state);
    view.directives.paused = Some(Paused {
        hold: hold(),
        everywhere: true,
    });
    let quiet = decide(&state, &view);
    assert_eq!(
        (quiet.findings.len(), quiet.findings[0].code()),
        (1, "Paused")
    );
    view.instances.get_mut(&id("a")).unwrap().report = report(Database::Stopped(Stopped::Died));
    for name in ["b", "c"] {
        answer(&mut view, name, false);
    }
    let plan = decide(&state, &view);
    assert_eq!(plan.findings[0].code(), "DeadPrimary");
    assert!(
        plan.proposals.is_empty() && plan.steps.is_empty(),
        "{plan:?}"
    );
    assert_eq!(waits(&plan), [(None, "paused")]);
    view.directives.paused = None;
    assert!(begins(&decide(&state, &view)));
}

#[test]
fn a28_what_is_in_downtime_is_neither_replaced_nor_brought_back() {
    let state = state();
    let mut view = healthy(&state);
    view.directives.downtime.insert(id("b"), hold());
    view.instances.get_mut(&id("b")).unwrap().report = report(Database::Stopped(Stopped::Died));
    let plan = decide(&state, &view);
    assert_eq!(plan.findings[0].code(), "StandbyNotReplicating");
    assert_eq!(plan.proposals, []);
    assert_eq!(waits(&plan), [(Some(id("b")), "downtime")]);
    view.directives.downtime.clear();
    let plan = decide(&state, &view);
    assert!(matches!(plan.proposals[..], [Change::BeginRejoin { .. }]));

    let mut view = healthy(&state);
    view.directives.downtime.insert(id("a"), hold());
    view.instances.get_mut(&id("a")).unwrap().report = report(Database::Stopped(Stopped::Died));
    for name in ["b", "c"] {
        answer(&mut view, name, false);
    }
    let plan = decide(&state, &view);
    assert_eq!(plan.findings[0].code(), "DeadPrimary");
    assert!(!begins(&plan));
    assert_eq!(waits(&plan), [(None, "downtime")]);
}

#[test]
fn a27_a_second_failover_within_the_block_period_is_blocked_and_listed() {
    let state = state();
    let mut view = healthy(&state);
    view.directives.blocked = Some(Blocked {
        epoch: Epoch(1),
        until: 1,
    });
    assert_eq!(decide(&state, &view), Plan::default(), "nothing is due");
    view.instances.get_mut(&id("a")).unwrap().report = report(Database::Stopped(Stopped::Died));
    for name in ["b", "c"] {
        answer(&mut view, name, false);
    }
    let plan = decide(&state, &view);
    let codes: Vec<_> = plan.findings.iter().map(Finding::code).collect();
    assert_eq!(codes, ["DeadPrimary", "FailoverBlocked"]);
    assert!(!begins(&plan));
    assert_eq!(waits(&plan), [(None, "blocked")]);
    view.directives.blocked = None;
    assert!(begins(&decide(&state, &view)));

    // It keeps no standby from coming back.
    let mut view = healthy(&state);
    view.directives.blocked = Some(Blocked {
        epoch: Epoch(1),
        until: 1,
    });
    view.instances.get_mut(&id("b")).unwrap().report = report(Database::Stopped(Stopped::Died));
    let plan = decide(&state, &view);
    assert!(matches!(plan.proposals[..], [Change::BeginRejoin { .. }]));
}
