use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::decision::discovery::example;
use crate::decision::sql_only::decide;
use crate::model::sql_only::{Look, Outcome, SqlSighting, Stall};
use crate::model::{
    Address, ClusterName, Epoch, Failure, Hold, Lsn, Paused, ReplicationStatus, SourceFacts,
    SqlCluster, SqlMember, SyncState, SystemIdentifier, Timeline, Timestamp,
};
use crate::state::History;

const NOW: Timestamp = Timestamp(10_000);
const NAMES: [&str; 3] = ["a", "b", "c"];

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn place(name: &str) -> Address {
    Address {
        host: name.to_owned(),
        port: 5432,
    }
}

fn at(timeline: u32, lsn: u64) -> WalPosition {
    WalPosition {
        timeline: Timeline(timeline),
        lsn: Lsn(lsn),
    }
}

/// `a` is the primary on timeline 3, which left timeline 2 at 0/64; any one of `b` and `c` acknowledges.
fn state() -> SqlState {
    let member = |name: &str| SqlMember {
        address: place(name),
        application_name: Some(name.to_owned()),
    };
    SqlState {
        cluster: SqlCluster {
            name: ClusterName::new("demo").unwrap(),
            system: SystemIdentifier(7),
            fence: FenceDemand::Courtesy,
            members: NAMES.map(|name| (id(name), member(name))).into(),
            rule: SyncRule::Any {
                acks: 1,
                voters: BTreeSet::from([id("b"), id("c")]),
                unknown: 0,
            },
            epoch: Epoch(4),
            lineage: Lineage {
                current: Timeline(3),
                left_at: BTreeMap::from([(Timeline(2), Lsn(100))]),
            },
            primary: Some(id("a")),
            suspects: BTreeSet::new(),
            told: BTreeMap::new(),
            strays: BTreeSet::new(),
            copies: BTreeMap::new(),
        },
        adopted_at: 1,
        number: 0,
        handover: None,
        quieted: None,
        history: History::default(),
    }
}

fn facts(name: &str, role: Role, end: WalPosition) -> InstanceFacts {
    let streams = role == Role::Standby;
    let plain = example::facts(place(name));
    let replica = |name: &str| ReplicaFacts {
        application_name: name.to_owned(),
        host: None,
        state: "streaming".to_owned(),
        sync_state: "quorum".to_owned(),
        flushed: None,
        replayed: None,
    };
    InstanceFacts {
        role,
        timeline: Some(end.timeline),
        status: ReplicationStatus {
            replica_running: streams,
            sql_thread_running: streams,
            io_thread_running: streams,
            received: streams.then_some(Position::Wal(end)),
            applied: Some(Position::Wal(end)),
            ..plain.status
        },
        source: streams.then(|| SourceFacts {
            address: place("a"),
            application_name: name.to_owned(),
            user: "r".to_owned(),
            slot: None,
        }),
        replicas: match role {
            Role::Primary => vec![replica("b"), replica("c")],
            Role::Standby | Role::Detached => vec![],
        },
        sync: SyncState {
            policy: Some(SyncPolicy::Any {
                n: 1,
                of: BTreeSet::from(["b".to_owned(), "c".to_owned()]),
            }),
            ..plain.sync
        },
        ..plain
    }
}

/// Everybody is there and well.
fn seen() -> BTreeMap<&'static str, InstanceFacts> {
    let end = at(3, 10 * LAG_LIMIT_BYTES);
    BTreeMap::from([
        ("a", facts("a", Role::Primary, end)),
        ("b", facts("b", Role::Standby, end)),
        ("c", facts("c", Role::Standby, end)),
    ])
}

fn view(seen: BTreeMap<&'static str, InstanceFacts>) -> SqlView {
    let sighting = |facts: InstanceFacts| {
        let mut sighting = SqlSighting::default();
        sighting.note(Look {
            at: NOW,
            outcome: Outcome::Facts(Arc::new(facts)),
        });
        sighting
    };
    let seen = seen.into_iter();
    SqlView {
        now: NOW,
        peers: 3,
        instances: seen
            .map(|(name, facts)| (id(name), sighting(facts)))
            .collect(),
        ..SqlView::default()
    }
}

#[track_caller]
fn check(state: &SqlState, view: &SqlView, expected: &[(&str, &str)]) {
    let plan = decide(state, view);
    let found: Vec<_> = plan
        .findings
        .iter()
        .map(|it| (it.code(), it.to_string()))
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((code, text), (expected, words)) in found.iter().zip(expected) {
        assert_eq!(code, expected, "{found:#?}");
        assert!(text.contains(words), "{text}");
    }
    assert!(plan.findings.iter().all(|it| !it.remedy().is_empty()));
}

