use std::collections::BTreeMap;

use super::*;
use crate::model::example::{at, cluster, id, sql_cluster};
use crate::model::{Epoch, Incarnation, Lineage, Lsn, SyncRule, Timeline};
use crate::recovery::sql_only::{SqlEvidence, SqlPhase};
use crate::recovery::{Evidence, Grounds};
use crate::state::example::at_rest;
use crate::state::{
    Change, Command, FeatureLevel, History, RecoveryRecord, Reply, SqlChange, SqlCommand, SqlState,
    State,
};

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
        // Of a state that was saved nobody knows what was recorded since.
        cluster.holders = cluster.members.keys().cloned().collect();
        cluster.primary = None;
        cluster.planned_stop = Some(crate::model::PlannedStop {
            instance: id("a"),
            order: crate::model::Order::default(),
            length: crate::model::PlannedStop::LONGEST,
            at: 0,
        });
        assert_eq!(elected.verdict(&cluster), Verdict::Unknown(None));
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

#[test]
fn over_sql_it_is_known_by_whom_it_was_proven_or_who_had_it_alone() {
    let cluster = sql_cluster(&["p", "s1", "s2", "s3"]);
    let cluster = SqlCluster {
        rule: SyncRule::Any {
            acks: 1,
            voters: [id("s1"), id("s2")].into(),
            unknown: 0,
        },
        ..cluster
    };
    let all = || ["s1", "s2", "s3"].map(id).into();
    let check = |named: Option<&str>, from: Option<&str>, proof: SqlProof, told: &str| {
        let handover = SqlHandover {
            named: named.map(id),
            from: from.map(id),
            phase: SqlPhase::Revoking {
                ends: BTreeMap::new(),
            },
        };
        assert_eq!(over_sql(&handover, &proof, &cluster).to_string(), told);
    };
    let proven = "rpo = 0, proven by s1 and s2";
    check(None, Some("p"), SqlProof::Quorum { counted: all() }, proven);
    check(
        Some("s1"),
        Some("p"),
        SqlProof::BestOf { counted: all() },
        "rpo = 0, proven by p",
    );
    check(
        None,
        Some("p"),
        SqlProof::BestOf { counted: all() },
        "unknown how much: what p had sent to none of s1 and s2 and s3",
    );
    for from in [None, Some("s1")] {
        check(
            None,
            from,
            SqlProof::BestOf { counted: all() },
            "unknown how much: what was sent to none of s1 and s2 and s3",
        );
    }
}

/// What was recorded of a failover of an async cluster over SQL.
fn failed_over_sql(level: u32) -> Option<String> {
    let mut cluster = sql_cluster(&["p", "s1"]);
    cluster.rule = SyncRule::Async;
    let name = cluster.name.clone();
    let sql = SqlState {
        cluster,
        adopted_at: 1,
        number: 1,
        handover: None,
        quieted: None,
        history: History::default(),
    };
    let mut state = State {
        level: FeatureLevel::try_from(level).unwrap(),
        sql: [(name.clone(), sql)].into(),
        ..State::default()
    };
    let record = |state: &mut State, evidence: SqlEvidence| SqlChange::Record {
        order: state.sql[&name].order(),
        evidence,
    };
    let mut apply = |change: &dyn Fn(&mut State) -> SqlChange| {
        let change = change(&mut state);
        let command = SqlCommand {
            cluster: name.clone(),
            at: 7,
            change,
        };
        state.apply_sql(command).unwrap();
    };
    apply(&|_| SqlChange::Begin {
        seen: Epoch(1),
        cause: "gone".to_owned(),
        named: None,
    });
    apply(&|state| {
        let (instance, position) = (id("s1"), Some(at(1, 50)));
        record(state, SqlEvidence::Revoked { instance, position })
    });
    apply(&|state| {
        let elected = SqlEvidence::Elected {
            candidate: id("s1"),
            proof: SqlProof::BestOf {
                counted: [id("s1")].into(),
            },
            serves: SyncRule::Async,
        };
        record(state, elected)
    });
    let history = &state.sql[&name].history;
    let verdict = history.records().last().unwrap().verdict();
    verdict.map(str::to_owned)
}

#[test]
fn a_failover_over_sql_gets_its_verdict_from_its_level_on() {
    assert_eq!(failed_over_sql(3), None);
    let told = failed_over_sql(4);
    let expected = "unknown how much: what p had sent to none of s1";
    assert_eq!(told.as_deref(), Some(expected));
}
