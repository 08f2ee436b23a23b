//! Many trials of each fault, with one table and one JSON file in the end: on hosts of their own if this machine can have
//! them, else on loopback.

mod faults;
mod floor;
mod loopback;
mod on_hosts;
mod report;
mod spread_load;
mod trial;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use crate::cluster::Dev;
use crate::hosts::{self, Settings};
use crate::net::plane::{self, Plane};

use faults::Fault;
use on_hosts::Stage;
use report::{Report, Series};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many trials of each fault
    #[arg(long, default_value_t = 20)]
    trials: usize,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Fault::ALL)]
    faults: Vec<Fault>,
    /// Where the JSON goes
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Fail also if a time is over its bar, not only if a row was lost or two nodes wrote
    #[arg(long)]
    strict: bool,
    /// On loopback although this machine can have hosts of their own
    #[arg(long)]
    loopback: bool,
}

impl Options {
    fn evidence(&self, fault: Fault, number: usize) -> PathBuf {
        let folder = self.json.with_extension("evidence");
        folder.join(format!("{fault:?}-{number}"))
    }

    /// Why there are no hosts of their own; empty if there are.
    pub fn without_hosts(&self) -> Vec<String> {
        match self.loopback {
            true => vec!["the wish for them".to_owned()],
            false => hosts::missing(),
        }
    }
}

/// On hosts of their own. Answers as [`on_loopback`].
///
/// # Errors
/// The report cannot be written, or the system has no thread left.
pub fn on_hosts(dev: &Dev, options: &Options) -> anyhow::Result<bool> {
    hosts::verbs::take_down_when_interrupted()?;
    let plane = Plane::found().context(plane::NEEDED)?;
    eprintln!("measuring the machine");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let machine = runtime.block_on(floor::measure_on_hosts())?;
    let mut stage = Stage::new(Settings {
        program: dev.program().to_owned(),
        nodes: 3,
        durability: "quorum:1".to_owned(),
        seed: 1,
        clocks: false,
        apart_ms: 0,
        environment: vec![],
    });
    let mut series = vec![];
    for &fault in &options.faults {
        let mut all = Series::new(fault);
        for number in 1..=options.trials {
            let trial = stage.run(fault);
            let after = all.add(number, options.trials, trial);
            if after.keep_evidence {
                let kept = stage.keep_evidence(&options.evidence(fault, number));
                tell_evidence(options, fault, number, kept);
            }
            if after.start_anew {
                stage.down();
            }
        }
        // Every change of primary adds a segment of WAL that a rewind copies: no series pays for the one before.
        stage.down();
        series.push(all);
    }
    let ground = format!(
        "hosts in network namespaces, their disks in memory if there is /dev/shm, {}",
        plane.describe()
    );
    conclude(options, Report::new(machine, ground, series))
}

/// On loopback, by signals. Answers whether nothing was lost, no two nodes wrote and every trial recovered; with
/// `--strict` also whether every time is within its bar.
///
/// # Errors
/// A fault is asked for that needs hosts, or the report cannot be written.
pub async fn on_loopback(dev: &mut Dev, options: &Options) -> anyhow::Result<bool> {
    let lacks = options.without_hosts().join(", ");
    let is_possible = |fault: &&Fault| **fault != Fault::Partition;
    let faults: Vec<Fault> = options.faults.iter().filter(is_possible).copied().collect();
    ensure!(!faults.is_empty(), "a partition needs {lacks}");
    eprintln!("measuring the machine");
    let machine = floor::measure(&dev.folder().with_extension("floor")).await;
    let mut series = vec![];
    for fault in faults {
        let mut all = Series::new(fault);
        for number in 1..=options.trials {
            let trial = loopback::run(dev, fault).await;
            let after = all.add(number, options.trials, trial);
            if after.keep_evidence {
                let kept = dev.keep_evidence(&options.evidence(fault, number)).await;
                tell_evidence(options, fault, number, kept);
            }
            if after.start_anew {
                dev.down().await;
            }
        }
        dev.down().await;
        series.push(all);
    }
    let ground = format!("signals on loopback, no partitions: there are no hosts without {lacks}");
    conclude(options, Report::new(machine, ground, series))
}

fn tell_evidence(options: &Options, fault: Fault, number: usize, kept: anyhow::Result<()>) {
    match kept {
        Ok(()) => eprintln!("its logs: {}", options.evidence(fault, number).display()),
        Err(error) => eprintln!("its logs cannot be kept: {error:#}"),
    }
}

fn conclude(options: &Options, report: Report) -> anyhow::Result<bool> {
    print(&report.table());
    if let Some(folder) = options.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&options.json, serde_json::to_vec_pretty(&report.json())?)?;
    print(&format!("Each trial: {}", options.json.display()));
    Ok(report.is_safe() && (report.is_fast() || !options.strict))
}

#[expect(clippy::print_stdout, reason = "a report is printed")]
fn print(text: &str) {
    println!("{text}");
}
