//! What it costs a peer to look at many databases without agents: its CPU and memory at rest, with every session over TLS.
//!
//! The peer is a real one, alone in its group, so that it leads and decides as well. The databases are simulated in this
//! process ([`wire`]): a thousand real ones fit on no machine that a person has at hand.

mod answers;
mod watcher;
mod wire;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::clock;
use watcher::Watcher;
use wire::Servers;

/// The bars are of so many instances.
const JUDGED_AT: u16 = 300;
/// Of one core.
const CPU_BAR: f64 = 0.05;
/// In MB.
const MEMORY_BAR: f64 = 60.0;
/// Among more, one instance may cost no more than this times what it costs among fewer: the measurement's own noise. That it
/// costs less is no fault: many looks share a wake-up.
const DEARER_BY: f64 = 1.1;
/// The processor time of a peer without databases differs by this between measurements, as a share of one core; for each of a
/// few instances that is much.
const NOISE: f64 = 0.005;

/// How many, and how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Numbers of instances, one measurement each
    #[arg(long, value_delimiter = ',', default_value = "0,10,100,300,1000", value_parser = clap::value_parser!(u16).range(..=2000))]
    instances: Vec<u16>,
    /// Seconds of rest before
    #[arg(long, default_value_t = 10)]
    rest: u64,
    /// Seconds to measure
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// One line of the table.
struct Measured {
    instances: u16,
    /// Looks in a second, at all of them.
    looks: f64,
    /// Of one core.
    cpu: f64,
    /// In MB.
    memory: f64,
    peak: f64,
}

/// Answers whether the bars are met.
///
/// # Errors
/// The peer does not start, or does not see all instances well.
pub async fn run(program: &Path, options: &Options) -> anyhow::Result<bool> {
    print(
        "| instances | looks/s | CPU of one core | for each instance | for each look | RSS | its peak |\n\
         |---|---|---|---|---|---|---|",
    );
    let mut all = vec![];
    let mut resting = 0.0;
    for instances in options.instances.iter().copied() {
        let measured = measure(program, instances, options).await?;
        if instances == 0 {
            resting = measured.cpu;
        }
        print(&measured.line(resting));
        all.push(measured);
    }
    let mut is_met = true;
    for it in all.iter().filter(|it| it.instances == JUDGED_AT) {
        is_met &= it.cpu <= CPU_BAR && it.peak <= MEMORY_BAR;
    }
    let mut some: Vec<&Measured> = all.iter().filter(|it| it.instances > 0).collect();
    some.sort_by_key(|it| it.instances);
    let is_no_dearer = |pair: &[&Measured]| {
        let (few, many) = (pair[0].of_each(resting), pair[1].of_each(resting));
        many <= few * DEARER_BY + NOISE / f64::from(pair[0].instances)
    };
    is_met &= some.windows(2).all(is_no_dearer);
    print(&format!(
        "bars, of {JUDGED_AT}: {:.0} % of one core, {MEMORY_BAR:.0} MB at the peak; of all: among more, none costs more than \
         among fewer: {}",
        CPU_BAR * 100.0,
        if is_met { "met" } else { "NOT met" }
    ));
    Ok(is_met)
}

impl Measured {
    /// CPU beside that of a peer without databases.
    fn of_each(&self, resting: f64) -> f64 {
        (self.cpu - resting).max(0.0) / f64::from(self.instances.max(1))
    }

    fn line(&self, resting: f64) -> String {
        let per_look = (self.cpu - resting).max(0.0) / self.looks.max(1.0);
        format!(
            "| {} | {:.0} | {:.2} % | {:.0} µs/s | {:.0} µs | {:.1} MB | {:.1} MB |",
            self.instances,
            self.looks,
            self.cpu * 100.0,
            self.of_each(resting) * 1e6,
            per_look * 1e6,
            self.memory,
            self.peak
        )
    }
}

async fn measure(program: &Path, instances: u16, options: &Options) -> anyhow::Result<Measured> {
    let servers = Servers::start(instances).await?;
    let watcher = Watcher::start(program, servers.base).await?;
    watcher.adopt(servers.base, instances).await?;
    sleep(Duration::from_secs(options.rest)).await;
    watcher.sees_all_well(instances).await?;
    let (began, before, looked) = (clock::now(), watcher.cpu()?, servers.answered());
    sleep(Duration::from_secs(options.seconds)).await;
    let took = clock::now().since(began).as_secs_f64();
    let (after, memory, peak) = (watcher.cpu()?, watcher.memory()?, watcher.peak()?);
    let looks = (servers.answered() - looked) as f64 / took;
    watcher.sees_all_well(instances).await?;
    Ok(Measured {
        instances,
        looks,
        cpu: (after - before).as_secs_f64() / took,
        memory,
        peak,
    })
}

#[expect(clippy::print_stdout, reason = "a measurement prints")]
fn print(text: &str) {
    println!("{text}");
}
