//! What an agent costs.

use std::time::Duration;

use primacy::host::processes;

use crate::rig::{Rig, id};

/// User and system time of a process, in seconds.
fn cpu(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What two agents and their PostgreSQL use while nothing happens.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; takes half a minute"]
async fn idle_cost() {
    let mut rig = Rig::new().await;
    let (a, b) = (id("pg-a"), id("pg-b"));
    rig.pair(&a, &b).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let folders = [rig.config(&a).data, rig.config(&b).data];
    let database = || -> f64 {
        let all = folders.iter().flat_map(|it| processes::of(it).unwrap());
        all.map(|process| cpu(process.pid)).sum()
    };
    let own = std::process::id() as i32;
    let before = (cpu(own), database());
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!(
        "in 20 s: {:.2} s for two agents and the test's peer, {:.2} s for two servers",
        cpu(own) - before.0,
        database() - before.1
    );
}
