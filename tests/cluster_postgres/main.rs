//! The whole product on real PostgreSQL: `primacy dev` brings it up, tests break it.
//! Without PostgreSQL on this machine the tests say so and pass.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod addresses;
mod around;
mod deposed;
mod durability;
mod everything_at_once;
mod forced;
#[path = "../sql_only/group.rs"]
#[allow(dead_code, reason = "other tests do more with it")]
mod group;
mod leader_death;
mod operating;
mod out_of_reach;
mod planned_stop;
mod problems;
mod restore;
#[path = "../provider/servers.rs"]
#[allow(dead_code, reason = "other tests do more with them")]
mod servers;
mod switchover;
mod takeover;

/// What `servers` and `group` ask of the crate that they are a part of.
mod stage {
    /// How long anything may take.
    pub const LONG: std::time::Duration = std::time::Duration::from_secs(30);
}

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls};

mod stuck;

const WITHIN: Duration = Duration::from_secs(60);

/// Two at a time would share the machine, and wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Takes everything down, whatever became of the test.
struct Dev {
    folder: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Dev {
    async fn up() -> Option<Dev> {
        Dev::up_with(&[]).await
    }

    async fn up_with(arguments: &[&str]) -> Option<Dev> {
        let is_installed = PathBuf::from("/usr/lib/postgresql").exists();
        if !is_installed {
            eprintln!("skipped: no PostgreSQL below /usr/lib/postgresql");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("primacy-test-{}", std::process::id()));
        let dev = Dev {
            folder,
            _alone: ONE_AT_A_TIME.lock().await,
        };
        let up = dev.run(&[&["dev", "up", "--no-view"], arguments].concat());
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
            .env_remove("PRIMACY_TLS")
            .env_remove("PRIMACY_TOKEN")
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
        let deadline = Instant::now() + WITHIN;
        loop {
            let cluster = self.cluster();
            if let Some(cluster) = cluster.as_ref().filter(|cluster| wanted(cluster)) {
                return cluster.clone();
            }
            assert!(Instant::now() < deadline, "not {what}: {cluster:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A session on the primary, as soon as there is one.
    async fn session(&self) -> Client {
        let everywhere = self.dsn();
        let deadline = Instant::now() + WITHIN;
        loop {
            match connect(&everywhere).await {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the session's driver ends with its client"
    )]
    tokio::spawn(connection);
    Ok(client)
}

/// One instance as the status shows it.
fn shown<'a>(cluster: &'a Value, instance: &str) -> &'a Value {
    let mut all = cluster["instances"].as_array().unwrap().iter();
    all.find(|shown| shown["name"] == instance).unwrap()
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

async fn create_table(client: &Client) {
    client
        .batch_execute("CREATE TABLE t (row int PRIMARY KEY)")
        .await
        .unwrap();
}

async fn insert(client: &Client, row: i32) -> Result<(), tokio_postgres::Error> {
    let inserted = client.execute("INSERT INTO t VALUES ($1)", &[&row]).await;
    inserted.map(drop)
}

/// The rows that some session was told are safe.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Lock<Vec<i32>>>);

impl Acknowledged {
    fn note(&self, row: i32) {
        self.0.lock().unwrap().push(row);
    }

    fn rows(&self) -> Vec<i32> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until there are some.
    async fn some(&self) {
        let deadline = Instant::now() + WITHIN;
        while self.rows().is_empty() {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Inserts until the session ends.
async fn write(client: &Client, from: i32, acknowledged: &Acknowledged) {
    for row in from.. {
        match insert(client, row).await {
            Ok(()) => acknowledged.note(row),
            Err(_) => break,
        }
    }
}

/// Inserts on ever new sessions; never ends by itself.
async fn write_anew(config: &Config, from: i32, acknowledged: &Acknowledged) {
    for row in from.. {
        if let Ok(client) = connect(config).await
            && insert(&client, row).await.is_ok()
        {
            acknowledged.note(row);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The first of these instances that acknowledges a commit, with a session on it.
async fn first_to_acknowledge(
    addresses: &[(String, Config)],
    from: i32,
    acknowledged: &Acknowledged,
) -> (String, Client) {
    let deadline = Instant::now() + WITHIN;
    for row in from.. {
        for (name, address) in addresses {
            // A standby refuses at once, a new primary answers when a standby has the commit.
            let attempt = async {
                let client = connect(address).await.ok()?;
                insert(&client, row).await.ok()?;
                Some(client)
            };
            let done = tokio::time::timeout_at(deadline, attempt).await;
            if let Some(client) = done.expect("nobody acknowledges a commit") {
                acknowledged.note(row);
                return (name.clone(), client);
            }
        }
        assert!(Instant::now() < deadline, "nobody acknowledges a commit");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("there are more rows than milliseconds in a minute")
}

/// What was acknowledged and is not there.
async fn lost(client: &Client, acknowledged: &Acknowledged) -> Vec<i32> {
    let rows = client.query("SELECT row FROM t", &[]).await.unwrap();
    let kept: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    let mut lost = acknowledged.rows();
    lost.retain(|row| !kept.contains(row));
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_and_the_old_primary_comes_back() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let client = dev.session().await;
    create_table(&client).await;
    let acknowledged = Acknowledged::default();
    tokio::join!(write(&client, 0, &acknowledged), async {
        acknowledged.some().await;
        tokio::task::block_in_place(|| dev.done(&["dev", "kill", &old, "--only", "postmaster"]))
    });
    let client = dev.session().await;
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());

    let after = dev.until("healthy again", is_healthy).await;
    assert_ne!(after["primary"], before["primary"]);
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    assert!(after["timeline"].as_u64() > before["timeline"].as_u64());

    // Nothing is left behind.
    dev.done(&["dev", "down"]);
    assert!(!dev.folder.exists());
}

/// What the peers recorded, a failover and a rejoin included, survives the death of all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a26_kill_9_of_all_peers_leaves_epoch_recoveries_and_cluster_intact() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    dev.done(&["dev", "kill", &old, "--only", "postmaster"]);
    let after = dev
        .until("healthy after a failover", |cluster| {
            is_healthy(cluster) && cluster["epoch"].as_u64() > before["epoch"].as_u64()
        })
        .await;
    let client = dev.session().await;
    create_table(&client).await;

    let history = dev.history();
    let kinds: Vec<_> = history.as_array().unwrap().iter().collect();
    for kind in ["creation", "handover", "rejoin"] {
        assert!(kinds.iter().any(|it| it["kind"] == kind), "{history}");
    }
    for peer in ["p1", "p2", "p3"] {
        dev.done(&["dev", "kill", peer]);
    }
    assert_eq!(dev.run(&["leader"]).status.code(), Some(5));
    insert(&client, 1).await.unwrap();
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
    // Newest first. On a busy machine a new leader may find a standby that does not stream yet, which adds a rejoin.
    let (kept, now) = (history.as_array().unwrap(), dev.history());
    assert!(now.as_array().unwrap().ends_with(kept), "{now}");
    insert(&client, 2).await.unwrap();
}

/// A host that hangs: its sockets stay open and say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a13_a_frozen_primary_is_replaced_and_acknowledges_nothing_after_it_thaws() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let old_address = dev.address_of(&before, &old);
    let names = before["instances"].as_array().unwrap().iter();
    let others: Vec<_> = names
        .filter_map(|it| it["name"].as_str())
        .filter(|name| *name != old)
        .map(|name| (name.to_owned(), dev.address_of(&before, name)))
        .collect();
    let acknowledged = Acknowledged::default();

    // A session that writes without a pause, before the freeze and after it.
    let open = connect(&old_address).await.unwrap();
    create_table(&open).await;
    let mut open_writer = JoinSet::new();
    let noted = acknowledged.clone();
    open_writer.spawn(async move { write(&open, 0, &noted).await });
    acknowledged.some().await;

    let freeze = Instant::now();
    dev.done(&["dev", "freeze", &old]);
    let (new, client) = first_to_acknowledge(&others, 1_000_000, &acknowledged).await;
    let replaced = freeze.elapsed();
    eprintln!(
        "{new} acknowledges {} ms after the freeze of {old}",
        replaced.as_millis()
    );

    // New sessions too: the first waits in the frozen server's backlog, and is served by the thaw.
    let mut new_writer = JoinSet::new();
    let noted = acknowledged.clone();
    new_writer.spawn(async move { write_anew(&old_address, 2_000_000, &noted).await });
    let thaw = Instant::now();
    dev.done(&["dev", "thaw", &old]);
    let ended = tokio::time::timeout(WITHIN, open_writer.join_next()).await;
    ended
        .expect("the old primary ends the session that was open")
        .unwrap()
        .unwrap();
    let ended = thaw.elapsed();
    let after = dev
        .until("healthy with another primary", |cluster| {
            is_healthy(cluster) && cluster["primary"] == *new
        })
        .await;
    eprintln!(
        "its session ends {} ms after the thaw, and it streams after {} ms",
        ended.as_millis(),
        thaw.elapsed().as_millis()
    );
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    let rejoined = shown(&after, &old);
    assert_eq!(rejoined["role"], "standby");
    assert_eq!(rejoined["state"], "streaming");
    new_writer.shutdown().await;
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
}
