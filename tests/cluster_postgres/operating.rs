//! What operators say to a cluster with agents.

use std::time::Duration;

use serde_json::Value;

use crate::{Dev, create_table, insert, is_healthy, shown};

/// Longer than a failover takes.
const A_WHILE: Duration = Duration::from_secs(4);

fn finds(cluster: &Value, code: &str) -> bool {
    let mut findings = cluster["findings"].as_array().unwrap().iter();
    findings.any(|it| it["code"] == code)
}

impl Dev {
    /// Says it as soon as every peer is known to understand it.
    pub async fn say(&self, verb: &[&str]) {
        let deadline = tokio::time::Instant::now() + super::WITHIN;
        while !self.run(verb).status.success() {
            assert!(tokio::time::Instant::now() < deadline, "{verb:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a31_a_paused_cluster_is_only_looked_at_and_a28_so_is_a_primary_in_downtime() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let client = dev.session().await;
    create_table(&client).await;
    insert(&client, 1).await.unwrap();
    let why = ["--for", "1h", "--reason", "a test"];
    dev.say(&[&["pause", "demo"][..], &why].concat()).await;
    let downtime = ["instance", "downtime", "demo", &old];
    dev.say(&[&downtime[..], &why].concat()).await;

    dev.done(&["dev", "kill", &old, "--only", "postmaster"]);
    dev.until("found dead", |it| finds(it, "DeadPrimary")).await;
    for verb in [
        vec!["resume", "demo"],
        vec!["instance", "uptime", "demo", &old],
    ] {
        tokio::time::sleep(A_WHILE).await;
        let cluster = dev.cluster().unwrap();
        assert_eq!(cluster["epoch"], before["epoch"], "{cluster:#}");
        assert!(finds(&cluster, "DeadPrimary"), "{cluster:#}");
        let waits = &cluster["waiting"][0]["code"];
        assert!(*waits == "paused" || *waits == "downtime", "{cluster:#}");
        dev.done(&verb);
    }
    let after = dev
        .until("healthy with another primary", |it| {
            is_healthy(it) && it["primary"] != *old
        })
        .await;
    assert_eq!(
        after["epoch"].as_u64(),
        before["epoch"].as_u64().map(|it| it + 1)
    );
    insert(&dev.session().await, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a28_who_must_not_be_promoted_is_not() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let names = before["instances"].as_array().unwrap().iter();
    let mut standbys = names
        .filter_map(|it| it["name"].as_str())
        .filter(|it| *it != old);
    // Among equals the first name is chosen.
    let (first, second) = (standbys.next().unwrap(), standbys.next().unwrap());
    dev.say(&["instance", "rule", "demo", first, "must-not"])
        .await;
    let ruled = dev.cluster().unwrap();
    assert_eq!(shown(&ruled, first)["promotion_rule"], "must_not");
    dev.done(&["dev", "kill", &old, "--only", "postmaster"]);
    let after = dev
        .until("healthy with another primary", |it| {
            is_healthy(it) && it["epoch"].as_u64() > before["epoch"].as_u64()
        })
        .await;
    assert_eq!(after["primary"], *second, "{after:#}");
}
