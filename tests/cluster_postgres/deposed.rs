//! A leader of the peers that stands still in the middle of a recovery, and goes on when another leads.

use std::fs;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::{
    Acknowledged, Dev, WITHIN, create_table, first_to_acknowledge, insert, is_healthy, lost, shown,
    write,
};

impl Dev {
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(self.folder.join(node).join("log")).unwrap_or_default()
    }

    /// The node of the peer that leads, as soon as there is one.
    pub fn leader(&self) -> String {
        let deadline = Instant::now() + WITHIN;
        loop {
            let told = self.run(&["leader", "--output", "json"]);
            let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
            if let Some(leader) = told["leader"].as_u64() {
                return format!("p{leader}");
            }
            assert!(Instant::now() < deadline, "nobody leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a log says of handovers that were begun.
fn begun(log: &str) -> usize {
    log.lines()
        .filter(|line| line.contains("recorded") && line.contains("begin: "))
        .count()
}

/// The agents' refusal of its late steps is shown in `agent_postgres`; here nothing that it does or has still under way
/// when it goes on has any effect.
#[tokio::test(flavor = "multi_thread")]
async fn a25_a_leader_that_is_deposed_in_the_middle_of_a_recovery_does_no_harm() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let others = dev.others(&before, &old);
    let client = dev.session().await;
    create_table(&client).await;
    let acknowledged = Acknowledged::default();
    insert(&client, 0).await.unwrap();
    acknowledged.note(0);
    let handovers = |history: &serde_json::Value| {
        let all = history.as_array().unwrap().iter();
        all.filter(|it| it["kind"] == "handover").count()
    };
    let earlier = handovers(&dev.history());

    let leader = dev.leader();
    let process = dev.process(&leader, "server").expect("the leader runs");
    let so_far = begun(&dev.log(&leader));
    dev.done(&["dev", "kill", &old, "--only", "postmaster"]);
    let deadline = Instant::now() + WITHIN;
    while begun(&dev.log(&leader)) == so_far {
        assert!(Instant::now() < deadline, "no recovery begins");
        sleep(Duration::from_millis(1)).await;
    }
    kill_process(process, Signal::STOP).unwrap();
    let stood_at = dev.log(&leader);
    let done = stood_at.rsplit("begin: ").next().unwrap();
    assert!(!done.contains("Promoted"), "it was too late: {done}");

    // Another one leads, and goes on with the same recovery.
    let (new, client) = first_to_acknowledge(&others, 1_000_000, &acknowledged).await;
    let successor = dev.leader();
    assert_ne!(successor, leader);
    kill_process(process, Signal::CONT).unwrap();
    let thawed = Instant::now();
    let writing = tokio::time::timeout(
        Duration::from_secs(3),
        write(&client, 2_000_000, &acknowledged),
    );
    assert!(writing.await.is_err(), "the new primary ended the session");
    let after = dev
        .until("healthy with the new primary", |cluster| {
            is_healthy(cluster) && cluster["primary"] == *new
        })
        .await;
    assert_eq!(shown(&after, &old)["role"], "standby");
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
    // One handover, in one epoch, that two leaders carried out.
    let history = dev.history();
    assert_eq!(handovers(&history), earlier + 1, "{history}");
    let epoch = before["epoch"].as_u64().unwrap() + 1;
    assert_eq!(after["epoch"], epoch, "{history}");
    let log = dev.log(&leader);
    let later = &log[stood_at.len()..];
    assert!(later.contains("no longer leads"), "{later}");
    let attempts = later.lines().filter(|line| {
        [
            "refused: ",
            "not connected",
            "may not be recorded",
            "not taken",
        ]
        .iter()
        .any(|it| line.contains(it))
    });
    eprintln!(
        "{:?} after it went on; what {leader} tried in vain: {:#?}",
        thawed.elapsed(),
        attempts.collect::<Vec<_>>()
    );
}
