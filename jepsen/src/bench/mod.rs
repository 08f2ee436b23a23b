//! Many trials of each fault, with one table and one JSON file in the end.

mod faults;
mod floor;
mod report;
mod trial;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cluster::Dev;

use faults::Fault;
use report::{Report, Series};
use trial::Trial;

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
}

/// Answers whether nothing was lost, no two nodes wrote and every trial recovered; with `--strict` also
/// whether every time is within its bar.
///
/// # Errors
/// No trial could be set up, or the report cannot be written.
pub async fn run(dev: &mut Dev, options: Options) -> anyhow::Result<bool> {
    eprintln!("measuring the machine");
    let machine = floor::measure(dev.folder()).await;
    let mut series = vec![];
    for fault in options.faults {
        let evidence = options.json.with_extension("evidence");
        series.push(measure(dev, fault, options.trials, &evidence).await);
    }
    let report = Report { machine, series };
    print(&report.table());
    if let Some(folder) = options.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&options.json, serde_json::to_vec_pretty(&report.json())?)?;
    print(&format!("Each trial: {}", options.json.display()));
    Ok(report.is_safe() && (report.is_fast() || !options.strict))
}

/// A trial that went wrong or was slow leaves its logs in `evidence`; after a wrong one the next gets a fresh cluster.
async fn measure(dev: &mut Dev, fault: Fault, trials: usize, evidence: &Path) -> Series {
    let mut series = Series {
        fault,
        outcomes: vec![],
        failed: vec![],
    };
    for number in 1..=trials {
        match trial::run(dev, fault).await {
            Trial::Measured(outcome) => {
                eprintln!("{} {number}/{trials}: {outcome}", fault.name());
                let is_slow = outcome.outage.is_none_or(|it| it > fault.bar().median);
                if is_slow || !outcome.is_safe() {
                    let kept = evidence.join(format!("{fault:?}-{number}"));
                    match dev.keep_evidence(&kept).await {
                        Ok(()) => eprintln!("its logs: {}", kept.display()),
                        Err(error) => eprintln!("its logs cannot be kept: {error:#}"),
                    }
                }
                if !outcome.is_safe() {
                    dev.down().await;
                }
                series.outcomes.push(*outcome);
            }
            Trial::NotSetUp(error) => {
                eprintln!("{} {number}/{trials}: not set up: {error:#}", fault.name());
                series.failed.push(format!("{error:#}"));
                dev.down().await;
            }
        }
    }
    series
}

#[expect(clippy::print_stdout, reason = "a report is printed")]
fn print(text: &str) {
    println!("{text}");
}
