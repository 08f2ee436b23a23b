//! What is taken of a switchover, and how it ends.

use std::time::Duration;

use crate::model::example::{at, cluster, id};
use crate::model::{ClusterName, Durability, Epoch, PromotionRule};
use crate::recovery::{Evidence, FenceProof, Promise};
use crate::state::example::at_rest;
use crate::state::{
    Change, Command, Directive, DirectiveCommand, Kind, NewHold, NewSwitchover, RecoveryRecord,
    State,
};

use super::*;

fn name() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

fn demo() -> State {
    let mut state = State::default();
    let demo = at_rest(cluster(
        &["a", "b", "c"],
        Durability::Quorum { standbys: 1 },
    ));
    state.clusters.insert(name(), demo);
    state
}

fn apply(state: &mut State, change: Change) -> Reply {
    state.apply(Command {
        cluster: name(),
        at: 5,
        change,
    })
}

fn record(state: &mut State, evidence: Evidence) -> Reply {
    let order = state.clusters[&name()].order();
    apply(state, Change::Record { order, evidence })
}

fn ask(state: &mut State, to: &str) -> Reply {
    let new = NewSwitchover {
        seen: state.clusters[&name()].cluster.epoch,
        to: id(to),
        length: Duration::from_secs(30),
        owner: "ana".to_owned(),
        reason: "a kernel".to_owned(),
    };
    apply(state, Change::PlanSwitchover(new))
}

fn shut_down(state: &mut State) {
    let epoch = state.clusters[&name()].cluster.epoch;
    apply(state, Change::BeginShutDown { epoch }).unwrap();
    let down = Evidence::ShutDown {
        instance: id("a"),
        position: at(2, 60),
    };
    record(state, down).unwrap();
}

fn begin(state: &mut State) {
    let seen = state.clusters[&name()].cluster.epoch;
    let cause = "a test".to_owned();
    apply(state, Change::Begin { seen, cause }).unwrap();
}

fn elect(state: &mut State, candidate: &str) {
    for who in ["a", "b", "c"] {
        let promise = Promise {
            incarnation: state.clusters[&name()].cluster.members[&id(who)]
                .incarnation
                .into(),
            position: Some(at(2, 60)),
            running: who != "a",
        };
        let instance = id(who);
        record(state, Evidence::Promised { instance, promise }).unwrap();
    }
    let counted = [id("a"), id("b"), id("c")].into();
    let proof = FenceProof::Quorum { counted };
    let candidate = id(candidate);
    record(state, Evidence::Elected { candidate, proof }).unwrap();
}

fn promote(state: &mut State, who: &str) {
    let mut lineage = state.clusters[&name()].cluster.lineage.clone();
    lineage.current = state.clusters[&name()].cluster.timeline;
    let instance = id(who);
    record(state, Evidence::Promoted { instance, lineage }).unwrap();
}

fn newest(state: &State) -> RecoveryRecord {
    let mut records = state.clusters[&name()].history.records().rev();
    let found = records.find(|record| record.kind == Kind::Switchover);
    found.expect("one was asked for").clone()
}

fn is_over(state: &State, words: &str) {
    assert_eq!(state.clusters[&name()].cluster.switchover, None);
    let outcome = newest(state).outcome.expect("it is over");
    assert!(outcome.contains(words), "{outcome}");
}

#[test]
fn what_cannot_be_done_is_not_recorded() {
    let check = |to: &str, change: &dyn Fn(&mut State)| {
        let mut state = demo();
        change(&mut state);
        let before = state.clusters[&name()].cluster.clone();
        assert!(ask(&mut state, to).is_err(), "{to}");
        assert_eq!(state.clusters[&name()].cluster, before);
    };
    check("a", &|_| {});
    check("z", &|_| {});
    check("b", &begin);
    check("b", &|state| drop(ask(state, "c")));
    let say = |state: &mut State, change| {
        state.direct(DirectiveCommand { at: 1, change }).unwrap();
    };
    let hold = || NewHold {
        length: Duration::from_secs(60),
        owner: "li".to_owned(),
        reason: "work".to_owned(),
    };
    check("b", &|state| {
        let cluster = Some(name());
        let hold = hold();
        say(state, Directive::Pause { cluster, hold });
    });
    for instance in ["a", "b"] {
        check("b", &|state| {
            let downtime = Directive::Downtime {
                cluster: name(),
                instance: id(instance),
                hold: hold(),
            };
            say(state, downtime);
        });
    }
    check("b", &|state| {
        let rule = Directive::Rule {
            cluster: name(),
            instance: id("b"),
            rule: PromotionRule::MustNot,
            length: None,
        };
        say(state, rule);
    });
}

#[test]
fn one_that_comes_to_its_candidate_is_done_and_keeps_no_failover_off() {
    let mut state = demo();
    let block = Directive::Block {
        cluster: name(),
        period: Some(Duration::from_secs(60)),
    };
    let command = DirectiveCommand {
        at: 1,
        change: block,
    };
    state.direct(command).unwrap();
    ask(&mut state, "b").unwrap();
    shut_down(&mut state);
    begin(&mut state);
    elect(&mut state, "b");
    promote(&mut state, "b");
    is_over(&state, "b is the primary");
    assert_eq!(newest(&state).entries.last().unwrap().event, "done");
    assert_eq!(state.directives.in_force(&name(), 6).blocked, None);
}

