//! The whole product on real PostgreSQL: `primacy dev` brings it up, tests break it.
//! Without PostgreSQL on this machine the tests say so and pass.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::NoTls;

const WITHIN: Duration = Duration::from_secs(60);

/// Takes everything down, whatever became of the test.
struct Dev {
    folder: PathBuf,
}

impl Dev {
    fn up() -> Option<Dev> {
        let is_installed = PathBuf::from("/usr/lib/postgresql").exists();
        if !is_installed {
            eprintln!("skipped: no PostgreSQL below /usr/lib/postgresql");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("primacy-test-{}", std::process::id()));
        let dev = Dev { folder };
        let up = dev.run(&["dev", "up", "--no-view"]);
        assert!(
            up.status.success(),
            "dev up: {}",
            String::from_utf8_lossy(&up.stderr)
        );
        Some(dev)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_primacy"))
            .args(arguments)
            .env("PRIMACY_DEV", &self.folder)
            .env_remove("PRIMACY_API")
            .output()
            .unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text.trim().to_owned()
    }

    fn cluster(&self) -> Option<Value> {
        let output = self.run(&["status", "demo", "--output", "json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    fn history(&self) -> Value {
        serde_json::from_str(&self.done(&["history", "--output", "json"])).unwrap()
    }

    /// The cluster as soon as it is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let cluster = self.cluster();
            if let Some(cluster) = cluster.as_ref().filter(|cluster| wanted(cluster)) {
                return cluster.clone();
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not {what}: {cluster:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A session on the primary, as soon as there is one.
    async fn session(&self) -> tokio_postgres::Client {
        let dsn = self.done(&["primary", "--dsn"]);
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            match tokio_postgres::connect(&dsn, NoTls).await {
                Ok((client, connection)) => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the session's driver ends with its client"
                    )]
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.run(&["dev", "down"]);
    }
}

fn is_healthy(cluster: &Value) -> bool {
    let settled = |instance: &Value| {
        instance["standing"] == "voter"
            && instance["rejoin"].is_null()
            && (instance["state"] == "streaming" || instance["state"] == "running")
    };
    cluster["phase"] == "serving"
        && cluster["findings"] == serde_json::json!([])
        && cluster["instances"]
            .as_array()
            .is_some_and(|all| all.iter().all(settled))
}

/// Inserts until the session ends; answers with the rows that were acknowledged.
async fn write(client: &tokio_postgres::Client, from: i32) -> Vec<i32> {
    let mut acknowledged = vec![];
    for row in from.. {
        match client.execute("INSERT INTO t VALUES ($1)", &[&row]).await {
            Ok(_) => acknowledged.push(row),
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_and_the_old_primary_comes_back() {
    let Some(dev) = Dev::up() else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let client = dev.session().await;
    client
        .batch_execute("CREATE TABLE t (row int PRIMARY KEY)")
        .await
        .unwrap();
    let (acknowledged, killed) = tokio::join!(write(&client, 0), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| dev.done(&["dev", "kill", &old, "--only", "postmaster"]))
    });
    assert!(!acknowledged.is_empty(), "{killed}");

    let client = dev.session().await;
    let rows = client.query("SELECT row FROM t", &[]).await.unwrap();
    let kept: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|row| !kept.contains(row))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");

    let after = dev.until("healthy again", is_healthy).await;
    assert_ne!(after["primary"], before["primary"]);
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    assert!(after["timeline"].as_u64() > before["timeline"].as_u64());

    // A26: what the peers recorded survives the death of all of them.
    let history = dev.history();
    for peer in ["p1", "p2", "p3"] {
        dev.done(&["dev", "kill", peer]);
    }
    assert_eq!(dev.run(&["leader"]).status.code(), Some(5));
    client
        .execute("INSERT INTO t VALUES (-1)", &[])
        .await
        .unwrap();
    for peer in ["p1", "p2", "p3"] {
        dev.done(&["dev", "start", peer]);
    }
    let revived = dev
        .until("healthy after the peers' return", is_healthy)
        .await;
    for field in [
        "epoch",
        "timeline",
        "primary",
        "system_identifier",
        "durability",
    ] {
        assert_eq!(revived[field], after[field], "{field}");
    }
    assert_eq!(dev.history(), history);
    client
        .execute("INSERT INTO t VALUES (-2)", &[])
        .await
        .unwrap();

    // Nothing is left behind.
    dev.done(&["dev", "down"]);
    assert!(!dev.folder.exists());
}
