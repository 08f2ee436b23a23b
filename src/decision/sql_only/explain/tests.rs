use super::*;
use crate::model::example::{self, at, id};
use crate::model::{
    Address, FenceDemand, HookStage, Position, SourceFacts, SqlCluster, SqlCopy, SyncRule, Timeline,
};

const NOW: Timestamp = Timestamp(10_000);

fn state(cluster: SqlCluster) -> SqlState {
    SqlState {
        cluster,
        adopted_at: 1,
        number: 1,
        handover: None,
        quieted: None,
        history: History::default(),
    }
}

fn look(view: &mut SqlView, name: &str, facts: InstanceFacts) {
    let known = view.instances.entry(id(name)).or_default();
    known.note(Look {
        at: NOW,
        outcome: Outcome::Facts(facts.into()),
    });
}

fn standby(name: &str, of: &str, end: WalPosition) -> InstanceFacts {
    let mut facts = example::facts(name);
    facts.role = Role::Standby;
    facts.status.io_thread_running = true;
    facts.status.receiver_silent_for_ms = Some(5);
    facts.status.received = Some(Position::Wal(end));
    facts.status.applied = Some(Position::Wal(end));
    facts.timeline = Some(end.timeline);
    facts.source = Some(SourceFacts {
        address: Address {
            host: of.to_owned(),
            port: 5432,
        },
        application_name: name.to_owned(),
        user: String::new(),
        slot: None,
    });
    facts
}

fn primary(end: WalPosition) -> InstanceFacts {
    let mut facts = example::facts("p");
    facts.timeline = Some(end.timeline);
    facts.status.applied = Some(Position::Wal(end));
    facts
}

/// `p` has written up to 50; `s1` and `s2`, for any one of which commits wait, have received 40 and 45 of it.
fn healthy() -> (SqlState, SqlView) {
    let mut view = SqlView {
        now: NOW,
        peers: 3,
        ..SqlView::default()
    };
    look(&mut view, "p", primary(at(1, 50)));
    look(&mut view, "s1", standby("s1", "p", at(1, 40)));
    look(&mut view, "s2", standby("s2", "p", at(1, 45)));
    (state(example::sql_cluster(&["p", "s1", "s2"])), view)
}

fn asked(state: &SqlState, view: &SqlView) -> Explanation<SqlReason> {
    failover(state, view, &Programs::default())
}

/// What is in the way of this one.
fn obstacle<Why>(said: &Explanation<Why>, name: &str) -> Option<String> {
    let mut all = said.candidates.iter();
    let of = all.find(|it| it.instance == id(name)).unwrap();
    of.obstacle.clone()
}

#[test]
fn a_healthy_cluster_says_to_whom_and_what_is_lost() {
    let (mut state, view) = healthy();
    let said = asked(&state, &view);
    assert_eq!((&said.outcome, said.loss_bytes), (&Ok(id("s2")), Some(0)));
    assert_eq!(said.lease_wait, None);
    let names: Vec<_> = said.candidates.iter().map(|it| &it.instance).collect();
    assert_eq!(names, [&id("s1"), &id("s2")]);
    assert_eq!(said.candidates[0].behind_bytes, Some(10));
    assert_eq!(said.candidates[0].rule, None);
    assert_eq!(obstacle(&said, "s2"), None);
    assert_eq!(obstacle(&said, "s1").unwrap(), "it holds less than 1:0/2D");
    // Where nobody is waited for, what the best one lacks is lost.
    state.cluster.rule = SyncRule::Async;
    let said = asked(&state, &view);
    assert_eq!((said.outcome, said.loss_bytes), (Ok(id("s2")), Some(5)));
    // Of one that is not seen any more nobody knows what it had.
    let mut silent = view;
    silent.instances.remove(&id("p"));
    let said = asked(&state, &silent);
    assert_eq!((said.outcome, said.loss_bytes), (Ok(id("s2")), None));
}

#[test]
fn it_is_what_the_decision_says_once_the_primary_is_dead() {
    let (state, view) = healthy();
    let after = without(&state, &view, &id("p"));
    let plan = decide(&state, &after);
    let begins = |it: &SqlChange| matches!(it, SqlChange::Begin { named: None, .. });
    assert!(plan.proposals.iter().any(begins), "{plan:?}");
    // Nothing of it is left behind.
    assert!(!decide(&state, &view).proposals.iter().any(begins));
}

