//! Transitions that no healthy database causes, so that no simulation shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::example::{at, id};
use crate::model::{
    Address, ClusterName, Durability, Epoch, Incarnation, InstanceId, Lineage, Lsn, PlannedStop,
    Reads, Standing, SystemIdentifier, Timeline, WalPosition, Zone,
};
use crate::recovery::{Evidence, FenceProof, Handover, Promise, Rejection};

use super::{Change, ClusterState, Command, NewCluster, Reply, State, command::NewMember};

fn name() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

fn apply(state: &mut State, change: Change) -> Reply {
    state.apply(Command {
        cluster: name(),
        at: 0,
        change,
    })
}

fn demo(state: &State) -> &ClusterState {
    &state.clusters[&name()]
}

fn record(state: &mut State, evidence: Evidence) -> Reply {
    let order = demo(state).order();
    apply(state, Change::Record { order, evidence })
}

/// A cluster of three whose primary `a` was just created, every member a voter.
fn created() -> State {
    let address = |port| Address {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let members = ["a", "b", "c"].map(|name| {
        let member = NewMember {
            address: address(5432),
            health: address(8008),
            zone: Zone::new("z").unwrap(),
        };
        (id(name), member)
    });
    let mut state = State::default();
    let new = NewCluster {
        durability: Durability::Quorum { standbys: 1 },
        reads: Reads::Fast,
        members: BTreeMap::from(members),
        first: id("a"),
    };
    apply(&mut state, Change::Create(new)).unwrap();
    let initialised = Evidence::Initialised {
        instance: id("a"),
        identity: SystemIdentifier(1),
        position: at(1, 10),
    };
    record(&mut state, initialised).unwrap();
    let cluster = &mut state.clusters.get_mut(&name()).unwrap().cluster;
    for member in cluster.members.values_mut() {
        member.standing = Standing::Voter;
        member.incarnation = Incarnation(1);
    }
    state
}

fn begin(state: &mut State) {
    let change = Change::Begin {
        seen: demo(state).cluster.epoch,
        cause: "a test".to_owned(),
    };
    apply(state, change).unwrap();
}

fn promise(state: &mut State, who: &str, position: WalPosition) {
    let promise = Promise {
        incarnation: Some(Incarnation(1)),
        position: Some(position),
        running: true,
    };
    let instance = id(who);
    record(state, Evidence::Promised { instance, promise }).unwrap();
}

fn elect(state: &mut State, candidate: &str, counted: &[&str]) -> Reply {
    let proof = FenceProof::Quorum {
        counted: counted.iter().map(|name| id(name)).collect(),
    };
    let candidate = id(candidate);
    record(state, Evidence::Elected { candidate, proof })
}

fn promoted(who: InstanceId, timeline: Timeline, left: WalPosition) -> Evidence {
    let lineage = Lineage {
        current: timeline,
        left_at: BTreeMap::from([(Timeline(1), Lsn(10)), (left.timeline, left.lsn)]),
    };
    let instance = who;
    Evidence::Promoted { instance, lineage }
}

#[test]
fn two_decisions_on_one_epoch_begin_one_handover() {
    let mut state = created();
    record(&mut state, promoted(id("a"), Timeline(2), at(1, 10))).unwrap();
    let seen = demo(&state).cluster.epoch;
    let decided = |seen, cause: &str| Change::Begin {
        seen,
        cause: cause.to_owned(),
    };
    apply(&mut state, decided(seen, "silent")).unwrap();
    let begun = state.clone();
    // The second time it is put in other words, or by who has applied the first.
    for again in [
        decided(seen, "silent, lease ended"),
        decided(seen.next(), "silent"),
    ] {
        assert_eq!(apply(&mut state, again), Err(Rejection::Stale));
    }
    assert_eq!(state, begun);
}

const WHY: &str = "b opened timeline 3; elected was timeline 3 with all WAL up to 2:0/32";

#[test]
fn a_promotion_of_other_data_ends_the_handover_and_never_counts_again() {
    let mut state = created();
    let first = promoted(id("a"), Timeline(2), at(1, 10));
    record(&mut state, first).unwrap();
    begin(&mut state);
    promise(&mut state, "b", at(2, 50));
    promise(&mut state, "c", at(2, 50));
    elect(&mut state, "b", &["b", "c"]).unwrap();
    let (epoch, timeline) = (demo(&state).cluster.epoch, demo(&state).cluster.timeline);

    let short = promoted(id("b"), timeline, at(2, 40));
    record(&mut state, short).unwrap();

    let after = demo(&state);
    assert_eq!(after.handover, None);
    assert_eq!(after.cluster.primary, None);
    assert_eq!(after.cluster.epoch, epoch);
    let outcome = after.history.records().next_back().unwrap().outcome.clone();
    assert_eq!(outcome, Some(WHY.to_owned()));
    begin(&mut state);
    assert_eq!(demo(&state).cluster.epoch, Epoch(epoch.0 + 1));
    // By its timeline it would be the best of all.
    promise(&mut state, "b", at(3, 45));
    promise(&mut state, "c", at(2, 50));
    let refused = elect(&mut state, "b", &["b", "c"]);
    assert!(
        matches!(refused, Err(Rejection::Unproven(_))),
        "{refused:?}"
    );
    promise(&mut state, "a", at(2, 50));
    elect(&mut state, "c", &["a", "c"]).unwrap();
    let handover = demo(&state).handover.as_ref();
    assert!(matches!(handover, Some(Handover::Promoting { .. })));
}

#[test]
fn a_promise_is_recorded_once() {
    let mut state = created();
    let first = promoted(id("a"), Timeline(2), at(1, 10));
    record(&mut state, first).unwrap();
    begin(&mut state);
    let promised = |position| Evidence::Promised {
        instance: id("b"),
        promise: Promise {
            incarnation: Some(Incarnation(1)),
            position,
            running: true,
        },
    };
    record(&mut state, promised(None)).unwrap();
    let before = state.clone();
    let again = record(&mut state, promised(None));
    assert!(matches!(again, Err(Rejection::Exists(_))), "{again:?}");
    assert_eq!(state, before);
    // A later one is the better one: the end of the WAL could be found now.
    let position = Some(at(2, 50));
    record(&mut state, promised(position)).unwrap();
    let Some(Handover::Fencing { promises }) = &demo(&state).handover else {
        panic!("nobody is elected yet")
    };
    assert_eq!(promises[&id("b")].position, position);
}

#[test]
fn the_first_primary_is_never_set_aside_because_nobody_else_has_data() {
    let mut state = created();
    let cluster = &mut state.clusters.get_mut(&name()).unwrap().cluster;
    for name in ["b", "c"] {
        cluster.members.get_mut(&id(name)).unwrap().standing = Standing::Recovering;
    }
    let short = promoted(id("a"), Timeline(2), at(1, 9));
    record(&mut state, short).unwrap();
    let after = demo(&state);
    assert_eq!((&after.handover, &after.cluster.primary), (&None, &None));
    begin(&mut state);
    promise(&mut state, "a", at(2, 12));
    let elected = Evidence::Elected {
        candidate: id("a"),
        proof: FenceProof::OldPrimaryPromised,
    };
    record(&mut state, elected).unwrap();
}

#[test]
fn it_is_said_when_too_few_are_left_to_elect_anybody() {
    let mut state = created();
    let first = promoted(id("a"), Timeline(2), at(1, 10));
    record(&mut state, first).unwrap();
    for (who, timeline) in [("b", 3), ("c", 4)] {
        begin(&mut state);
        promise(&mut state, "a", at(2, 50));
        promise(&mut state, who, at(2, 50));
        elect(&mut state, who, &["a", who]).unwrap();
        let short = promoted(id(who), Timeline(timeline), at(2, 40));
        record(&mut state, short).unwrap();
    }
    let newest = demo(&state).history.records().next_back().unwrap();
    let outcome = newest.outcome.as_deref().unwrap();
    assert!(outcome.ends_with("from 1 of 2 voters needed"), "{outcome}");
}

fn plan_stop(state: &mut State, who: &str, length: u64) -> Reply {
    let change = Change::PlanStop {
        instance: id(who),
        order: demo(state).elected,
        length: Duration::from_secs(length),
    };
    apply(state, change)
}

#[test]
fn a_planned_stop_stands_until_it_is_ended_or_another_is_elected() {
    let mut state = created();
    let refused = plan_stop(&mut state, "a", 60);
    assert_eq!(refused, Err(Rejection::WrongPhase), "not promoted yet");
    let first = promoted(id("a"), Timeline(2), at(1, 10));
    record(&mut state, first).unwrap();
    assert_eq!(plan_stop(&mut state, "b", 60), Err(Rejection::Stale));
    let too_long = plan_stop(&mut state, "a", 61);
    assert!(
        matches!(too_long, Err(Rejection::Invalid(_))),
        "{too_long:?}"
    );
    assert_eq!(demo(&state).cluster.planned_stop, None);

    let earlier = plan_stop(&mut state, "a", 60).unwrap();
    let order = plan_stop(&mut state, "a", 60).unwrap();
    assert!(earlier > demo(&state).elected && order > earlier);
    let late = apply(&mut state, Change::EndStop { order: earlier });
    assert_eq!(late, Err(Rejection::Stale));
    let recorded = |state: &State| demo(state).cluster.planned_stop.clone();
    let of = |stop: PlannedStop| (stop.instance, stop.order);
    assert_eq!(recorded(&state).map(of), Some((id("a"), order)));
    apply(&mut state, Change::EndStop { order }).unwrap();
    assert_eq!(recorded(&state), None);

    plan_stop(&mut state, "a", 60).unwrap();
    begin(&mut state);
    assert!(recorded(&state).is_some(), "its lease may still be held");
    assert_eq!(plan_stop(&mut state, "a", 60), Err(Rejection::Stale));
    promise(&mut state, "b", at(2, 50));
    promise(&mut state, "c", at(2, 50));
    assert!(recorded(&state).is_some());
    elect(&mut state, "b", &["b", "c"]).unwrap();
    assert_eq!(recorded(&state), None);
}

/// A cluster that is being created with `a`, and `b`.
fn creating(state: &mut State, name: &str, port: u16) {
    let address = |port| Address {
        host: name.to_owned(),
        port,
    };
    let member = |port| NewMember {
        address: address(port),
        health: address(8008),
        zone: Zone::new("z").unwrap(),
    };
    let new = NewCluster {
        durability: Durability::Async,
        reads: Reads::Fast,
        members: [(id("a"), member(port)), (id("b"), member(port + 1))].into(),
        first: id("a"),
    };
    let command = Command {
        cluster: ClusterName::new(name).unwrap(),
        at: 0,
        change: Change::Create(new),
    };
    state.apply(command).unwrap();
}

fn take_over(state: &mut State, name: &str, serves: bool) -> Reply {
    let cluster = ClusterName::new(name).unwrap();
    let order = state.clusters[&cluster].order();
    let evidence = Evidence::TakenOver {
        instance: id("a"),
        identity: SystemIdentifier(9),
        position: at(5, 50),
        serves,
    };
    let change = Change::Record { order, evidence };
    state.apply(Command {
        cluster,
        at: 0,
        change,
    })
}

#[test]
fn a_database_that_serves_goes_on_where_it_is_and_one_at_rest_is_promoted() {
    for (serves, timeline) in [(true, 5), (false, 6)] {
        let mut state = State::default();
        creating(&mut state, "x", 1);
        take_over(&mut state, "x", serves).unwrap();
        let cluster = &state.clusters.values().next().unwrap().cluster;
        assert_eq!(cluster.timeline, Timeline(timeline));
        assert_eq!(cluster.identity, Some(SystemIdentifier(9)));
        assert_eq!(cluster.primary, Some(id("a")));
        // Nobody else counts before it holds what the primary has.
        let voters = cluster.members.iter();
        let voters = voters.filter(|(_, it)| it.standing == Standing::Voter);
        assert_eq!(
            voters.map(|(id, _)| id.clone()).collect::<Vec<_>>(),
            [id("a")]
        );
    }
}

#[test]
fn a_database_belongs_to_one_cluster() {
    let mut state = State::default();
    creating(&mut state, "x", 1);
    creating(&mut state, "y", 1);
    take_over(&mut state, "x", true).unwrap();
    let refused = take_over(&mut state, "y", true).unwrap_err().to_string();
    assert!(refused.contains("that of cluster x"), "{refused}");
}
