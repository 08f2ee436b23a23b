//! How long writes stop when the postmaster of a primary is killed: `cargo test --test sql_only bar -- --ignored --nocapture`.
//! `TRIALS` says how often, 20 if it says nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::load::{Load, rows};
use crate::rig::{Rig, is_installed};

/// The median may be no longer.
const BAR: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of minutes, for a quiet machine"]
async fn bar_the_median_write_outage_after_kill_9_is_at_most_1_5_s() {
    if !is_installed() {
        return;
    }
    let trials = std::env::var("TRIALS").ok().and_then(|it| it.parse().ok());
    let mut outages = vec![];
    for trial in 1..=trials.unwrap_or(20_usize) {
        let (outage, lost) = measured().await;
        eprintln!(
            "trial {trial:2}: {:5} ms without an acknowledged write, {lost} lost",
            outage.as_millis()
        );
        assert_eq!(lost, 0);
        outages.push(outage);
    }
    outages.sort();
    let at = |share: usize| outages[(outages.len() - 1) * share / 100].as_millis();
    eprintln!(
        "outage in ms: least {} median {} 90 % {} most {}",
        at(0),
        at(50),
        at(90),
        at(100)
    );
    assert!(at(50) <= BAR.as_millis());
}

async fn measured() -> (Duration, usize) {
    let rig = Rig::in_quorum(false).await;
    let load = Load::start(&rig);
    load.more(300).await;
    let killed = Instant::now();
    rig.kill_postmaster(0);
    let primary = rig
        .until("replaced", |it| {
            let name = it["primary"].as_str().unwrap_or_default();
            it["phase"] == "serving" && name.starts_with('s')
        })
        .await;
    load.more(20).await;
    let outage = load.longest_gap(killed);
    let acknowledged = load.end();
    let number = if primary["primary"] == "s1" { 1 } else { 2 };
    (outage, acknowledged.difference(&rows(&rig, number)).count())
}
