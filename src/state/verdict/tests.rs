use std::collections::BTreeMap;

use super::*;
use crate::model::example::{at, cluster, id};
use crate::model::{Epoch, Incarnation, Lineage, Lsn, Timeline};
use crate::recovery::{Evidence, Grounds};
use crate::state::example::at_rest;
use crate::state::{Change, Command, FeatureLevel, RecoveryRecord, Reply, State};

fn promise(position: Option<WalPosition>, filling: u32) -> Promise {
    Promise {
        incarnation: Some(Incarnation(filling)),
        position,
        running: false,
    }
}

#[test]
fn what_is_lost_is_told_by_what_was_read_of_the_old_primary() {
    let names = ["a", "b", "c"];
    let quorum = cluster(&names, Durability::Quorum { standbys: 1 });
    let asynchronous = cluster(&names, Durability::Async);
    let counted = [id("b"), id("c")].into();
    let proven = FenceProof::Quorum { counted };
    let forced = FenceProof::Forced {
        counted: [id("b")].into(),
    };
    let nobody = || None;
    let unknown = "unknown how much, until a is back: what it alone had";
    for (cluster, proof, of_a, told) in [
        (&quorum, &proven, nobody(), "rpo = 0, proven by b and c"),
        (
            &quorum,
            &FenceProof::OldPrimaryPromised,
            nobody(),
            "rpo = 0, proven by b",
        ),
        (&quorum, &forced, nobody(), unknown),
        (&asynchronous, &FenceProof::LeaseLapsed, nobody(), unknown),
        (
            &asynchronous,
            &FenceProof::LeaseLapsed,
            Some(promise(None, 1)),
            unknown,
        ),
        // It holds other data than it was the primary with.
        (
            &asynchronous,
            &FenceProof::LeaseLapsed,
            Some(promise(Some(at(2, 50)), 9)),
            unknown,
        ),
        (
            &asynchronous,
            &FenceProof::OldPrimaryPromised,
            Some(promise(Some(at(2, 50)), 1)),
            "rpo = 0, proven by a",
        ),
        (
            &asynchronous,
            &FenceProof::OldPrimaryPromised,
            Some(promise(Some(at(2, 74)), 1)),
            "at most 24 bytes, between 2:0/32 and 2:0/4A",
        ),
    ] {
        let mut cluster = cluster.clone();
        cluster.holders = [id("a")].into();
        let promises: BTreeMap<_, _> = of_a.into_iter().map(|it| (id("a"), it)).collect();
        let elected = Elected {
            candidate: &id("b"),
            position: at(2, 50),
            proof,
            promises: &promises,
        };
        assert_eq!(elected.verdict(&cluster).to_string(), told, "{proof:?}");
    }
}

fn apply(state: &mut State, change: Change) -> Reply {
    state.apply(Command {
        cluster: state.clusters.keys().next().unwrap().clone(),
        at: 0,
        change,
    })
}

fn record(state: &mut State, evidence: Evidence) {
    let order = state.clusters.values().next().unwrap().order();
    apply(state, Change::Record { order, evidence }).unwrap();
}

fn first(state: &State) -> &RecoveryRecord {
    let cluster = state.clusters.values().next().unwrap();
    cluster.history.records().next().unwrap()
}

/// An async cluster whose primary `a` is silent: `b` is elected once the leases have ended, and serves.
fn failed_over(level: u32) -> State {
    let mut cluster = cluster(&["a", "b"], Durability::Async);
    cluster.holders = [id("a")].into();
    let mut state = State {
        level: FeatureLevel::try_from(level).unwrap(),
        ..State::default()
    };
    let seen: Epoch = cluster.epoch;
    state
        .clusters
        .insert(cluster.name.clone(), at_rest(cluster));
    let cause = "silent".to_owned();
    apply(&mut state, Change::Begin { seen, cause }).unwrap();
    let filling = state.clusters.values().next().unwrap().cluster.members[&id("b")].incarnation;
    record(
        &mut state,
        Evidence::Promised {
            instance: id("b"),
            promise: promise(Some(at(2, 50)), filling.0),
        },
    );
    record(
        &mut state,
        Evidence::Elected {
            candidate: id("b"),
            proof: FenceProof::LeaseLapsed,
        },
    );
    let current = state.clusters.values().next().unwrap().cluster.timeline;
    let lineage = Lineage {
        current,
        left_at: [(Timeline(1), Lsn(1)), (Timeline(2), Lsn(50))].into(),
    };
    let instance = id("b");
    record(&mut state, Evidence::Promoted { instance, lineage });
    state
}

