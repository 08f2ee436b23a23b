//! From the death of the leader to the first command that a survivor commits.

use std::time::Duration;

use crate::{
    Place, clock, floor,
    group::Group,
    keys::Keys,
    load::{millis, percentile},
};

/// Between two kills: the killed peer is back and the group at rest.
const REST: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// How often the leader is killed
    #[arg(long, default_value_t = 20)]
    trials: u32,
}

/// Prints median and worst.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = arguments.place.prepare()?;
    let floor = floor::fdatasync(folder.path())?;
    let mut group = Group::start(folder.path(), &Keys::create(folder.path())?).await?;
    let mut outages = vec![];
    for _ in 0..arguments.trials {
        tokio::time::sleep(REST).await;
        let leader = group.leader().await?;
        let begin = clock::now();
        group.kill(leader);
        group.leader().await?;
        outages.push(begin.elapsed());
        group.restart(leader)?;
    }
    println!(
        "kill -9 of the leader to the first commit, {} trials: median {:.0} ms, worst {:.0} ms (write+fdatasync {:.3} ms)",
        arguments.trials,
        millis(percentile(&mut outages, 50)),
        millis(percentile(&mut outages, 100)),
        millis(floor)
    );
    Ok(())
}
