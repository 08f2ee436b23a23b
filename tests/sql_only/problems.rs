//! What is told of clusters that nobody has to fail over, and of failovers that cannot be.

use std::time::Duration;

use primacy::host::processes;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::rig::{DEMO, Rig, codes, is_healthy, is_installed};
use crate::servers::Server;

/// The words of the first finding with this code.
fn told(cluster: &Value, code: &str) -> Option<String> {
    let mut findings = cluster["findings"].as_array().into_iter().flatten();
    let found = findings.find(|it| it["code"] == code)?;
    found["text"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_a_role_that_do_not_wait_are_a_problem_as_long_as_they_do_not() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    let role = "role app: synchronous_commit = off";
    let weak = |it: &Value| told(it, "WeakCommits").is_some_and(|words| words.contains(role));
    rig.servers[0].sql("ALTER ROLE app SET synchronous_commit = off");
    let cluster = rig.until("told", weak).await;
    let guarantee = cluster["guarantee"].as_str().unwrap();
    assert!(guarantee.contains(role), "{guarantee}");
    let problems = rig.group.get("/api/v1/problems").await;
    assert_eq!(problems[0]["code"], "WeakCommits", "{problems:#}");
    rig.servers[0].sql("ALTER ROLE app RESET synchronous_commit");
    rig.until("healthy", is_healthy).await;
    let database = "ALTER DATABASE postgres SET synchronous_commit = local";
    rig.servers[0].sql(database);
    rig.until("told of the database", |it| {
        told(it, "WeakCommits").is_some_and(|words| words.contains("database postgres"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_lacks_is_in_the_plan_and_a_problem_until_it_is_mended() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    let right = "EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer)";
    rig.servers[0].sql(&format!("REVOKE {right} FROM watcher"));
    let has = "SELECT has_function_privilege('watcher', 'pg_promote(boolean, integer)', 'EXECUTE')";
    for standby in &rig.servers[1..] {
        standby.until(&format!("SELECT NOT ({has})")).await;
    }
    let (status, plan) = rig.group.post("/api/v1/adoptions", &rig.body(0)).await;
    assert_eq!(status, 200, "{plan:#}");
    assert_eq!(
        plan["hindrance"],
        "3 things are missing that a failover needs"
    );
    let lacks = |it: &Value| codes(it).iter().filter(|it| **it == "Unprepared").count();
    let cluster = rig.until("told of each", |it| lacks(it) == 3).await;
    let words = told(&cluster, "Unprepared").unwrap();
    assert!(words.contains("watcher may not promote"), "{words}");
    rig.servers[0].sql(&format!("GRANT {right} TO watcher"));
    rig.until("healthy", is_healthy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_is_required_refuses_the_failover_and_says_why() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    let mut body = rig.body(0);
    body["fence"] = json!("required");
    let (status, plan) = rig.group.post("/api/v1/adoptions", &body).await;
    assert_eq!(
        (status, &plan["fence"]),
        (200, &json!("required")),
        "{plan:#}"
    );
    let cluster = rig.until("healthy", is_healthy).await;
    let guarantee = cluster["guarantee"].as_str().unwrap();
    assert!(guarantee.starts_with("nothing is failed over: fence is"));
    rig.kill_postmaster(0);
    let is_refused = |it: &Value| {
        let blocked = told(it, "RecoveryBlocked");
        blocked.is_some_and(|words| words.contains("fence is \"required\""))
    };
    let cluster = rig
        .until("refused", |it| {
            is_refused(it) && codes(it).contains(&"DeadPrimary")
        })
        .await;
    assert_eq!(cluster["waiting"][0]["code"], "agents_required");
    // For longer than any failover takes.
    sleep(Duration::from_secs(4)).await;
    let cluster = rig.group.get(DEMO).await;
    assert!(is_refused(&cluster) && cluster["epoch"] == 1, "{cluster:#}");
    for standby in &rig.servers[1..] {
        assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
    }

    // The same cluster without that demand is failed over.
    rig.servers[0].start().await;
    rig.until("healthy", is_healthy).await;
    assert_eq!(rig.group.delete(DEMO).await.0, 200);
    rig.adopt(0).await;
    rig.kill_postmaster(0);
    rig.until("replaced", |it| {
        it["phase"] == "serving" && it["epoch"] == 2
    })
    .await;
}

/// Stops a session of this server while it holds the log, as one does whose disk stands still.
async fn with_a_log_that_stands_still(server: &Server, clients: &[Child]) -> i32 {
    let asked = async |statement: &str| {
        let answer = server.session(statement).wait_with_output();
        let answer = timeout(Duration::from_millis(500), answer)
            .await
            .ok()?
            .ok()?;
        Some(String::from_utf8(answer.stdout).unwrap().trim().to_owned())
    };
    assert!(!clients.is_empty());
    let pid = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO%' LIMIT 1";
    let pid: i32 = server.sql(pid).parse().unwrap();
    for _ in 0..1000 {
        processes::signal(&server.data, pid, Signal::STOP);
        // The others wait for it, and that nobody moves is seen by itself.
        let flushed = "SELECT pg_current_wal_flush_lsn()";
        let first = asked(flushed).await;
        sleep(Duration::from_millis(20)).await;
        let stands_still = first.is_some() && first == asked(flushed).await;
        let open = "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()";
        if stands_still && asked(open).await.as_deref() == Some("t") {
            // A flush of a slow disk looks the same, but not for as long.
            sleep(Duration::from_secs(2)).await;
            if first == asked(flushed).await {
                return pid;
            }
        }
        processes::signal(&server.data, pid, Signal::CONT);
        sleep(Duration::from_millis(3)).await;
    }
    panic!("it is never stopped at the right moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_log_stands_still_is_told_until_it_goes_on() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.adopt(0).await;
    let primary = &rig.servers[0];
    let busy = "DO $$ BEGIN LOOP INSERT INTO w VALUES (1); COMMIT; END LOOP; END $$";
    let clients: Vec<_> = (0..3).map(|_| primary.session(busy)).collect();
    let running = "SELECT count(*) = 3 FROM pg_stat_activity WHERE query LIKE 'DO%'";
    primary.until(running).await;
    let stopped = with_a_log_that_stands_still(primary, &clients).await;
    let cluster = rig
        .until("told", |it| told(it, "StalledPrimary").is_some())
        .await;
    let words = told(&cluster, "StalledPrimary").unwrap();
    assert!(words.contains("has not come back for 5 s"), "{words}");
    assert_eq!(
        (&cluster["phase"], &cluster["epoch"]),
        (&json!("serving"), &json!(1))
    );
    processes::signal(&primary.data, stopped, Signal::CONT);
    rig.until("over", |it| told(it, "StalledPrimary").is_none())
        .await;
    drop(clients);
    // Where nobody writes, nobody is written to; the server itself may, with its snapshots and its autovacuum.
    primary.until("SELECT count(pg_terminate_backend(pid)) >= 0 FROM pg_stat_activity WHERE query LIKE 'DO%' AND pid <> pg_backend_pid()").await;
    primary.sql("CHECKPOINT");
    rig.until("healthy", is_healthy).await;
    let before = primary.sql("SELECT pg_current_wal_insert_lsn()");
    sleep(Duration::from_secs(3)).await;
    let records = records_since(&rig, &before);
    assert!(!records.contains("LogicalMessage"), "{records}");
    // Nor where its log ends at the end of a segment, as after each archive_timeout.
    primary.sql("SELECT pg_switch_wal()");
    let before = primary.sql("SELECT pg_current_wal_flush_lsn()");
    sleep(Duration::from_secs(3)).await;
    let records = records_since(&rig, &before);
    assert!(!records.contains("LogicalMessage"), "{records}");
}

/// What the first server has written to its log since this position.
fn records_since(rig: &Rig, begins: &str) -> String {
    let mut records = rig.host.program("pg_waldump");
    records
        .arg("-p")
        .arg(rig.servers[0].data.join("pg_wal"))
        .args(["-s", begins]);
    // It ends with a complaint, where nothing is yet.
    let output = records.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