/// Has `a` come back.
fn rejoined(state: &mut State, evidence: &[Evidence]) {
    let epoch = state.clusters.values().next().unwrap().cluster.epoch;
    let begin = Change::BeginRejoin {
        epoch,
        instance: id("a"),
        cause: "back".to_owned(),
    };
    apply(state, begin).unwrap();
    for it in evidence {
        record(state, it.clone());
    }
}

#[test]
fn what_was_lost_is_known_once_the_old_primary_is_back() {
    let state = failed_over(4);
    let told = "unknown how much, until a is back: what it alone had";
    assert_eq!(first(&state).verdict(), Some(told));
    assert_eq!(first(&state).outcome.as_deref(), Some("a primary serves"));
    // It is in the snapshot.
    let sealed = raft::seal(&state).unwrap();
    let mut state: State = raft::unseal(&sealed, sealed.len()).unwrap();
    let diverged = Evidence::CannotFollow {
        instance: id("a"),
        why: "it diverged".to_owned(),
    };
    let permitted = Evidence::RebuildPermitted {
        instance: id("a"),
        grounds: Grounds::KeptAside,
    };
    let filling = state.clusters.values().next().unwrap().cluster.members[&id("a")].incarnation;
    let rebuilt = Evidence::RebuiltKeeping {
        instance: id("a"),
        incarnation: filling.next(),
        kept: "its WAL is kept in /x".to_owned(),
        apart: Some(Apart {
            from: at(2, 50),
            to: at(2, 90),
        }),
    };
    rejoined(&mut state, &[diverged, permitted, rebuilt]);
    let told = "at most 40 bytes, between 2:0/32 and 2:0/5A";
    assert_eq!(first(&state).verdict(), Some(told));
    assert_eq!(first(&state).outcome.as_deref(), Some("a primary serves"));
    let cluster = state.clusters.values().next().unwrap();
    assert_eq!(cluster.cluster.loss, None);
    let rejoin = cluster.history.records().last().unwrap();
    let kept = rejoin.entries.iter().find(|it| it.event == "kept").unwrap();
    assert_eq!(kept.detail, "its WAL is kept in /x");
}

#[test]
fn an_old_primary_that_follows_had_nothing_of_its_own() {
    let mut state = failed_over(4);
    rejoined(&mut state, &[Evidence::Following { instance: id("a") }]);
    assert_eq!(first(&state).verdict(), Some("rpo = 0, proven by a"));
}

#[test]
fn a_recovery_with_no_room_for_another_entry_still_gets_its_verdict() {
    let mut state = failed_over(4);
    let cluster = state.clusters.values_mut().next().unwrap();
    let full = cluster.history.records().next().unwrap().id;
    for n in 0..200 {
        cluster.history.amend_handover(n, "noted", "again");
    }
    let entries = first(&state).entries.len();
    rejoined(&mut state, &[Evidence::Following { instance: id("a") }]);
    assert_eq!(first(&state).id, full);
    assert_eq!(first(&state).verdict(), Some("rpo = 0, proven by a"));
    assert_eq!(first(&state).entries.len(), entries);
}

/// Peers of an older build would write another history.
#[test]
fn below_its_level_nothing_is_judged() {
    let mut state = failed_over(3);
    rejoined(&mut state, &[Evidence::Following { instance: id("a") }]);
    assert_eq!(first(&state).verdict(), None);
    assert_eq!(first(&state).outcome.as_deref(), Some("a primary serves"));
}

#[test]
fn what_was_replaced_unread_is_never_known() {
    for keeps in [false, true] {
        let mut state = failed_over(4);
        let instance = id("a");
        let diverged = Evidence::CannotFollow {
            instance: instance.clone(),
            why: "its folder is empty".to_owned(),
        };
        let permitted = Evidence::RebuildPermitted {
            instance: instance.clone(),
            grounds: Grounds::KeptAside,
        };
        let members = &state.clusters.values().next().unwrap().cluster.members;
        let incarnation = members[&instance].incarnation.next();
        let rebuilt = match keeps {
            false => Evidence::Rebuilt {
                instance,
                incarnation,
            },
            true => Evidence::RebuiltKeeping {
                instance,
                incarnation,
                kept: "its old data is kept in /x".to_owned(),
                apart: None,
            },
        };
        rejoined(&mut state, &[diverged, permitted, rebuilt]);
        // Whatever it follows with later was copied.
        let cluster = state.clusters.values_mut().next().unwrap();
        assert_eq!(cluster.cluster.loss, None);
        let told = "unknown how much, until a is back: what it alone had";
        assert_eq!(first(&state).verdict(), Some(told));
    }
}
