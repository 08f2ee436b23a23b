//! Fences, promotions and what follows them.

use std::time::Duration;

use primacy::duty::Outcome;
use primacy::duty::gate::Refusal;
use primacy::host::processes;
use primacy::model::*;
use primacy::recovery::{Action, Evidence, Promise};

use crate::now;
use crate::rig::{Rig, id, order};

fn promise(outcome: Outcome) -> Promise {
    match outcome {
        Outcome::Evidence(Evidence::Promised { promise, .. }) => promise,
        other => panic!("no promise: {other:?}"),
    }
}

async fn fence(rig: &Rig, who: &InstanceId, number: u32) -> Promise {
    let began = now();
    let outcome = rig.peer.command(who, order(2, number), Action::Fence).await;
    println!("fence of {who}: {} ms", now().since(began).as_millis());
    promise(outcome)
}

/// That `position` is all that recovery can reach: replays it and compares.
async fn is_the_end(rig: &mut Rig, who: &InstanceId, promise: &Promise) {
    let position = promise.position.expect("a position");
    if !promise.running {
        return;
    }
    rig.sql(who, "SELECT pg_wal_replay_resume()").await;
    let mut replayed = Lsn(0);
    for _ in 0..500 {
        replayed = rig
            .sql(who, "SELECT pg_last_wal_replay_lsn()")
            .await
            .parse()
            .unwrap();
        if replayed >= position.lsn {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(replayed, position.lsn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_standby_acknowledges_nothing_more_and_knows_where_it_ends() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    let source = rig.pair(&a, &b).await;
    assert_eq!(rig.health(&a, "OPTIONS", "/").await, 200);
    assert_eq!(rig.health(&a, "HEAD", "/primary").await, 200);
    assert_eq!(rig.health(&a, "GET", "/replica").await, 503);
    assert_eq!(rig.health(&b, "OPTIONS", "/primary").await, 503);
    assert_eq!(rig.health(&b, "GET", "/replica?lag=16MB").await, 200);
    assert_eq!(rig.health(&b, "GET", "/nothing").await, 503);
    assert_eq!(rig.health(&b, "GET", "/patroni").await, 200);
    let answer = rig
        .peer
        .command(&b, order(1, 3), Action::Ask { epoch: Epoch(2) })
        .await;
    assert!(
        matches!(&answer, Outcome::Answer(it) if it.would_promise && it.hears_primary),
        "{answer:?}"
    );

    let fenced = fence(&rig, &b, 1).await;
    assert_eq!(fenced.incarnation, Some(Incarnation(1)));
    let mut write = rig.sql_behind(&a, "INSERT INTO t VALUES (0)");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        write.try_wait().unwrap().is_none(),
        "a commit was acknowledged"
    );
    // The same again, over the fence: redone, not remembered.
    let again = fence(&rig, &b, 2).await;
    assert_eq!(again.position, fenced.position);
    // On a busy machine a proof may take longer than it may: then the standby was stopped.
    is_the_end(&mut rig, &b, &again).await;

    // A stale order is refused.
    let stale = rig
        .peer
        .command(&b, order(1, 9), Action::Follow { source })
        .await;
    assert!(
        matches!(stale, Outcome::Refused(Refusal::Stale { .. })),
        "{stale:?}"
    );

    // A primary is stopped by its fence, and says where it ends.
    let fenced = fence(&rig, &a, 1).await;
    assert!(!fenced.running && rig.postmaster(&a).is_none());
    assert_eq!(fenced.position.unwrap().timeline, Timeline(2));
    assert_eq!(rig.health(&a, "GET", "/primary").await, 503);

    // The standby becomes primary of epoch 2 on timeline 5: 3 and 4 are planted.
    rig.peer.grant(&b, order(2, 4), Duration::from_secs(10));
    let began = now();
    let promote = Action::Promote {
        timeline: Timeline(5),
        at_least: again.position.unwrap(),
        synchronous_standby_names: String::new(),
        members: [a.clone(), b.clone()].into(),
    };
    let outcome = rig.peer.command(&b, order(2, 4), promote).await;
    println!("promotion of {b}: {} ms", now().since(began).as_millis());
    let Outcome::Evidence(Evidence::Promoted { lineage, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(lineage.current, Timeline(5));
    assert_eq!(
        lineage.left_at.keys().copied().collect::<Vec<_>>(),
        [Timeline(1), Timeline(2)]
    );
    rig.sql(&b, "INSERT INTO t VALUES (2)").await;
    let committed = |report: &Report| {
        matches!(
            report.database,
            Database::Primary {
                first_commit: Some((Epoch(2), _)),
                ..
            }
        )
    };
    rig.peer
        .until_reported("the first commit", &b, committed)
        .await;

    // The old primary diverged (its last write was never acknowledged), and is rebuilt.
    let mut source = primacy::recovery::Source {
        instance: b.clone(),
        address: rig.config(&b).address(),
        identity: rig.peer.report(&b).unwrap().identity,
        epoch: Epoch(2),
        application_name: cluster::application_name(&a, Incarnation(1), Epoch(2)),
        lineage,
    };
    let follow = Action::Follow {
        source: source.clone(),
    };
    let outcome = rig.peer.command(&a, order(2, 5), follow).await;
    assert!(
        matches!(outcome, Outcome::Evidence(Evidence::CannotFollow { .. })),
        "{outcome:?}"
    );
    let rebuild = Action::Rebuild {
        source: source.clone(),
        incarnation: Incarnation(2),
        keep_old: false,
    };
    let outcome = rig.peer.command(&a, order(2, 6), rebuild).await;
    assert!(
        matches!(
            outcome,
            Outcome::Evidence(Evidence::Rebuilt { .. } | Evidence::RebuiltKeeping { .. })
        ),
        "{outcome:?}"
    );
    let data = rig.config(&a).data;
    let name = format!("{}.old-", data.file_name().unwrap().to_str().unwrap());
    let siblings = std::fs::read_dir(data.parent().unwrap()).unwrap().flatten();
    let cloned = siblings
        .filter(|it| it.file_name().to_str().unwrap().starts_with(&name))
        .count();
    assert_eq!(cloned, 0, "it was cloned although it could be rewound");
    source.application_name = cluster::application_name(&a, Incarnation(2), Epoch(2));
    let outcome = rig
        .peer
        .command(&a, order(2, 7), Action::Follow { source })
        .await;
    assert!(
        matches!(outcome, Outcome::Evidence(Evidence::Following { .. })),
        "{outcome:?}"
    );
    rig.sql(&b, "INSERT INTO t VALUES (3)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_with_paused_or_delayed_replay_is_fenced() {
    let (a, b) = (id("pg-a"), id("pg-b"));
    // On a busy machine the proof may come too late, and then it is stopped: also a fence, but not the one to be seen.
    let mut attempts = 10;
    loop {
        let mut rig = Rig::new().await;
        rig.pair(&a, &b).await;
        rig.sql(&b, "SELECT pg_wal_replay_pause()").await;
        rig.sql(&a, "INSERT INTO t SELECT generate_series(1, 1000)")
            .await;
        let fenced = fence(&rig, &b, 1).await;
        is_the_end(&mut rig, &b, &fenced).await;
        attempts -= 1;
        match fenced.running {
            true => break,
            false => assert!(attempts > 0, "{fenced:?}"),
        }
    }

    let mut rig = Rig::new().await;
    rig.pair(&a, &b).await;
    rig.sql(&b, "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
        .await;
    rig.sql(&b, "SELECT pg_reload_conf()").await;
    rig.sql(&a, "INSERT INTO t SELECT generate_series(1, 1000)")
        .await;
    let fenced = fence(&rig, &b, 1).await;
    let flushed = rig.sql(&a, "SELECT pg_current_wal_flush_lsn()").await;
    let flushed: Lsn = flushed.parse().unwrap();
    assert!(fenced.position.unwrap().lsn <= flushed);
    is_the_end(&mut rig, &b, &fenced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_whose_replay_waits_for_a_query_is_fenced() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    rig.pair(&a, &b).await;
    let read = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t; SELECT pg_sleep(30)";
    let _read = rig.sql_behind(&b, read);
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.sql(&a, "DELETE FROM t").await;
    rig.sql(&a, "VACUUM (FREEZE) t").await;
    rig.sql(&a, "INSERT INTO t VALUES (1)").await;
    let acknowledged: Lsn = rig
        .sql(&a, "SELECT pg_current_wal_flush_lsn()")
        .await
        .parse()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let fenced = fence(&rig, &b, 1).await;
    assert!(fenced.position.unwrap().lsn >= acknowledged, "{fenced:?}");
    is_the_end(&mut rig, &b, &fenced).await;
    let mut write = rig.sql_behind(&a, "INSERT INTO t VALUES (0)");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        write.try_wait().unwrap().is_none(),
        "a commit was acknowledged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_fenced_right_after_its_restart_and_while_it_connects() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    let source = rig.pair(&a, &b).await;
    let acknowledged: Lsn = rig
        .sql(&a, "SELECT pg_current_wal_flush_lsn()")
        .await
        .parse()
        .unwrap();
    let (data_a, data_b) = (rig.config(&a).data, rig.config(&b).data);

    // A dead postmaster is told at once.
    let began = now();
    processes::signal(
        &data_b,
        rig.postmaster(&b).unwrap(),
        rustix::process::Signal::KILL,
    );
    let died = |report: &Report| report.database == Database::Stopped(Stopped::Died);
    rig.peer.until_reported("the death is told", &b, died).await;
    println!(
        "a death is told after {} ms",
        now().since(began).as_millis()
    );
    rig.peer
        .until("nothing is left", |_| {
            processes::of(&data_b).unwrap().is_empty().then_some(())
        })
        .await;

    let follow = Action::Follow {
        source: source.clone(),
    };
    let outcome = rig.peer.command(&b, order(1, 4), follow.clone()).await;
    assert!(
        matches!(outcome, Outcome::Evidence(Evidence::Following { .. })),
        "{outcome:?}"
    );
    let fenced = fence(&rig, &b, 1).await;
    assert!(fenced.position.unwrap().lsn >= acknowledged, "{fenced:?}");
    is_the_end(&mut rig, &b, &fenced).await;
    drop(rig);

    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    rig.pair(&a, &b).await;
    let _ = data_a;
    let (data_a, data_b) = (rig.config(&a).data, rig.config(&b).data);
    let acknowledged: Lsn = rig
        .sql(&a, "SELECT pg_current_wal_flush_lsn()")
        .await
        .parse()
        .unwrap();
    for process in processes::of(&data_a).unwrap() {
        processes::signal(&data_a, process.pid, rustix::process::Signal::STOP);
    }
    processes::end_receivers(&data_b, rig.postmaster(&b).unwrap()).unwrap();
    rig.peer
        .until("the receiver connects again", |_| {
            let found = processes::titled(&data_b, "walreceiver").unwrap();
            (!found.is_empty()).then_some(())
        })
        .await;
    let fenced = fence(&rig, &b, 1).await;
    assert!(fenced.position.unwrap().lsn >= acknowledged, "{fenced:?}");
    assert!(
        processes::titled(&data_b, "walreceiver")
            .unwrap()
            .is_empty()
    );
    is_the_end(&mut rig, &b, &fenced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_under_way_is_stopped_by_a_fence() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    rig.pair(&a, &b).await;
    let fenced = fence(&rig, &b, 1).await;
    let data = rig.config(&b).data;
    for startup in processes::titled(&data, "startup").unwrap() {
        processes::signal(&data, startup.pid, rustix::process::Signal::STOP);
    }
    rig.peer.grant(&b, order(2, 2), Duration::from_secs(10));
    // Its settings cannot be seen by the frozen process, and need not be.
    let promote = Action::Promote {
        timeline: Timeline(3),
        at_least: fenced.position.unwrap(),
        synchronous_standby_names: String::new(),
        members: [a, b.clone()].into(),
    };
    rig.peer.begin(&b, order(2, 2), promote).await;
    let trigger = data.join("promote");
    rig.peer
        .until("the promotion is asked for", |_| {
            trigger.exists().then_some(())
        })
        .await;
    let outcome = rig.peer.command(&b, order(3, 1), Action::Fence).await;
    assert!(!promise(outcome).running);
    assert!(processes::of(&data).unwrap().is_empty() && !trigger.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_only_the_process_table_shows_is_no_fence() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    rig.pair(&a, &b).await;
    let data = rig.config(&b).data;
    // No view shows it, and no SIGTERM ends it.
    let script = "trap '' TERM; exec -a 'postgres: walreceiver' sleep 60";
    let mut receiver = std::process::Command::new("setpriv")
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .args(["bash", "-c", script])
        .current_dir(&data)
        .spawn()
        .unwrap();
    rig.peer
        .until("the receiver has its title", |_| {
            let found = processes::titled(&data, "walreceiver 60").unwrap();
            (!found.is_empty()).then_some(())
        })
        .await;
    let fenced = fence(&rig, &b, 1).await;
    assert!(!fenced.running, "{fenced:?}");
    assert!(processes::of(&data).unwrap().is_empty());
    receiver.wait().unwrap();
}