#[test]
fn what_is_in_the_way_is_named() {
    let check = |state: &SqlState, view: &SqlView, code: &str, of_s2: &str| {
        let said = asked(state, view);
        assert_eq!(said.outcome.as_ref().unwrap_err().code(), code);
        assert_eq!(said.loss_bytes, None);
        let why = obstacle(&said, "s2").unwrap();
        assert!(why.contains(of_s2), "{why}");
    };
    let (state, view) = healthy();
    let mut away = view.clone();
    away.instances.remove(&id("s2"));
    check(&state, &away, "not_proven", "cannot be asked");
    let mut required = state.clone();
    required.cluster.fence = FenceDemand::Required;
    check(&required, &view, "agents_required", "there are no agents");
    let mut unclear = state.clone();
    unclear.cluster.rule = SyncRule::Unclear {
        why: "'*'".to_owned(),
    };
    check(&unclear, &view, "rule_unclear", "'*'");
    let mut copied = state.clone();
    for (name, is_proven) in [("p", true), ("s1", true), ("s2", false)] {
        let copy = SqlCopy {
            mark: Some(example::mark(1)),
            started: 1,
            is_proven,
        };
        copied.cluster.copies.insert(id(name), copy);
    }
    check(&copied, &view, "not_proven", "was not seen to hold");
    // Somebody hears a primary from where nobody is known.
    let mut elsewhere = view;
    let mut facts = standby("s2", "s1", at(1, 45));
    facts.source.as_mut().unwrap().address.host = "s1.internal".to_owned();
    look(&mut elsewhere, "s2", facts);
    let mut feeds = standby("s1", "p", at(1, 45));
    feeds.replicas.push(crate::model::ReplicaFacts {
        application_name: "s2".to_owned(),
        host: None,
        state: "streaming".to_owned(),
        sync_state: "async".to_owned(),
        flushed: None,
        replayed: None,
    });
    look(&mut elsewhere, "s1", feeds);
    check(&state, &elsewhere, "vetoed", "s2 still hears it");
}

#[test]
fn of_equals_one_is_chosen_and_a_cascade_is_left_where_it_is() {
    let (mut state, mut view) = healthy();
    look(&mut view, "s1", standby("s1", "p", at(1, 45)));
    let said = asked(&state, &view);
    assert_eq!(said.outcome, Ok(id("s1")));
    let why = obstacle(&said, "s2").unwrap();
    assert_eq!(why, "s1 comes before it among equals");
    state.cluster.rule = SyncRule::Async;
    look(&mut view, "s2", standby("s2", "s1", at(1, 45)));
    let said = asked(&state, &view);
    assert_eq!(said.outcome, Ok(id("s1")));
    let why = obstacle(&said, "s2").unwrap();
    assert!(why.contains("streams from another standby"), "{why}");
}

#[test]
fn one_that_was_replaced_is_no_candidate() {
    let (mut state, mut view) = healthy();
    state.cluster.primary = Some(id("s1"));
    state.cluster.lineage.current = Timeline(2);
    state.cluster.rule = SyncRule::Async;
    let mut serves = primary(at(2, 60));
    serves.address.host = "s1".to_owned();
    look(&mut view, "s1", serves);
    look(&mut view, "s2", standby("s2", "s1", at(2, 60)));
    let said = asked(&state, &view);
    assert_eq!(said.outcome, Ok(id("s2")));
    let why = obstacle(&said, "p").unwrap();
    assert_eq!(why, "runs as a primary of its own");
}

#[test]
fn programs_that_would_be_asked_and_what_is_missing_are_named() {
    let (state, mut view) = healthy();
    let programs = Programs {
        configured: [HookStage::PreFailover, HookStage::PostFailover].into(),
        term: Some(3),
        ..Programs::default()
    };
    view.lacks.insert(id("s1"), vec!["it may not".to_owned()]);
    let said = failover(&state, &view, &programs);
    assert_eq!(said.outcome, Ok(id("s2")));
    assert_eq!(said.programs, [HookStage::PreFailover]);
    assert_eq!(said.lacks, ["s1: it may not"]);
}

#[test]
fn a_switchover_says_to_whom_and_who_else_can_be_named() {
    let (mut state, view) = healthy();
    let said = switchover(&state, &view);
    assert_eq!((&said.outcome, said.loss_bytes), (&Ok(id("s2")), Some(0)));
    let why = obstacle(&said, "s1").unwrap();
    assert_eq!(why, "s2 comes before it; it can be named with --to s1");

    // Of whom commits wait for, one is not enough.
    let mut away = view.clone();
    away.instances.remove(&id("s2"));
    let said = switchover(&state, &away);
    let nobody = said.outcome.as_ref().unwrap_err();
    assert_eq!((nobody.code(), said.loss_bytes), ("nobody", None));
    let words = nobody.to_string();
    for expected in ["to s1: 1 of 2 revoked", "to s2: s2 does not stream"] {
        assert!(words.contains(expected), "{words}");
    }
    state.quieted = Some(id("p"));
    let said = switchover(&state, &view);
    assert_eq!(said.outcome.unwrap_err().code(), "quieted");
}
