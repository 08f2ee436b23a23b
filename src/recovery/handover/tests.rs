//! When a handover goes on, waits or makes way for another.

use std::time::Duration;

use super::*;
use crate::model::example::{at, cluster, id, order, primary, report, standby, view};
use crate::model::{DiskTrouble, Durability};

fn fill_disk(view: &mut View, name: &str, seconds: u64) {
    view.instances.get_mut(&id(name)).unwrap().report.disk = Some(DiskTrouble {
        lasts: Duration::from_secs(seconds),
        still_for: Duration::ZERO,
        refusal: Some("no space left".to_owned()),
    });
}

/// `b` of three is to be promoted, and `c` promised as well.
fn promoting(cluster: &Cluster, c_has: u64) -> (Handover, View) {
    let handover = Handover::Promoting {
        candidate: id("b"),
        position: at(2, 50),
        proof: FenceProof::Quorum {
            counted: BTreeSet::from([id("b"), id("c")]),
        },
        followers: BTreeSet::from([id("c")]),
    };
    let view = view([
        ("b", standby(cluster, "b", at(2, 50))),
        ("c", standby(cluster, "c", at(2, c_has))),
    ]);
    (handover, view)
}

#[test]
fn a_candidate_without_a_disk_makes_way_for_an_equal_one() {
    let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let gives_up =
        |handover: &Handover, view: &View| match handover.next(&cluster, order(2, 4), view) {
            Next::GiveUp(Reason::CannotPromote { instance, why }) => {
                assert_eq!(instance, id("b"));
                assert!(why.contains("no space left"), "{why}");
                true
            }
            Next::Run(steps) => {
                assert_eq!(steps[0].action.name(), "promote");
                false
            }
            other => panic!("{other:?}"),
        };
    let (handover, mut view) = promoting(&cluster, 50);
    fill_disk(&mut view, "b", 4);
    assert!(!gives_up(&handover, &view), "it may be busy");
    fill_disk(&mut view, "b", 5);
    assert!(gives_up(&handover, &view));
    fill_disk(&mut view, "c", 1);
    assert!(!gives_up(&handover, &view), "c could not write either");
    let (handover, mut view) = promoting(&cluster, 49);
    fill_disk(&mut view, "b", 5);
    assert!(!gives_up(&handover, &view), "b would be elected again");
}

#[test]
fn repointing_ends_with_its_primary_and_says_how() {
    let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let handover = Handover::Repointing {
        pending: BTreeSet::from([id("c")]),
    };
    let mut view = view([
        ("a", primary(&cluster, "a")),
        ("c", standby(&cluster, "c", at(2, 50))),
    ]);
    let next = |view: &View| handover.next(&cluster, order(1, 4), view);
    assert!(matches!(next(&view), Next::Run(_)));
    let silent_for = Duration::from_secs(1);
    let a = |view: &mut View, database| {
        view.instances.get_mut(&id("a")).unwrap().report = report(database);
    };
    a(&mut view, Database::Unresponsive { silent_for });
    assert_eq!(next(&view), Next::GiveUp(Reason::NoPrimary));
    view.instances.get_mut(&id("a")).unwrap().connected = false;
    let instance = id("a");
    assert_eq!(next(&view), Next::GiveUp(Reason::Silent { instance }));
}

/// A cluster that begins with `a`, which offers a database, and what the members say.
fn created(durability: Durability) -> Cluster {
    let mut cluster = cluster(&["a", "b", "c"], durability);
    (cluster.identity, cluster.primary) = (None, None);
    cluster
}

fn offered(mut report: Report) -> Report {
    report.incarnation = None;
    report
}

#[test]
fn a_cluster_begins_with_the_database_that_was_offered() {
    let quorum = created(Durability::Quorum { standbys: 1 });
    let handover = Handover::Creating { instance: id("a") };
    let next = |view: &View| handover.next(&quorum, order(1, 0), view);
    let does = |next: Next, action: &str| match next {
        Next::Run(steps) => assert_eq!(steps[0].action.name(), action),
        other => panic!("{other:?}"),
    };
    let mut empty = report(Database::Absent);
    (empty.identity, empty.incarnation) = (None, None);
    does(next(&view([("a", empty.clone())])), "initialise");
    let a = || offered(primary(&quorum, "a"));
    let b = || offered(standby(&quorum, "b", at(2, 50)));
    let waits = next(&view([("a", a())]));
    let missing = Reason::StandbysNotOffered {
        offered: 0,
        needed: 1,
    };
    assert_eq!(waits, Next::Wait(missing), "commits would wait");
    does(next(&view([("a", a()), ("b", b())])), "take over");
    let mut other = b();
    other.identity = Some(crate::model::SystemIdentifier(7));
    assert!(matches!(
        next(&view([("a", a()), ("b", other)])),
        Next::Wait(_)
    ));
    // What does not run starts under the rule anyway.
    let stopped = offered(report(Database::Stopped(crate::model::Stopped::Found)));
    does(next(&view([("a", stopped)])), "take over");
    let asynchronous = created(Durability::Async);
    let alone = handover.next(&asynchronous, order(1, 0), &view([("a", a())]));
    does(alone, "take over");
    let elsewhere = next(&view([("a", empty), ("b", b())]));
    assert!(matches!(
        elsewhere,
        Next::Wait(Reason::OfferedElsewhere { .. })
    ));
}

#[test]
fn the_first_primary_is_waited_for() {
    let cluster = created(Durability::Async);
    let handover = Handover::Promoting {
        candidate: id("a"),
        position: at(2, 50),
        proof: FenceProof::Created,
        followers: BTreeSet::new(),
    };
    let silent = handover.next(&cluster, order(1, 1), &view([]));
    assert!(
        matches!(silent, Next::Wait(Reason::Silent { .. })),
        "{silent:?}"
    );
}
