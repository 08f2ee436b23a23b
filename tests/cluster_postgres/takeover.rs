//! A PostgreSQL that was set up by hand, with a standby and writers, is looked after by agents from now on.

mod rig;

use std::time::Duration;

use primacy::host::processes;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Config};

use crate::{Acknowledged, connect, insert, is_healthy, lost, shown};
use rig::{Node, Rig, program};

/// No writer waits for longer on a busy machine: standbys connect anew, and reports travel. How long it is, is printed.
const PAUSE: Duration = Duration::from_secs(30);

async fn session(config: &Config) -> Client {
    let deadline = Instant::now() + crate::WITHIN;
    loop {
        match connect(config).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Writes in one session until it ends, and returns the longest time that one commit took.
async fn write_through(client: &Client, acknowledged: &Acknowledged) -> Duration {
    let mut longest = Duration::ZERO;
    for row in 0.. {
        let began = Instant::now();
        if insert(client, row).await.is_err() {
            break;
        }
        longest = longest.max(began.elapsed());
        acknowledged.note(row);
        sleep(Duration::from_millis(2)).await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_and_its_standby_are_taken_over_under_load_and_fail_over_without_loss() {
    let Some(mut rig) = Rig::start("quorum:1").await else {
        return;
    };
    let before: Vec<_> = rig.nodes.iter().map(Node::identity).collect();
    let client = session(&rig.everywhere()).await;
    let acknowledged = Acknowledged::default();

    // Nobody is there to be asked; and an agent that nobody asked takes nothing.
    let refused = rig.nodes[0].join(&[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("add --yes"));
    let config = rig.nodes[0].config.display().to_string();
    let refused = program()
        .args(["agent", "--config", &config])
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        why.contains("no agent filled") && why.contains("primacy agent join"),
        "{why}"
    );

    let taken = async {
        acknowledged.some().await;
        rig.nodes[0].joined(&[
            "pg-a of main",
            "primary",
            "NOW   wal_keep_size   64MB -> 256MB",
            "LATER",
        ]);
        // Commits would wait for somebody.
        rig.until("waiting for the standby", |cluster| {
            cluster.to_string().contains("standbys_not_offered")
        })
        .await;
        assert_eq!(
            rig.nodes[0].server.sql("SHOW synchronous_standby_names"),
            ""
        );
        rig.nodes[1].joined(&["pg-b of main", "standby of 127.0.0.1"]);
        rig.until("looked after", is_healthy).await
    };
    let mut wrote = std::pin::pin!(write_through(&client, &acknowledged));
    let cluster = tokio::select! {
        _ = &mut wrote => panic!("the session ended: {}", rig_said(&acknowledged)),
        cluster = taken => cluster,
    };
    assert_eq!(cluster["timeline"], 1);
    assert_eq!(shown(&cluster, "pg-b")["role"], "standby");
    for (node, before) in rig.nodes.iter().zip(&before) {
        assert_eq!(node.identity(), *before, "{} was restarted", node.name);
    }
    let names = rig.nodes[0].server.sql("SHOW synchronous_standby_names");
    assert_eq!(names, "ANY 1 (\"pg-b_0_1\")");
    // Their own rules still let them in, and by the sockets of before.
    assert_eq!(rig.nodes[1].server.sql("SELECT pg_is_in_recovery()"), "t");

    let seen = acknowledged.rows().len();
    let old = rig.nodes[0].postmaster();
    let killed = async {
        while acknowledged.rows().len() < seen + 20 {
            sleep(Duration::from_millis(5)).await;
        }
        processes::signal(&rig.nodes[0].server.data, old, Signal::KILL);
    };
    let (longest, ()) = tokio::join!(wrote, killed);
    eprintln!(
        "{} commits, the longest took {} ms while both were taken over",
        acknowledged.rows().len(),
        longest.as_millis()
    );
    assert!(longest < PAUSE, "{longest:?}");

    let client = session(&rig.everywhere()).await;
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
    let after = rig
        .until("healthy again", |cluster| {
            is_healthy(cluster) && cluster["primary"] == "pg-b"
        })
        .await;
    assert_eq!(after["timeline"], 2);
    assert_eq!(shown(&after, "pg-a")["state"], "streaming");
    // A standby whose fence takes long is stopped, and promoted from a new start.
    let is_as_it_ran = rig.nodes[1].postmaster() == before[1].0;
    eprintln!("pg-b was promoted as it ran: {is_as_it_ran}");
    insert(&client, 1_000_000).await.unwrap();
}

fn rig_said(acknowledged: &Acknowledged) -> String {
    format!("after {} commits", acknowledged.rows().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_alone_is_taken_over_and_its_agent_may_be_restarted() {
    let Some(mut rig) = Rig::start("async").await else {
        return;
    };
    let before = rig.nodes[0].identity();
    rig.nodes[0].joined(&["primary"]);
    let serves = |cluster: &Value| {
        cluster["phase"] == "serving" && shown(cluster, "pg-a")["state"] == "running"
    };
    let cluster = rig.until("looked after", serves).await;
    assert_eq!(cluster["primary"], "pg-a");
    assert_eq!(rig.nodes[0].identity(), before);

    let mut agent = rig.nodes[0].agent.take().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    rig.nodes[0].start();
    rig.until("there again", serves).await;
    assert_eq!(
        rig.nodes[0].identity(),
        before,
        "its agent's restart is no restart"
    );

    // It died: the agent starts it from now on, with the settings that had to wait.
    processes::signal(&rig.nodes[0].server.data, before.0, Signal::KILL);
    rig.until("promoted", |cluster| {
        serves(cluster) && cluster["epoch"].as_u64() > Some(1)
    })
    .await;
    let sockets = rig.nodes[0].server.sql("SHOW unix_socket_directories");
    assert!(sockets.contains("pg-a-agent/run"), "{sockets}");
    assert_eq!(rig.nodes[0].server.sql("SHOW max_replication_slots"), "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_run_is_taken_over_and_started() {
    let Some(mut rig) = Rig::start("async").await else {
        return;
    };
    rig.nodes[0].server.sql("INSERT INTO t VALUES (7)");
    let data = rig.nodes[0].server.data.clone();
    processes::kill_all(&data, crate::WITHIN).unwrap();
    rig.nodes[0].joined(&["primary that does not run"]);
    let cluster = rig
        .until("started", |cluster| {
            cluster["phase"] == "serving" && shown(cluster, "pg-a")["state"] == "running"
        })
        .await;
    assert_eq!(cluster["timeline"], 2, "it was promoted");
    assert_eq!(rig.nodes[0].server.sql("SELECT row FROM t"), "7");
}

/// Both were primaries: the second one is left alone, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_primary_is_left_alone() {
    let Some(mut rig) = Rig::start("async").await else {
        return;
    };
    rig.nodes[1].server.sql("SELECT pg_promote()");
    let before = rig.nodes[1].identity();
    rig.nodes[0].joined(&["primary"]);
    rig.nodes[1].joined(&["primary"]);
    rig.until("refused", |cluster| {
        cluster
            .to_string()
            .contains("it runs as a primary beside pg-a")
    })
    .await;
    assert_eq!(rig.nodes[1].identity(), before);
    assert_eq!(rig.nodes[1].server.sql("SELECT pg_is_in_recovery()"), "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_refused_by_field_and_nothing_is_changed() {
    let Some(rig) = Rig::start("async").await else {
        return;
    };
    let node = &rig.nodes[0];
    let before = node.identity();
    let hba = std::fs::read(node.server.data.join("pg_hba.conf")).unwrap();
    let good = std::fs::read_to_string(&node.config).unwrap();
    let port = node.server.address.port;
    let refused = |words: &[&str]| {
        let output = node.join(&["--yes"]);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        for word in words {
            assert!(why.contains(word), "{word} is not in {why}");
        }
        assert!(!node.folder.exists(), "{why}");
    };
    for (from, to, words) in [
        (
            "access = ".to_owned(),
            "max_connections = 50\naccess = ".to_owned(),
            ["`max_connections` is 50", "write 100"],
        ),
        (
            format!("port = {port}"),
            format!("port = {}", port + 1),
            ["`port`", "a server runs in"],
        ),
        (
            "access = ".to_owned(),
            "superuser = \"nobody_here\"\naccess = ".to_owned(),
            ["`superuser`", "cannot log in"],
        ),
        (
            "plain_http = true\n".to_owned(),
            String::new(),
            ["no certificate", "TOKEN"],
        ),
    ] {
        std::fs::write(&node.config, good.replacen(&from, &to, 1)).unwrap();
        refused(&words);
    }
    std::fs::write(&node.config, &good).unwrap();
    let label = node.server.data.join("backup_label");
    std::fs::write(&label, "").unwrap();
    refused(&["`data`", "backup_label", "let PostgreSQL finish"]);
    std::fs::remove_file(&label).unwrap();
    node.server
        .sql("ALTER ROLE postgres SET synchronous_commit = off");
    refused(&["`superuser`", "synchronous_commit", "ALTER ROLE"]);
    node.server
        .sql("ALTER ROLE postgres RESET synchronous_commit");
    assert_eq!(node.identity(), before);
    assert_eq!(
        std::fs::read(node.server.data.join("pg_hba.conf")).unwrap(),
        hba
    );
}
