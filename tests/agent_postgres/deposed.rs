//! A leader that was deposed in the middle of a recovery and does not know it yet.

use std::time::Duration;

use primacy::duty::Outcome;
use primacy::duty::gate::Refusal;
use primacy::model::*;
use primacy::recovery::{Action, Evidence, Source};

use crate::rig::{Rig, id, order};

/// The old leader stood still after it had fenced the standby; its successor went on where the record stood. What the old
/// one had still to say comes now, on sessions that are as good as ever, and the agents refuse all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a25_the_next_step_of_a_leader_that_was_deposed_is_refused() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    rig.pair(&a, &b).await;
    let members = [a.clone(), b.clone()];

    // The old leader begins epoch 2: both promise.
    let mut end = None;
    for who in [&b, &a] {
        let outcome = rig.peer.command(who, order(2, 1), Action::Fence).await;
        let Outcome::Evidence(Evidence::Promised { promise, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        end = end.or(promise.position);
    }
    let promote = |timeline| Action::Promote {
        timeline: Timeline(timeline),
        at_least: end.unwrap(),
        synchronous_standby_names: String::new(),
        members: members.clone().into(),
    };
    // Its successor finds the candidate wanting, begins epoch 3 and elects again.
    let fenced = rig.peer.command(&b, order(3, 1), Action::Fence).await;
    assert!(matches!(fenced, Outcome::Evidence(_)), "{fenced:?}");
    rig.peer.grant(&b, order(3, 2), Duration::from_secs(10));
    let promoted = rig.peer.command(&b, order(3, 2), promote(4)).await;
    let Outcome::Evidence(Evidence::Promoted { lineage, .. }) = promoted else {
        panic!("{promoted:?}");
    };
    rig.sql(&b, "INSERT INTO t VALUES (-1)").await;
    let postmaster = rig.postmaster(&b);

    // The old leader goes on.
    let source = Source {
        instance: a.clone(),
        address: rig.config(&a).address(),
        identity: rig.peer.report(&b).unwrap().identity,
        epoch: Epoch(2),
        application_name: cluster::application_name(&b, Incarnation(1), Epoch(2)),
        lineage: lineage.clone(),
    };
    let late = [
        (order(2, 2), promote(3)),
        (order(2, 3), Action::Fence),
        (
            order(2, 4),
            Action::Follow {
                source: source.clone(),
            },
        ),
        (
            order(2, 5),
            Action::Rebuild {
                source,
                incarnation: Incarnation(9),
                keep_old: false,
            },
        ),
        // One of its successor's epoch that came before.
        (order(3, 1), Action::Fence),
    ];
    for (order_of_old, action) in late {
        let name = action.name();
        let outcome = rig.peer.command(&b, order_of_old, action).await;
        let Outcome::Refused(Refusal::Stale { promised }) = outcome else {
            panic!("{name} under {order_of_old}: {outcome:?}");
        };
        assert!(promised >= order(3, 2), "{name}: {promised}");
    }
    // Nothing of it was done.
    assert_eq!(rig.postmaster(&b), postmaster);
    assert_eq!(rig.sql(&b, "SELECT pg_is_in_recovery()").await, "f");
    assert_eq!(rig.health(&b, "GET", "/primary").await, 200);
    rig.sql(&b, "INSERT INTO t VALUES (-2)").await;
}