#[test]
fn one_that_does_not_says_who_is_the_primary() {
    let mut state = demo();
    ask(&mut state, "b").unwrap();
    shut_down(&mut state);
    begin(&mut state);
    elect(&mut state, "a");
    promote(&mut state, "a");
    is_over(&state, "a is the primary again: b could not be shown");
    assert_eq!(newest(&state).entries.last().unwrap().event, "gave_up");
}

/// What has begun is done even in a pause that was said later.
#[test]
fn a_handover_that_begins_first_takes_its_place_and_one_that_is_given_up_ends_it() {
    let mut state = demo();
    ask(&mut state, "b").unwrap();
    begin(&mut state);
    is_over(&state, "a handover began first: a test");

    let mut state = demo();
    ask(&mut state, "b").unwrap();
    shut_down(&mut state);
    let give_up = |epoch| Change::GiveUpSwitchover {
        epoch,
        why: "late".to_owned(),
    };
    let refused = apply(&mut state, give_up(Epoch(1)));
    assert_eq!(refused, Err(Rejection::Stale), "nobody else would begin");
    let hold = NewHold {
        length: Duration::from_secs(60),
        owner: "li".to_owned(),
        reason: "work".to_owned(),
    };
    let pause = Directive::Pause {
        cluster: None,
        hold,
    };
    let command = DirectiveCommand {
        at: 1,
        change: pause,
    };
    state.direct(command).unwrap();
    begin(&mut state);
    let abandon = Change::Abandon {
        epoch: Epoch(2),
        reason: crate::recovery::Reason::NoPrimary,
    };
    apply(&mut state, abandon).unwrap();
    // Nobody is the primary: the next election is still its own, and the pause does not hold it back.
    apply(
        &mut state,
        Change::Begin {
            seen: Epoch(2),
            cause: "a test".to_owned(),
        },
    )
    .unwrap();
    elect(&mut state, "b");
    promote(&mut state, "b");
    is_over(&state, "b is the primary");

    let mut state = demo();
    ask(&mut state, "b").unwrap();
    apply(&mut state, give_up(Epoch(1))).unwrap();
    is_over(&state, "late");
}

#[test]
fn what_was_not_told_to_shut_down_has_not_for_a_switchover() {
    let mut state = demo();
    let down = |instance| Evidence::ShutDown {
        instance,
        position: at(2, 60),
    };
    assert_eq!(
        record(&mut state, down(id("a"))),
        Err(Rejection::WrongPhase)
    );
    ask(&mut state, "b").unwrap();
    assert_eq!(
        record(&mut state, down(id("a"))),
        Err(Rejection::WrongPhase)
    );
    let epoch = Epoch(1);
    apply(&mut state, Change::BeginShutDown { epoch }).unwrap();
    assert_eq!(
        record(&mut state, down(id("b"))),
        Err(Rejection::WrongPhase)
    );
    record(&mut state, down(id("a"))).unwrap();
    let again = apply(&mut state, Change::BeginShutDown { epoch });
    assert_eq!(again, Err(Rejection::Stale));
}

/// What an earlier leader told the primary may come late: it is over only once the agent obeys that no more.
#[test]
fn one_that_is_given_up_is_over_once_the_primary_admitted_a_newer_order() {
    let mut state = demo();
    ask(&mut state, "b").unwrap();
    let epoch = Epoch(1);
    apply(&mut state, Change::BeginShutDown { epoch }).unwrap();
    let told = state.clusters[&name()].order();
    let give_up = || Change::GiveUpSwitchover {
        epoch,
        why: "late".to_owned(),
    };
    let order = apply(&mut state, give_up()).unwrap();
    assert!(order > told);
    assert!(state.clusters[&name()].cluster.switches_over());
    assert_eq!(apply(&mut state, give_up()), Err(Rejection::Stale));
    let end = |order| Change::EndSwitchover { order };
    assert_eq!(apply(&mut state, end(told)), Err(Rejection::Stale));
    let mut down = state.clone();
    apply(&mut state, end(order)).unwrap();
    is_over(&state, "late");
    assert_eq!(newest(&state).entries.last().unwrap().event, "gave_up");
    assert_eq!(apply(&mut state, end(order)), Err(Rejection::Stale));

    // One that went down before its agent knew is replaced after all.
    let evidence = Evidence::ShutDown {
        instance: id("a"),
        position: at(2, 60),
    };
    record(&mut down, evidence).unwrap();
    assert_eq!(apply(&mut down, end(order)), Err(Rejection::Stale));
    begin(&mut down);
    elect(&mut down, "b");
    promote(&mut down, "b");
    is_over(&down, "b is the primary");
}

#[test]
fn one_is_called_off_only_while_it_waits() {
    let mut state = demo();
    let call_off = |seen| Change::CallOffSwitchover { seen };
    let seen = Epoch(1);
    assert_eq!(apply(&mut state, call_off(seen)), Err(Rejection::Stale));
    ask(&mut state, "b").unwrap();
    assert_eq!(apply(&mut state, call_off(Epoch(2))), Err(Rejection::Stale));
    apply(&mut state, call_off(seen)).unwrap();
    is_over(&state, "called it off");
    assert_eq!(newest(&state).entries.last().unwrap().event, "called_off");

    ask(&mut state, "b").unwrap();
    apply(&mut state, Change::BeginShutDown { epoch: seen }).unwrap();
    assert_eq!(
        apply(&mut state, call_off(seen)),
        Err(Rejection::WrongPhase)
    );
    assert!(state.clusters[&name()].cluster.switches_over());
}
