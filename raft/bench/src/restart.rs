//! One peer of three starts again over a long history.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;

use crate::{
    Place, clock,
    group::Group,
    keys::Keys,
    load::{drive, millis},
};

const WRITERS: usize = 64;
/// Commands are written in turns of this length until there are enough.
const TURN: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// How many commands are applied before
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
}

/// Prints how the folder grew, and how long the restart took.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = arguments.place.prepare()?;
    let mut group = Group::start(folder.path(), &Keys::create(folder.path())?).await?;
    let mut written = 0;
    let mut most = 0;
    while written < arguments.entries {
        let seen = drive(group.writers(WRITERS, 1).await?, TURN).await?;
        written += seen.latencies.len() as u64;
        most = most.max(bytes_below(&folder.path().join("peer-0"))?);
        println!(
            "{written} commands: {} MiB in the folder of a peer, {} MiB of memory",
            bytes_below(&folder.path().join("peer-0"))? >> 20,
            memory_kib(group.pid(0))? >> 10
        );
    }
    let leader = group.leader().await?;
    let follower = (leader + 1) % 3;
    group.kill(follower);
    let begin = clock::now();
    group.restart(follower)?;
    // It serves when it answers that it follows: it refuses a command by naming the leader.
    let served = async {
        while !follows(&group, follower).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), served)
        .await
        .context("the peer does not follow")?;
    println!(
        "restart over {written} commands: follows after {:.0} ms; the folder had {} MiB at most",
        millis(begin.elapsed()),
        most >> 20
    );
    Ok(())
}

async fn follows(group: &Group, number: usize) -> bool {
    let refused = group.refusal(number).await;
    refused.is_some_and(|words| words.contains("leader: Some"))
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file may go while it is looked at.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        sum += if metadata.is_dir() {
            bytes_below(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(sum)
}

fn memory_kib(pid: u32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .context("no PSS")
}
