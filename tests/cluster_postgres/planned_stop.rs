//! An agent is restarted on purpose, and its PostgreSQL notices nothing.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;

use crate::{Dev, create_table, insert, is_healthy, shown};

impl Dev {
    /// The postmaster of a node.
    fn postmaster(&self, node: &str) -> String {
        let file = self.folder.join(node).join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// The agent of a node, if it runs.
    fn agent(&self, node: &str) -> Option<Pid> {
        self.process(node, "agent")
    }

    /// The agent or the server of a node, if it runs.
    pub fn process(&self, node: &str, verb: &str) -> Option<Pid> {
        let config = self.folder.join(node).join(format!("{verb}.toml"));
        let told = format!("\0{verb}\0--config\0{}\0", config.display());
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_it = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&told)
        };
        pids.find(is_it).and_then(Pid::from_raw)
    }
}

/// An agent that is restarted takes nothing from its PostgreSQL, although an ordinary lease ends meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_stop_of_the_primarys_agent_leaves_postgresql_alone() {
    let Some(dev) = Dev::up_with(&["--durability", "async"]).await else {
        return;
    };
    let before = dev.until("healthy", is_healthy).await;
    let primary = before["primary"].as_str().unwrap().to_owned();
    let history = dev.history();
    let postmaster = dev.postmaster(&primary);
    let client = dev.session().await;
    create_table(&client).await;

    let stopped = Instant::now();
    let agent = dev.agent(&primary).expect("the agent runs");
    kill_process(agent, Signal::TERM).unwrap();
    let is_told = |cluster: &Value| shown(cluster, &primary)["planned_stop_until"].is_string();
    dev.until("told of the planned stop", is_told).await;
    let text = dev.done(&["status"]);
    let expected = format!("NOTE  {primary}: its agent was stopped on purpose");
    assert!(text.contains(&expected), "{text}");
    tokio::time::sleep_until(stopped + Duration::from_secs(5)).await;
    assert_eq!(dev.agent(&primary), None);
    insert(&client, 1).await.unwrap();
    dev.done(&["dev", "start", &primary]);
    let after = dev
        .until("healthy, and the stop is over", |cluster| {
            is_healthy(cluster) && !is_told(cluster)
        })
        .await;

    insert(&client, 2).await.unwrap();
    assert_eq!(dev.postmaster(&primary), postmaster);
    assert_eq!(after["primary"], before["primary"]);
    assert_eq!(after["epoch"], before["epoch"]);
    // Newest first. On a busy machine a standby may be told again to follow, which adds a rejoin; nobody was replaced.
    let now = dev.history();
    let (kept, now) = (history.as_array().unwrap(), now.as_array().unwrap());
    assert!(now.ends_with(kept), "{now:#?}");
    let more = &now[..now.len() - kept.len()];
    assert!(more.iter().all(|it| it["kind"] == "rejoin"), "{more:#?}");
}
