//! When a handover begins, and what it waits for.

use std::time::Duration;

use super::super::{Plan, decide};
use super::*;
use crate::model::example::{at, cluster, id, order, primary, report, standby, view};
use crate::model::{
    Answer, Database, DiskTrouble, Failure, Incarnation, Order, Stopped, Timestamp,
};
use crate::state::example::at_rest;

/// `a` is primary of three, and both others would promise.
fn example(durability: Durability) -> (ClusterState, View) {
    let state = at_rest(cluster(&["a", "b", "c"], durability));
    let of = |name| standby(&state.cluster, name, at(2, 50));
    let a = primary(&state.cluster, "a");
    let mut view = view([("a", a), ("b", of("b")), ("c", of("c"))]);
    for name in ["b", "c"] {
        answers(&mut view, name, false);
    }
    (state, view)
}

fn answers(view: &mut View, name: &str, hears_primary: bool) {
    let answer = Answer {
        epoch: order(2, 0).epoch,
        would_promise: true,
        hears_primary,
        incarnation: Some(Incarnation(1)),
    };
    let now = view.now;
    view.instances.get_mut(&id(name)).unwrap().answer = Some((now, answer));
}

fn fill_disk(view: &mut View, name: &str, seconds: u64) {
    view.instances.get_mut(&id(name)).unwrap().report.disk = Some(DiskTrouble {
        lasts: Duration::from_secs(seconds),
        still_for: Duration::ZERO,
        refusal: Some("no space left".to_owned()),
    });
}

fn silence_server(view: &mut View, seconds: u64) {
    let silent_for = Duration::from_secs(seconds);
    let database = Database::Unresponsive { silent_for };
    view.instances.get_mut(&id("a")).unwrap().report = report(database);
}

fn begins(plan: &Plan) -> bool {
    let is_begin = |change: &Change| matches!(change, Change::Begin { .. });
    plan.proposals.iter().any(is_begin)
}

const QUORUM: Durability = Durability::Quorum { standbys: 1 };

#[test]
fn a_primary_with_a_full_disk_is_replaced_whoever_hears_it() {
    for durability in [QUORUM, Durability::Async] {
        let (state, mut view) = example(durability);
        for name in ["b", "c"] {
            answers(&mut view, name, true);
        }
        fill_disk(&mut view, "a", 4);
        assert_eq!(decide(&state, &view), Plan::default(), "it may be busy");
        fill_disk(&mut view, "a", 5);
        let plan = decide(&state, &view);
        assert_eq!(plan.findings[0].code(), "StalledPrimary");
        let says = plan.findings[0].to_string();
        assert!(says.contains("primary a") && says.contains("no space left"));
        assert!(begins(&plan), "{durability}");
    }
}

#[test]
fn nobody_is_fenced_for_standbys_that_could_not_write_either() {
    let (state, mut view) = example(QUORUM);
    fill_disk(&mut view, "a", 9);
    fill_disk(&mut view, "b", 1);
    let plan = decide(&state, &view);
    assert!(!begins(&plan), "b and c are needed");
    assert!(matches!(plan.waiting[0].1, Reason::NotProven { .. }));
    let (state, mut view) = example(Durability::Async);
    fill_disk(&mut view, "a", 9);
    fill_disk(&mut view, "b", 1);
    assert!(begins(&decide(&state, &view)), "c is enough");
    fill_disk(&mut view, "c", 1);
    assert!(!begins(&decide(&state, &view)));
}

#[test]
fn a_standby_with_a_full_disk_is_only_reported() {
    let (state, mut view) = example(QUORUM);
    fill_disk(&mut view, "b", 9);
    let plan = decide(&state, &view);
    assert_eq!(plan.findings.len(), 1);
    assert_eq!(
        (plan.findings[0].code(), begins(&plan)),
        ("FailingDisk", false)
    );
}

#[test]
fn a_frozen_server_is_replaced_once_its_standbys_hear_nothing() {
    for durability in [QUORUM, Durability::Async] {
        let (state, mut view) = example(durability);
        answers(&mut view, "a", false);
        silence_server(&mut view, 2);
        let plan = decide(&state, &view);
        assert_eq!(plan.findings[0].code(), "UnresponsivePrimary");
        assert!(!begins(&plan), "one look may have failed");
        silence_server(&mut view, 3);
        answers(&mut view, "b", true);
        let plan = decide(&state, &view);
        let vetoed = Reason::Vetoed { by: vec![id("b")] };
        assert_eq!(plan.waiting, [(None, vetoed)]);
        answers(&mut view, "b", false);
        assert!(begins(&decide(&state, &view)), "{durability}");
    }
}