fn with(change: impl FnOnce(&mut BTreeMap<&'static str, InstanceFacts>)) -> SqlView {
    let mut seen = seen();
    change(&mut seen);
    view(seen)
}

#[test]
fn who_is_well_has_no_problem() {
    check(&state(), &view(seen()), &[]);
}

#[test]
fn a_standby_far_behind_is_told_by_bytes_or_by_seconds() {
    const END: u64 = 10 * LAG_LIMIT_BYTES;
    let lagging = |received: u64, applied: u64, lag: i64| {
        with(|seen| {
            let b = &mut seen.get_mut("b").unwrap().status;
            b.received = Some(Position::Wal(at(3, received)));
            b.applied = Some(Position::Wal(at(3, applied)));
            b.lag = lag;
        })
    };
    let told = |words| [("StandbyBehindBeyondLimit", words)];
    check(&state(), &lagging(END - 9, END - 9, 9), &[]);
    check(
        &state(),
        &lagging(END, END - 5, 10),
        &told("0 bytes of WAL not received, 5 not applied, 10 s late"),
    );
    let half = END - LAG_LIMIT_BYTES / 2;
    check(&state(), &lagging(half + 1, half + 1, -1), &[]);
    check(
        &state(),
        &lagging(half, END - LAG_LIMIT_BYTES, -1),
        &told("134217728 bytes of WAL not received, 134217728 not applied"),
    );
    // On another timeline its distance says nothing, and it would not be promoted.
    let other = with(|seen| *seen.get_mut("b").unwrap() = facts("b", Role::Standby, at(2, 1)));
    let why = "1 of 2 revoked standbys needed; b: is on timeline 2";
    check(&state(), &other, &[("FailoverImpossible", why)]);
}

#[test]
fn a_standby_beside_the_history_is_told_unless_nobody_knows() {
    let check = |end: WalPosition, is_beside: bool| {
        let view = with(|seen| {
            let mut b = facts("b", Role::Standby, end);
            b.status.io_thread_running = false;
            seen.insert("b", b);
        });
        let lacks_source = ("StandbyNotReplicating", "b does not receive");
        let diverged = ("DivergedStandby", "that is not the primary's: it ends at");
        let never = ("FailoverImpossible", "b: is on timeline");
        let is_elsewhere = end.timeline != Timeline(3);
        let all = [
            (true, lacks_source),
            (is_beside, diverged),
            (is_elsewhere, never),
        ];
        let told = all.into_iter().filter(|(is_told, _)| *is_told);
        let told: Vec<_> = told.map(|(_, it)| it).collect();
        check(&state(), &view, &told);
    };
    check(at(2, 100), false);
    check(at(2, 101), true);
    check(at(3, 5), false);
    check(at(4, 5), true);
    // Where the primary left timeline 1 was never seen.
    check(at(1, 5), false);
}

#[test]
fn commits_that_do_not_wait_are_told_where_standbys_are_named() {
    let weak = |policy: Option<SyncPolicy>| {
        with(|seen| {
            let sync = &mut seen.get_mut("a").unwrap().sync;
            sync.weak = vec!["role app: synchronous_commit = off".to_owned()];
            if let Some(policy) = policy {
                sync.policy = Some(policy);
            }
        })
    };
    let told = [("WeakCommits", "(role app: synchronous_commit = off)")];
    check(&state(), &weak(None), &told);
    check(&state(), &weak(Some(SyncPolicy::Async)), &[]);
}

#[test]
fn a_disk_that_takes_no_writes_is_told_and_nothing_is_begun() {
    let mut view = view(seen());
    let stall = |refusal: Option<&str>| Stall {
        flushed: Lsn(7),
        refusal: refusal.map(str::to_owned),
    };
    view.stalled.insert(id("a"), stall(None));
    let words = "has not come back for 5 s, and WAL is confirmed up to 0/7";
    check(&state(), &view, &[("StalledPrimary", words)]);
    let plan = decide(&state(), &view);
    assert!(plan.proposals.is_empty() && !plan.findings[0].is_actionable());
    view.stalled.insert(id("a"), stall(Some("no space left")));
    check(&state(), &view, &[("StalledPrimary", "no space left")]);
    // What a standby was while it was the primary says nothing of it now.
    view.stalled = BTreeMap::from([(id("b"), stall(None))]);
    check(&state(), &view, &[]);
}

#[test]
fn what_no_failover_could_overcome_is_a_problem_as_long_as_it_lasts() {
    let mut alone = state();
    let none = "nothing would be failed over: there is no standby";
    alone.cluster.members.retain(|name, _| *name == id("a"));
    alone.cluster.rule = SyncRule::Async;
    let only = || {
        with(|seen| {
            seen.retain(|name, _| *name == "a");
            let a = seen.get_mut("a").unwrap();
            a.sync.policy = Some(SyncPolicy::Async);
            a.replicas.clear();
        })
    };
    check(&alone, &only(), &[("FailoverImpossible", none)]);
    // Somebody asked for it.
    alone.cluster.fence = FenceDemand::Required;
    check(&alone, &only(), &[]);

    let mut view = view(seen());
    let lacks = vec!["watcher may not promote".to_owned()];
    view.lacks = BTreeMap::from([(id("b"), lacks.clone()), (id("gone"), lacks)]);
    let told = "b is not fit for a failover: watcher may not promote";
    check(&state(), &view, &[("Unprepared", told)]);
    let old = view.instances.get_mut(&id("b")).unwrap();
    old.last = None;
    let why = "1 of 2 revoked standbys needed; b: cannot be asked";
    check(&state(), &view, &[("FailoverImpossible", why)]);
}

#[test]
fn what_operators_switched_off_is_told() {
    let mut view = view(seen());
    view.directives.paused = Some(Paused {
        hold: Hold {
            since: 0,
            until: 10,
            owner: "ana".to_owned(),
            reason: "patch".to_owned(),
        },
        everywhere: true,
    });
    let words = "every cluster is paused by ana: patch";
    check(&state(), &view, &[("Paused", words)]);

    let mut plan = SqlPlan::default();
    let held = Held::Blocked { epoch: Epoch(7) };
    plan.waiting.push(SqlReason::Held(held));
    super::held(&mut plan, &SqlView::default());
    assert_eq!(
        plan.findings,
        [SqlFinding::FailoverBlocked { epoch: Epoch(7) }]
    );
}

#[test]
fn what_would_be_needed_is_more_than_what_is_known() {
    let any = |acks, unknown| SyncRule::Any {
        acks,
        voters: BTreeSet::from([id("b"), id("c")]),
        unknown,
    };
    assert_eq!(hindrance(&any(1, 0), 3), None);
    assert_eq!(hindrance(&any(2, 0), 3), None);
    let why = hindrance(&any(1, 1), 3).unwrap();
    assert!(why.contains("it would take 3 standbys"), "{why}");
    assert_eq!(hindrance(&SyncRule::Async, 2), None);
    assert!(hindrance(&SyncRule::Async, 1).is_some());
}

#[test]
fn a_recovery_that_cannot_go_on_is_a_problem_with_its_reason() {
    let dead = |state: &SqlState| {
        let mut view = with(|seen| {
            for name in ["b", "c"] {
                let status = &mut seen.get_mut(name).unwrap().status;
                status.io_thread_running = false;
            }
        });
        let mut gone = SqlSighting::default();
        for at in [NOW.0 - 100, NOW.0 - 50] {
            gone.note(Look {
                at: Timestamp(at),
                outcome: Outcome::Gone("refused".to_owned()),
            });
        }
        view.instances.insert(id("a"), gone);
        view.gone.insert(id("a"), (NOW, 1));
        let plan = decide(state, &view);
        let begins = !plan.proposals.is_empty();
        let blocked = plan.findings.iter();
        let blocked = blocked.filter(|it| it.code() == "RecoveryBlocked");
        let why: Vec<_> = blocked.map(ToString::to_string).collect();
        assert_eq!(plan.findings[0].code(), "DeadPrimary");
        (begins, why)
    };
    assert_eq!(dead(&state()), (true, vec![]));
    let mut required = state();
    required.cluster.fence = FenceDemand::Required;
    let (begins, why) = dead(&required);
    assert!(
        !begins && why[0].contains("fence is \"required\""),
        "{why:?}"
    );
    let mut more = state();
    if let SyncRule::Any { unknown, .. } = &mut more.cluster.rule {
        *unknown = 1;
    }
    let (begins, why) = dead(&more);
    let words = "2 of 3 revoked standbys needed";
    assert!(!begins && why[0].contains(words), "{why:?}");
}

#[test]
fn what_did_not_work_is_a_problem_until_it_does() {
    let mut view = with(|seen| {
        let mut b = facts("b", Role::Detached, at(3, 5));
        b.status.received = Some(Position::Wal(at(3, 5)));
        seen.insert("b", b);
    });
    view.instances.get_mut(&id("b")).unwrap().failure = Some(Failure {
        order: state().order(),
        at: NOW,
        reason: "it refuses".to_owned(),
        backs: false,
    });
    check(
        &state(),
        &view,
        &[
            ("StandbyNotReplicating", "b does not receive"),
            ("RecoveryBlocked", "b: it refuses; tried again"),
        ],
    );
}
