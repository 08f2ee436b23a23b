//! Two failovers as time lines: the primary's node, then the new primary together with the Raft leader.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{sleep, timeout};

use crate::checker::{loss, outage};
use crate::clock;
use crate::cluster::{Dev, View};
use crate::history::acknowledgement::Writer;
use crate::load::{Load, Probing};
use crate::recovery::{Line, time_line};

const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
const STREAMS_WITHIN: Duration = Duration::from_secs(90);
const WRITES_WITHIN: Duration = Duration::from_secs(30);
const BEFORE: Duration = Duration::from_secs(2);
const DEAD_FOR: Duration = Duration::from_secs(3);

/// Answers whether nothing was lost.
///
/// # Errors
/// A step failed, or the cluster did not recover in time.
pub async fn run(dev: &mut Dev) -> anyhow::Result<bool> {
    say("starting three peers (p1, p2, p3) and three PostgreSQL servers (a, b, c) on this machine");
    dev.up().await?;
    dev.stable_since(|view| view.is_healed(), HEALTHY_WITHIN)
        .await?;
    let load = Load::start(dev.targets()?, Probing::Off).await?;
    say("a writer inserts a row every 5 ms and records what was acknowledged");

    sleep(BEFORE).await;
    let view = dev.view().await?;
    let primary = view.primary.clone().context("there is no primary")?;
    say(&format!(
        "\nkill -9 of the primary's node {primary}: agent, leash and PostgreSQL"
    ));
    fail_over(dev, &load, &view, &[&primary]).await?;

    sleep(BEFORE).await;
    let view = dev.view().await?;
    let primary = view.primary.clone().context("there is no primary")?;
    let leader = dev.leader().await?;
    say(&format!(
        "\nkill -9 of the new primary's node {primary} and of the Raft leader {leader} together"
    ));
    fail_over(dev, &load, &view, &[&primary, &leader]).await?;

    sleep(BEFORE).await;
    let (history, rows) = load.finish().await?;
    let loss = loss::check(&history, Writer::Client, rows.of(Writer::Client));
    say(&format!(
        "\nacknowledged {}, lost {}; all members stream",
        loss.acknowledged,
        loss.lost.len()
    ));
    Ok(loss.lost.is_empty())
}

/// Kills `nodes` together, starts them again after 3 s, and prints what happened.
async fn fail_over(dev: &Dev, load: &Load, before: &View, nodes: &[&str]) -> anyhow::Result<()> {
    let (fault, wall) = (clock::now(), clock::wall_ms());
    match nodes {
        [first, second] => {
            let (first, second) = (["kill", first], ["kill", second]);
            tokio::try_join!(dev.act(&first), dev.act(&second))?;
        }
        _ => {
            for node in nodes {
                dev.act(&["kill", node]).await?;
            }
        }
    }
    sleep(DEAD_FOR).await;
    let outage = timeout(WRITES_WITHIN, async {
        loop {
            let history = load.recorder.all();
            match outage::check(&history, Writer::Client, fault) {
                Some(outage) if outage.took_over => break outage,
                Some(_) | None => sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await
    .context("nobody takes over within 30 s")?;
    let started = clock::now();
    for node in nodes {
        dev.act(&["start", node]).await?;
    }
    let recovered = |view: &View| view.is_healed() && view.epoch > before.epoch;
    let streams = dev.stable_since(recovered, STREAMS_WITHIN).await?;
    let after = |event: &str, detail: &str, at: clock::Moment| Line {
        after_ms: u64::try_from(at.since(fault).as_millis()).unwrap_or(u64::MAX),
        event: event.to_owned(),
        detail: detail.to_owned(),
    };
    let mut lines = time_line(&dev.recoveries().await?, wall);
    lines.push(after(
        "first write",
        "acknowledged to the writer",
        outage.ended,
    ));
    lines.push(after("started again", &nodes.join(" and "), started));
    lines.push(after("all stream", "on the new timeline", streams));
    lines.sort_by_key(|line| line.after_ms);
    say(&format!("  {:>6} ms  kill", 0));
    for line in lines {
        let text = format!(
            "  {:>6} ms  {:14} {}",
            line.after_ms, line.event, line.detail
        );
        say(text.trim_end());
    }
    say(&format!("  write outage {} ms", outage.gap.as_millis()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a demonstration prints")]
fn say(text: &str) {
    println!("{text}");
}