#[test]
fn a_frozen_server_is_left_when_nobody_could_take_its_place() {
    let (state, mut view) = example(Durability::Async);
    silence_server(&mut view, 9);
    answers(&mut view, "a", false);
    for name in ["b", "c"] {
        view.instances.get_mut(&id(name)).unwrap().connected = false;
    }
    assert!(!begins(&decide(&state, &view)));
}

#[test]
fn an_agent_whose_disk_hangs_owes_no_answer() {
    let (state, mut view) = example(Durability::Async);
    fill_disk(&mut view, "a", 9);
    assert!(begins(&decide(&state, &view)));
    // It hangs itself, and repeats what it said last.
    let (state, mut view) = example(Durability::Async);
    assert_eq!(decide(&state, &view), Plan::default());
    view.leases_lapse_at = Timestamp(view.now.0 - 1);
    let plan = decide(&state, &view);
    assert_eq!(plan.findings[0].code(), "DeadPrimary");
    assert!(begins(&plan));
}

fn fails(view: &mut View, name: &str, order: Order, ago: u64) {
    let failure = Failure {
        order,
        at: Timestamp(view.now.0 - ago),
        reason: "ask brought no outcome within 400 ms".to_owned(),
        backs: false,
    };
    view.instances.get_mut(&id(name)).unwrap().failure = Some(failure);
}

fn forgets(view: &mut View, name: &str) {
    view.instances.get_mut(&id(name)).unwrap().answer = None;
}

#[test]
fn who_is_asked_in_vain_is_not_waited_for() {
    let (state, mut view) = example(Durability::Async);
    view.instances.get_mut(&id("a")).unwrap().report = report(Database::Stopped(Stopped::Died));
    answers(&mut view, "a", false);
    forgets(&mut view, "c");
    assert_eq!(decide(&state, &view).waiting, [(None, Reason::Asking)]);
    fails(&mut view, "c", order(1, 4), 0);
    assert!(!begins(&decide(&state, &view)), "that was another question");
    fails(&mut view, "c", state.order(), 5_000);
    assert!(!begins(&decide(&state, &view)), "that is long ago");
    fails(&mut view, "c", state.order(), 100);
    assert!(begins(&decide(&state, &view)));
    // It has answered within its time, so what failed then was something else.
    answers(&mut view, "c", false);
    let c = view.instances.get_mut(&id("c")).unwrap();
    c.answer.as_mut().unwrap().0 = Timestamp(view.now.0 - 510);
    assert!(!begins(&decide(&state, &view)));
}

#[test]
fn who_is_asked_in_vain_shields_no_frozen_server() {
    for durability in [QUORUM, Durability::Async] {
        let (state, mut view) = example(durability);
        silence_server(&mut view, 3);
        answers(&mut view, "a", false);
        forgets(&mut view, "c");
        assert_eq!(decide(&state, &view).waiting, [(None, Reason::Asking)]);
        fails(&mut view, "c", state.order(), 100);
        assert!(begins(&decide(&state, &view)), "{durability}");
    }
}

#[test]
fn a_veto_that_nobody_can_be_asked_for_ends_with_the_lease() {
    let (state, mut view) = example(Durability::Async);
    for name in ["a", "c"] {
        view.instances.get_mut(&id(name)).unwrap().connected = false;
    }
    view.looks.insert(id("a"), (view.now, 0));
    let by = vec![id("a")];
    let waits = Reason::LeaseMayBeHeld { by };
    assert_eq!(decide(&state, &view).waiting, [(None, waits.clone())]);
    view.instances.get_mut(&id("c")).unwrap().connected = true;
    forgets(&mut view, "c");
    assert_eq!(decide(&state, &view).waiting, [(None, Reason::Asking)]);
    fails(&mut view, "c", state.order(), 100);
    assert_eq!(decide(&state, &view).waiting, [(None, waits)]);
    view.leases_lapse_at = Timestamp(view.now.0 - 1);
    assert!(begins(&decide(&state, &view)));
}
