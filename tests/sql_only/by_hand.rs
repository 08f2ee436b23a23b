//! Somebody does something to a server behind the leader's back.

use std::process::Command;
use std::time::Duration;

use primacy::host::processes;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::load::{Load, rows};
use crate::rig::{DEMO, Rig, is_healthy, is_installed, shown};

const SHORT: Duration = Duration::from_secs(4);

fn stop(rig: &Rig, number: usize) {
    let mut stop = rig.host.program("pg_ctl");
    stop.args(["stop", "-w", "-m", "fast", "-D"]);
    rig.host.run(stop.arg(&rig.servers[number].data));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn codes(cluster: &Value) -> Vec<&str> {
    let all = cluster["findings"].as_array().into_iter().flatten();
    all.filter_map(|it| it["code"].as_str()).collect()
}

/// Whoever runs as a standby accepts no writes, recorded or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_somebody_restarted_as_a_standby_is_replaced() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    let load = Load::start(&rig);
    load.more(50).await;
    let hold = json!({"seconds": 600, "owner": "ana", "reason": "a restart"});
    let (status, paused) = rig.group.post(&format!("{DEMO}/pause"), &hold).await;
    assert_eq!(status, 200, "{paused:#}");
    stop(&rig, 0);
    let signal = rig.servers[0].data.join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    rig.host.give(&signal);
    rig.servers[0].start().await;
    rig.until("found", |it| codes(it).contains(&"NoPrimary"))
        .await;
    rig.group.delete(&format!("{DEMO}/pause")).await;
    let cluster = rig
        .until("replaced", |it| {
            it["epoch"] == 2 && it["phase"] == "serving" && it["primary"].is_string()
        })
        .await;
    let history = rig.group.get(&format!("{DEMO}/history")).await;
    let cause = history[0]["cause"].as_str().unwrap();
    assert!(cause.contains("runs as a standby"), "{cause} {cluster:#}");
    load.more(10).await;
    let acknowledged = load.end();
    let now = (0..3).find(|it| rig.servers[*it].sql("SELECT pg_is_in_recovery()") == "f");
    let there = rows(&rig, now.unwrap());
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
}

/// What it acknowledged before it was restored is gone, and nobody else has it but the primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_was_restored_from_a_backup_counts_for_no_failover_until_it_has_caught_up() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    let s2 = &rig.servers[2];
    let backup = rig.host.folder.path().join("backup");
    stop(&rig, 2);
    copy(&s2.data, &backup);
    s2.start().await;
    rig.until("healthy", is_healthy).await;
    // From here on s2 alone has what is acknowledged.
    let conninfo = rig.servers[1].sql("SHOW primary_conninfo");
    let port = |port: u16| format!("port={port}");
    let astray = conninfo.replace(&port(rig.servers[0].address.port), &port(1));
    let set = |conninfo: &str| {
        let value = conninfo.replace('\'', "''");
        rig.servers[1].sql(&format!("ALTER SYSTEM SET primary_conninfo = '{value}'"));
        rig.servers[1].sql("SELECT pg_reload_conf()");
    };
    set(&astray);
    rig.servers[1]
        .until("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
        .await;
    let load = Load::start(&rig);
    load.more(100).await;
    let acknowledged = load.end();
    rig.kill_postmaster(0);
    stop(&rig, 2);
    std::fs::remove_dir_all(&s2.data).unwrap();
    copy(&backup, &s2.data);
    s2.start().await;
    let waits = |it: &Value| it["waiting"].to_string().contains("copy of the data");
    rig.until("not proven", waits).await;
    sleep(SHORT).await;
    let cluster = rig.group.get(DEMO).await;
    assert_eq!(cluster["epoch"], 1, "{cluster:#}");
    // It counts again once it has all of it.
    rig.servers[0].start().await;
    set(&conninfo);
    rig.until("healthy", is_healthy).await;
    let there = rows(&rig, 2);
    assert!(acknowledged.is_subset(&there));
    rig.kill_postmaster(0);
    rig.until("replaced", |it| {
        it["epoch"] == 2 && it["phase"] == "serving"
    })
    .await;
}

