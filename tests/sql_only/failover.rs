//! The primary is killed.

use std::time::Duration;

use tokio::time::Instant;

use crate::load::{Load, rows};
use crate::rig::{DEMO, Rig, codes, is_healthy, is_installed, shown};

const TIMELINE: &str = "SELECT received_tli FROM pg_stat_wal_receiver";

#[tokio::test(flavor = "multi_thread")]
async fn a11_the_standby_that_received_most_is_promoted_and_nothing_acknowledged_is_lost() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    // s1 receives everything and applies nothing; s2 applies what it receives, and misses the end.
    rig.servers[1].sql("SELECT pg_wal_replay_pause()");
    let load = Load::start(&rig);
    load.more(200).await;
    let port = |port: u16| format!("port={port}");
    let astray = rig.servers[2].sql("SHOW primary_conninfo");
    let astray = astray.replace(&port(rig.servers[0].address.port), &port(1));
    let astray = astray.replace('\'', "''");
    rig.servers[2].sql(&format!("ALTER SYSTEM SET primary_conninfo = '{astray}'"));
    rig.servers[2].sql("SELECT pg_reload_conf()");
    rig.servers[2]
        .until("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
        .await;
    load.more(200).await;
    let received = "SELECT pg_last_wal_receive_lsn() > '0/0'::pg_lsn + (SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn)";
    rig.servers[1].until(received).await;

    let killed = Instant::now();
    rig.kill_postmaster(0);
    rig.group
        .until("dead", DEMO, |it| {
            let codes = it["findings"].as_array().into_iter().flatten();
            codes.into_iter().any(|it| it["code"] == "DeadPrimary")
                || it["phase"] != "serving"
                || it["primary"] == "s1"
        })
        .await;
    eprintln!("dead after {:?}", killed.elapsed());
    rig.until("replaced", |it| {
        it["primary"] == "s1" && it["phase"] == "serving"
    })
    .await;
    load.more(1).await;
    let acknowledged = load.end();
    let there = rows(&rig, 1);
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    assert_eq!(rig.servers[1].sql("SELECT pg_is_in_recovery()"), "f");
    rig.servers[2]
        .until("SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')")
        .await;

    // The old one comes back as a primary, and is asked to be quiet.
    rig.servers[0].start().await;
    rig.servers[0]
        .until("SELECT current_setting('default_transaction_read_only') = 'on'")
        .await;
    // Since when it stands is noted a moment after it is found.
    let cluster = rig
        .until("deposed", |it| {
            let finding = &it["findings"][0];
            finding["code"] == "DeposedPrimary" && finding["since"].is_string()
        })
        .await;
    assert_eq!(cluster["primary"], "s1");
    // It stands since it was first seen, wherever it is read.
    let since = cluster["findings"][0]["since"].clone();
    let problems = rig.group.get("/api/v1/problems").await;
    assert_eq!(
        (&problems[0]["code"], &problems[0]["since"]),
        (&"DeposedPrimary".into(), &since),
        "{problems:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_a_cascade_is_left_where_it_is_and_follows_to_the_new_timeline() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(true).await;
    rig.adopt(2).await;
    let cascade = "SELECT pid || ' ' || sender_port FROM pg_stat_wal_receiver";
    let conninfo = "SHOW primary_conninfo";
    let before = (rig.servers[2].sql(conninfo), rig.servers[1].address.port);
    rig.kill_postmaster(0);
    rig.until("replaced", |it| {
        it["primary"] == "s1" && it["phase"] == "serving"
    })
    .await;
    rig.servers[2]
        .until(&format!("SELECT ({TIMELINE}) = 2"))
        .await;
    let now = rig.servers[2].sql(cascade);
    assert!(now.ends_with(&before.1.to_string()), "{now}");
    assert_eq!(rig.servers[2].sql(conninfo), before.0, "nobody touched it");
    let cluster = rig
        .until("seen", |it| shown(it, "s2")["state"] == "streaming")
        .await;
    assert_eq!(cluster["epoch"], 2);
}

/// With one peer of three down, both others must find nobody.
#[tokio::test(flavor = "multi_thread")]
async fn two_peers_of_three_are_a_majority() {
    if !is_installed() {
        return;
    }
    let mut rig = Rig::start(false).await;
    rig.adopt(1).await;
    rig.group.halt(3);
    rig.until("healthy", is_healthy).await;
    rig.kill_postmaster(0);
    let cluster = rig
        .until("replaced", |it| {
            it["phase"] == "serving" && it["epoch"] == 2
        })
        .await;
    let cause = rig.group.get("/api/v1/clusters/demo/history").await[0]["cause"].to_string();
    assert!(
        cause.contains("2 of 3 peers find nobody"),
        "{cause} {cluster:#}"
    );
}

/// What a live server refuses is no death.
#[tokio::test(flavor = "multi_thread")]
async fn a10_a_wrong_password_and_no_room_are_answers_of_a_live_primary() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.adopt(0).await;
    let primary = &rig.servers[0];
    let name = format!("127-0-0-1-{}", primary.address.port);
    let secret = crate::servers::SECRET.replace('\'', "''");
    for (refuse, code, allow) in [
        (
            "ALTER ROLE watcher CONNECTION LIMIT 0",
            "too many connections",
            "ALTER ROLE watcher CONNECTION LIMIT -1".to_owned(),
        ),
        (
            "ALTER ROLE watcher PASSWORD 'another'",
            "password authentication failed",
            format!("ALTER ROLE watcher PASSWORD '{secret}'"),
        ),
    ] {
        primary.sql(refuse);
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'watcher'";
        primary.sql(end);
        let cluster = rig
            .until("refused", |it| shown(it, &name)["state"] == "refusing")
            .await;
        let why = shown(&cluster, &name)["failure"].to_string();
        assert!(why.contains(code), "{why}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let cluster = rig.group.get(DEMO).await;
        assert_eq!(
            (&cluster["epoch"], &cluster["phase"]),
            (&1.into(), &"serving".into()),
            "{cluster:#}"
        );
        let codes = codes(&cluster);
        assert!(codes.contains(&"Refuses"), "{codes:?}");
        primary.sql(&allow);
        rig.until("healthy", is_healthy).await;
    }
}
