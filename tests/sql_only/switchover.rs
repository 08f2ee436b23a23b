//! The primary is changed on request.

use serde_json::json;
use tokio::time::Instant;

use crate::load::{Load, rows};
use crate::rig::{DEMO, Rig, is_installed, shown};
use crate::stage::LONG;

const SWITCH: &str = "/api/v1/clusters/demo/switchover";

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_switchover_loses_nothing_and_the_old_primary_stays_quiet() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    let load = Load::start(&rig);
    load.more(50).await;
    let (status, problem) = rig.group.post(SWITCH, &json!({"to": "nobody"})).await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("invalid")),
        "{problem}"
    );
    let began = Instant::now();
    let (status, begun) = rig.group.post(SWITCH, &json!({"to": "s2"})).await;
    assert_eq!(status, 202, "{begun:#}");
    rig.until("switched", |it| {
        it["primary"] == "s2" && it["phase"] == "serving"
    })
    .await;
    load.more(10).await;
    assert!(load.longest_gap(began) < LONG);
    let acknowledged = load.end();
    let there = rows(&rig, 2);
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    assert_eq!(
        rig.servers[0].sql("SHOW default_transaction_read_only"),
        "on"
    );
    rig.servers[1]
        .until("SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a16_a_candidate_that_does_not_come_as_far_is_given_up_and_the_primary_goes_on() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.adopt(0).await;
    // A session that only a superuser may end keeps the primary from becoming quiet.
    let mut session = rig.servers[0].session("SELECT pg_sleep(60)");
    rig.servers[0]
        .until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid())")
        .await;
    let (status, begun) = rig.group.post(SWITCH, &json!({"to": "s2"})).await;
    assert_eq!(status, 202, "{begun:#}");
    let history = format!("{DEMO}/history");
    let given_up = rig
        .group
        .until("given up", &history, |it| {
            it[0]["outcome"].is_string() && it[0]["kind"] == "handover"
        })
        .await;
    let why = given_up[0].to_string();
    assert!(why.contains("superuser"), "{why}");
    rig.servers[0]
        .until("SELECT current_setting('default_transaction_read_only') = 'off'")
        .await;
    let cluster = rig.until("serving", |it| it["phase"] == "serving").await;
    assert!(
        cluster["primary"]
            .as_str()
            .unwrap()
            .starts_with("127-0-0-1"),
        "{cluster:#}"
    );
    rig.servers[0].sql("INSERT INTO w VALUES (1)");
    session.kill().await.unwrap();
}

/// Where nothing could be proven, nobody is asked to refuse writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_that_could_not_be_proven_is_refused_at_the_door() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    let s2 = &rig.servers[2].data;
    primacy::host::processes::kill_all(s2, LONG).unwrap();
    rig.until("gone", |it| shown(it, "s2")["state"] == "gone")
        .await;
    let (status, problem) = rig.group.post(SWITCH, &json!({"to": "s1"})).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("not-now")),
        "{problem:#}"
    );
    let why = problem["detail"].as_str().unwrap();
    assert!(
        why.contains("1 of 2 revoked standbys needed; s2: cannot be asked"),
        "{why}"
    );
    let cluster = rig.group.get(DEMO).await;
    assert_eq!(
        (&cluster["epoch"], &cluster["phase"]),
        (&json!(1), &json!("serving"))
    );
    let quiet = "SHOW default_transaction_read_only";
    assert_eq!(rig.servers[0].sql(quiet), "off");
}

/// Being quiet is a courtesy, which anybody may take back.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_promoted_beside_an_old_primary_that_somebody_let_accept_writes() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.adopt(0).await;
    let (status, begun) = rig.group.post(SWITCH, &json!({"to": "s2"})).await;
    assert_eq!(status, 202, "{begun:#}");
    let primary = &rig.servers[0];
    primary
        .until("SELECT current_setting('default_transaction_read_only') = 'on'")
        .await;
    let history = format!("{DEMO}/history");
    let ended =
        |it: &serde_json::Value| it[0]["outcome"].is_string() && it[0]["kind"] == "handover";
    let mut told = serde_json::Value::Null;
    while !ended(&told) {
        primary.sql("ALTER SYSTEM SET default_transaction_read_only = off");
        primary.sql("SELECT pg_reload_conf()");
        told = rig.group.get(&history).await;
    }
    assert!(
        told[0].to_string().contains("accepts writes again"),
        "{told:#}"
    );
    for standby in &rig.servers[1..] {
        assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
    }
    primary
        .until("SELECT current_setting('default_transaction_read_only') = 'off'")
        .await;
    primary.sql("INSERT INTO w VALUES (1)");
}
