//! The leader is killed between the steps of a failover, one after the other; another one ends what it began.

use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::{
    Acknowledged, Dev, WITHIN, create_table, first_to_acknowledge, is_healthy, lost, write,
};

/// What is recorded in a failover: that it began, two promises or three, who is elected, the promotion, and then its first
/// commit and that the others follow, together or one after the other.
const STEPS: usize = 6;
/// As many there are at least.
const LEAST: usize = 4;
/// A leader that has recorded as many, and nothing more for so long, is done.
const DONE_AFTER: Duration = Duration::from_secs(2);

/// How many steps of the recoveries there were so far this peer had recorded.
fn recorded(log: &str) -> usize {
    log.lines().filter(|it| it.contains("recorded")).count()
}

/// Waits until the leader has recorded so many in all, or all that there are. Answers how many it has.
fn until_recorded(dev: &Dev, leader: &str, so_far: usize, wanted: usize) -> usize {
    let deadline = Instant::now() + WITHIN;
    let mut last = (so_far, Instant::now());
    loop {
        let now = recorded(&dev.log(leader));
        if now != last.0 {
            last = (now, Instant::now());
        }
        let is_done = now >= so_far + LEAST && last.1.elapsed() > DONE_AFTER;
        if now >= wanted || is_done {
            return now - so_far;
        }
        assert!(Instant::now() < deadline, "{} of {wanted}", now - so_far);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_a_leader_killed_between_any_two_steps_of_a_failover_leaves_them_to_another() {
    let Some(dev) = Dev::up().await else { return };
    let mut cluster = dev.until("healthy", is_healthy).await;
    create_table(&dev.session().await).await;
    let acknowledged = Acknowledged::default();
    for steps in 1..=STEPS {
        let old = cluster["primary"].as_str().unwrap().to_owned();
        let others = dev.others(&cluster, &old);
        let row = i32::try_from(steps).unwrap() * 10_000_000;
        let client = dev.session().await;
        let leader = dev.leader();
        let process = dev.process(&leader, "server").expect("the leader runs");
        let so_far = recorded(&dev.log(&leader));
        tokio::join!(write(&client, row, &acknowledged), async {
            sleep(Duration::from_millis(100)).await;
            tokio::task::block_in_place(|| dev.done(&["dev", "kill", &old, "--only", "postgres"]));
        });
        let done = until_recorded(&dev, &leader, so_far, so_far + steps);
        assert!(done >= steps.min(LEAST), "{done} of {steps}");
        kill_process(process, Signal::KILL).unwrap();

        let (new, client) = first_to_acknowledge(&others, row + 5_000_000, &acknowledged).await;
        assert_ne!(dev.leader(), leader);
        let is_over = |it: &serde_json::Value| is_healthy(it) && it["primary"] == *new;
        let after = dev.until("healthy with the new primary", is_over).await;
        assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
        // One recovery or two, if what had begun was given up; each is told from its beginning to its end.
        let history = dev.history();
        let since = |it: &&serde_json::Value| it["epoch"].as_u64() > cluster["epoch"].as_u64();
        let all = history.as_array().unwrap().iter().filter(since);
        let handovers: Vec<_> = all.filter(|it| it["kind"] == "handover").collect();
        assert!(!handovers.is_empty(), "{history:#}");
        for record in &handovers {
            let entries = record["entries"].as_array().unwrap();
            let is = |entry: &serde_json::Value, event: &str| entry["event"] == event;
            assert!(is(&entries[0], "began"), "{record:#}");
            assert!(record["outcome"].is_string(), "{record:#}");
            let promotions = entries.iter().filter(|it| is(it, "promoted"));
            assert!(promotions.count() <= 1, "{record:#}");
        }
        eprintln!("killed after {done}: {} handovers", handovers.len());
        dev.done(&["dev", "start", &leader]);
        cluster = after;
    }
}
