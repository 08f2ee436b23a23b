//! Commits per second and latency, beside etcd in turns on the same disk.

use std::time::Duration;

use crate::{
    Place,
    etcd::Etcd,
    floor,
    group::Group,
    keys::Keys,
    load::{Seen, drive, median, millis, percentile},
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

    fn print(&mut self, name: &str, proposers: usize, connections: usize) {
        println!(
            "| {name} | {proposers} | {connections} | {:.0} | {:.2} | {:.2} | {} |",
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
        "write+fdatasync of 8 KiB: {:.3} ms (median); {} turns of {} s each, medians of turns, 128-byte values, mutual TLS on every connection",
        millis(floor::fdatasync(folder.path())?),
        arguments.turns,
        arguments.seconds
    );
    let version = Etcd::version();
    if version.is_none() {
        println!("etcd is not installed (apt-get install etcd-server): nothing to compare with");
    }
    println!(
        "| system | proposers | connections | commits/s | p50 ms | p99 ms | refused |\n|---|---|---|---|---|---|---|"
    );
    let keys = Keys::create(folder.path())?;
    let mut group = Group::start(folder.path(), &keys).await?;
    let mut etcd = match &version {
        Some(_) => Some(Etcd::start(folder.path(), &keys).await?),
        None => None,
    };
    drive(group.writers(64, 64).await?, WARM_UP).await?;
    if let Some(etcd) = &mut etcd {
        drive(etcd.writers(64, 64).await?, WARM_UP).await?;
    }
    for proposers in PROPOSERS {
        // Clients may share one connection; which is faster depends on the machine.
        let ways: &[usize] = if proposers > 1 { &[1, proposers] } else { &[1] };
        let mut ours: Vec<Figures> = ways.iter().map(|_| Figures::default()).collect();
        let mut theirs: Vec<Figures> = ways.iter().map(|_| Figures::default()).collect();
        for _ in 0..arguments.turns {
            for (way, connections) in ways.iter().enumerate() {
                let writers = group.writers(proposers, *connections).await?;
                ours[way].add(drive(writers, lasts).await?, lasts);
                if let Some(etcd) = &mut etcd {
                    let writers = etcd.writers(proposers, *connections).await?;
                    theirs[way].add(drive(writers, lasts).await?, lasts);
                }
            }
        }
        for (way, connections) in ways.iter().enumerate() {
            ours[way].print("raft", proposers, *connections);
        }
        let Some(version) = &version else { continue };
        for (way, connections) in ways.iter().enumerate() {
            theirs[way].print(&format!("etcd {version}"), proposers, *connections);
        }
        let (ours, theirs) = (Best::of(&mut ours), Best::of(&mut theirs));
        println!(
            "{proposers} proposers, the better way of each: {:.2} x the commits of etcd, {:.2} x its p50",
            ours.rate / theirs.rate,
            ours.p50 / theirs.p50
        );
    }
    Ok(())
}

/// The better of several ways.
struct Best {
    rate: f64,
    p50: f64,
}

impl Best {
    fn of(ways: &mut [Figures]) -> Best {
        let rates = ways.iter_mut().map(|way| median(&mut way.rate));
        let rate = rates.fold(0.0, f64::max);
        let p50s = ways.iter_mut().map(|way| median(&mut way.p50));
        Best {
            rate,
            p50: p50s.fold(f64::INFINITY, f64::min),
        }
    }
}
