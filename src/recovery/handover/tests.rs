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