/// `chown -R` and the like change the mark of a copy, and nothing is replaced below a server that runs.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_touched_before_a_failover_do_not_hold_it_up() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    // Marks are of whole seconds.
    sleep(Duration::from_secs(1)).await;
    let hold = json!({"seconds": 600, "owner": "ana", "reason": "a test"});
    let (status, paused) = rig.group.post(&format!("{DEMO}/pause"), &hold).await;
    assert_eq!(status, 200, "{paused:#}");
    rig.kill_postmaster(0);
    rig.until("dead", |it| codes(it).contains(&"DeadPrimary"))
        .await;
    for standby in &rig.servers[1..] {
        let mark = "SELECT change FROM pg_stat_file('PG_VERSION')";
        let before = standby.sql(mark);
        rig.host.give(&standby.data.join("PG_VERSION"));
        assert_ne!(standby.sql(mark), before);
        standby.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'watcher'",
        );
    }
    // By now every peer looks through new sessions.
    sleep(Duration::from_secs(2)).await;
    rig.group.delete(&format!("{DEMO}/pause")).await;
    rig.until("replaced", |it| {
        it["epoch"] == 2 && it["phase"] == "serving"
    })
    .await;
}

/// A source is recorded under the address at which the peers reach it, and its standbys may know it by another one.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_away_follows_the_new_primary_whatever_it_calls_the_old_one() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.adopt(0).await;
    let s2 = &rig.servers[2];
    let conninfo = s2.sql("SHOW primary_conninfo");
    let another = conninfo.replace("127.0.0.1", "localhost");
    assert_ne!(conninfo, another);
    let value = another.replace('\'', "''");
    s2.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{value}'"));
    stop(&rig, 2);
    rig.until("gone", |it| shown(it, "s2")["state"] == "gone")
        .await;
    rig.kill_postmaster(0);
    rig.until("replaced", |it| {
        it["primary"] == "s1" && it["phase"] == "serving"
    })
    .await;
    s2.start().await;
    rig.until("led on", |it| shown(it, "s2")["state"] == "streaming")
        .await;
    let port = rig.servers[1].address.port.to_string();
    assert_eq!(s2.sql("SELECT sender_port FROM pg_stat_wal_receiver"), port);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_in_the_middle_of_a_cascade_may_restart_and_a_slot_of_nobody_is_told() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(true).await;
    rig.adopt(0).await;
    rig.until("healthy", is_healthy).await;
    let before = rig.servers[2].sql("SHOW primary_conninfo");
    stop(&rig, 1);
    rig.until("away", |it| {
        it["findings"]
            .to_string()
            .contains("s1, which it follows, is away")
    })
    .await;
    sleep(SHORT).await;
    rig.servers[1].start().await;
    rig.until("healthy", is_healthy).await;
    assert_eq!(rig.servers[2].sql("SHOW primary_conninfo"), before);
    let primary = &rig.servers[0];
    primary.sql("SELECT pg_create_physical_replication_slot('nobody', true)");
    let cluster = rig.until("told", |it| codes(it) == ["UnusedSlots"]).await;
    assert!(cluster["findings"].to_string().contains("nobody"));
    primary.sql("SELECT pg_drop_replication_slot('nobody')");
    let cluster = rig.until("healthy", is_healthy).await;
    assert_eq!(shown(&cluster, "s2")["state"], "streaming");
}

/// A process that sends WAL and has not read the names yet acknowledges by the old ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_stronger_rule_is_believed_once_every_process_goes_by_it() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.adopt(0).await;
    let primary = &rig.servers[0];
    let sender = "SELECT pid FROM pg_stat_replication WHERE application_name = 's1'";
    let sender = primary.sql(sender).parse().unwrap();
    assert!(processes::signal(&primary.data, sender, Signal::STOP));
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, s2)'");
    primary.sql("SELECT pg_reload_conf()");
    let began = Instant::now();
    while began.elapsed() < SHORT {
        let cluster = rig.group.get(DEMO).await;
        assert_eq!(cluster["durability"], "async", "{cluster:#}");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(processes::signal(&primary.data, sender, Signal::CONT));
    rig.until("quorum", |it| it["durability"] == "quorum 1")
        .await;
}
