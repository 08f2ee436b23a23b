//! Commits per second and latency, beside etcd in turns on the same disk.

use std::time::Duration;

use crate::{
    Place,
    etcd::Etcd,
    floor,
    group::Group,
    load::{self, Seen, drive, median, millis, percentile},
};

/// Proposers of the two bars.
const PROPOSERS: [usize; 2] = [1, 64];
/// Before the first turn, so that neither pays for pages and files that are touched first.
const WARM_UP: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// How often each takes its turn
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// Seconds of one turn
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// The figures of one system, one of each turn.
#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    refused: u64,
}

impl Figures {
    fn add(&mut self, mut seen: Seen, lasted: Duration) {
        self.rate.push(seen.rate(lasted));
        self.p50.push(millis(percentile(&mut seen.latencies, 50)));
        self.p99.push(millis(percentile(&mut seen.latencies, 99)));
        self.refused += seen.refused;
    }

    fn print(&mut self, name: &str, proposers: usize) {
        println!(
            "| {name} | {proposers} | {:.0} | {:.2} | {:.2} | {} |",
            median(&mut self.rate),
            median(&mut self.p50),
            median(&mut self.p99),
            self.refused
        );
    }
}

/// Prints a table.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = arguments.place.prepare()?;
    let lasts = Duration::from_secs(arguments.seconds);
    println!(
        "write+fdatasync of 8 KiB: {:.3} ms (median); {} turns of {} s each, medians of turns, 128-byte values",
        millis(floor::fdatasync(folder.path())?),
        arguments.turns,
        arguments.seconds
    );
    let version = Etcd::version();
    if version.is_none() {
        println!("etcd is not installed (apt-get install etcd-server): nothing to compare with");
    }
    println!(
        "| system | proposers | commits/s | p50 ms | p99 ms | refused |\n|---|---|---|---|---|---|"
    );
    let group = Group::start(folder.path()).await?;
    let mut etcd = match &version {
        Some(_) => Some(Etcd::start(folder.path()).await?),
        None => None,
    };
    drive(group.writers(64).await?, WARM_UP).await?;
    if let Some(etcd) = &mut etcd {
        drive(etcd.writers(64, 64).await?, WARM_UP).await?;
    }
    for proposers in PROPOSERS {
        let mut ours = Figures::default();
        // etcd's clients may share one connection; which is faster depends on the machine.
        let mut shared = Figures::default();
        let mut apart = Figures::default();
        for _ in 0..arguments.turns {
            ours.add(drive(group.writers(proposers).await?, lasts).await?, lasts);
            if let Some(etcd) = &mut etcd {
                shared.add(
                    drive(etcd.writers(proposers, 1).await?, lasts).await?,
                    lasts,
                );
                if proposers > 1 {
                    let writers = etcd.writers(proposers, proposers).await?;
                    apart.add(drive(writers, lasts).await?, lasts);
                }
            }
        }
        ours.print("raft", proposers);
        let Some(version) = &version else { continue };
        shared.print(&format!("etcd {version}, one connection"), proposers);
        if proposers > 1 {
            apart.print(&format!("etcd {version}, one connection each"), proposers);
        }
        let best_rate = median(&mut shared.rate).max(median(&mut apart.rate));
        println!(
            "{proposers} proposers: {:.2} x the commits of etcd's better way, {:.2} x the p50 of its one connection",
            median(&mut ours.rate) / best_rate,
            load::median(&mut ours.p50) / median(&mut shared.p50)
        );
    }
    Ok(())
}
