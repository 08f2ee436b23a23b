//! Disaster recovery: the peers are gone but one, and the group begins anew from it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Acknowledged, Dev, create_table, insert, is_healthy, lost, write, write_anew};

/// How long the old group is watched: it elects a leader in a second, and its leader looks at the agents ten times a
/// second.
const WATCHED: Duration = Duration::from_secs(4);

impl Dev {
    fn api(&self, node: &str) -> String {
        let text = fs::read_to_string(self.folder.join("dev.json")).unwrap();
        let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
        format!("127.0.0.1:{}", plan["nodes"][node]["port"])
    }

    fn status_at(&self, node: &str) -> Option<serde_json::Value> {
        let api = self.api(node);
        let told = self.run(&["--api", &api, "status", "demo", "--output", "json"]);
        serde_json::from_slice(&told.stdout).ok()
    }
}

/// The worst of it: those who were given up come back, are a majority of the old group, and lead it on.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_begins_anew_elects_its_primary_anew_and_the_old_group_commands_nobody() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let client = dev.session().await;
    create_table(&client).await;
    let acknowledged = Acknowledged::default();
    for row in 0..20 {
        insert(&client, row).await.unwrap();
        acknowledged.note(row);
    }
    for peer in ["p1", "p2", "p3"] {
        dev.done(&["dev", "kill", peer]);
    }
    let config = dev.folder.join("p1/server.toml").display().to_string();
    let restore = ["peers", "snapshot", "restore", "--config", &config];
    let restore = [&restore[..], &["--force-new-cluster"]].concat();
    // PostgreSQL does not run as root, so nothing of the demonstration does.
    let owner = fs::metadata(dev.folder.join("p1")).unwrap();
    let told = match owner.uid() == rustix::process::geteuid().as_raw() {
        true => dev.run(&restore),
        false => {
            let refused = dev.run(&restore);
            assert_eq!(refused.status.code(), Some(3), "{refused:?}");
            Command::new(env!("CARGO_BIN_EXE_primacy"))
                .args(&restore)
                .uid(owner.uid())
                .gid(owner.gid())
                .output()
                .unwrap()
        }
    };
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(
        told.contains("the group begins anew with peer 1 alone"),
        "{told}"
    );
    dev.done(&["dev", "start", "p1"]);

    let elected = |cluster: &serde_json::Value| {
        is_healthy(cluster) && cluster["epoch"].as_u64() > before["epoch"].as_u64()
    };
    let deadline = Instant::now() + crate::WITHIN;
    let after = loop {
        let status = dev.status_at("p1");
        if let Some(status) = status.as_ref().filter(|it| elected(it)) {
            break status.clone();
        }
        assert!(Instant::now() < deadline, "not healthy: {status:?}");
        sleep(Duration::from_millis(100)).await;
    };
    assert!(after["epoch"].as_u64().unwrap() > 1 << 20, "{after}");
    let primary = after["primary"].as_str().unwrap();
    let client = crate::connect(&dev.address_of(&after, primary))
        .await
        .unwrap();
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());

    // The old group, against all advice.
    dev.done(&["dev", "start", "p2"]);
    dev.done(&["dev", "start", "p3"]);
    let deadline = Instant::now() + crate::WITHIN;
    while dev
        .status_at("p2")
        .is_none_or(|it| it["epoch"] != before["epoch"])
    {
        assert!(Instant::now() < deadline, "the old group has no leader");
        sleep(Duration::from_millis(100)).await;
    }
    let others: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .filter(|it| *it != primary)
        .collect();
    let wrong = Acknowledged::default();
    let (first, second) = (
        dev.address_of(&after, others[0]),
        dev.address_of(&after, others[1]),
    );
    let watched = async {
        tokio::select! {
            () = sleep(WATCHED) => {}
            () = write(&client, 100, &acknowledged) => panic!("the primary ended its session"),
            () = write_anew(&first, 1_000_000, &wrong) => {}
            () = write_anew(&second, 2_000_000, &wrong) => {}
        }
    };
    watched.await;
    assert_eq!(wrong.rows(), Vec::<i32>::new(), "two primaries");
    let now = dev.status_at("p1").unwrap();
    for field in ["epoch", "primary", "timeline"] {
        assert_eq!(now[field], after[field], "{field}");
    }
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
}
