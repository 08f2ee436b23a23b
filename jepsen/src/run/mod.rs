//! Rounds of load and faults, judged: `run`, `replay` and `soak`.
//!
//! `plan` says what happens, `round` lets it happen, `judgement` says what it means; `series` puts them together.

mod choice;
mod clients;
mod evidence;
mod interrupt;
mod judgement;
pub mod plan;
pub mod round;
mod series;
mod setup;
mod stage;
mod surroundings;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use crate::hosts::missing;
use crate::nemesis::loopback::is_possible;
use crate::report::Ruling;
use choice::Choice;
use evidence::Keep;
use plan::{Durability, Wanted, block_of_soak, everything, rounds};
use series::Series;

/// The evidence of a soak may take so many bytes.
const SOAK_BYTES: u64 = 500 << 20;

/// What every round has in common.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The binary under test; by default the one beside this program
    #[arg(long, env = "PRIMACY_BINARY")]
    primacy: Option<PathBuf>,
    /// Where summary, histories and plots go; what an earlier run left there is replaced
    #[arg(long, default_value = "target/jepsen")]
    folder: PathBuf,
}

impl Common {
    fn program(&self) -> anyhow::Result<PathBuf> {
        let program = match &self.primacy {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("primacy"),
        };
        ensure!(
            program.exists(),
            "{} does not exist: cargo build --release --workspace builds it",
            program.display()
        );
        Ok(program)
    }
}

/// What a round is made of.
#[derive(Debug, Clone, Args)]
pub struct Matter {
    /// `quorum:K`, `async`, or `mixed`: half of the rounds `quorum:1`, half `async`
    #[arg(long, default_value = "mixed")]
    durability: Durability,
    /// Only these faults, by name, each with a role if it may not strike whom the seed says: isolate, isolate@primary
    #[arg(long, value_delimiter = ',', default_values_t = everything())]
    faults: Vec<Choice>,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How far zones are apart, one way, in milliseconds; the network of the peers is `wan` then
    #[arg(long, default_value_t = 0)]
    apart_ms: u64,
    /// How many faults each round has, one after the other
    #[arg(long, default_value_t = 1)]
    strikes: usize,
    /// One more round for each durability, in which nothing is done to the cluster for so long: `2m`. Then nobody may
    /// elect or recover
    #[arg(long, value_parser = duration)]
    quiet: Option<Duration>,
    /// One more round for each durability, in which a fifth of all frames is lost for so long, the processors are taken, and
    /// one process after the other is stopped for less than it takes to be missed: `20m`. Then no primary may be replaced
    #[arg(long, value_parser = duration)]
    noise: Option<Duration>,
}

impl Matter {
    fn wanted(&self, seed: u64, rounds: usize) -> Wanted {
        Wanted {
            seed,
            rounds,
            strikes: self.strikes,
            faults: self.faults.clone(),
            nodes: self.nodes,
            apart_ms: self.apart_ms,
            quiet_ms: in_ms(self.quiet),
            noise_ms: in_ms(self.noise),
            durability: self.durability,
        }
    }
}

fn in_ms(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| time.as_secs() * 1_000)
}

/// `jepsen run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// How many rounds
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Decides everything that is drawn; each round has the next one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    matter: Matter,
    #[command(flatten)]
    common: Common,
}

/// `jepsen replay`.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// The seed of the round
    seed: u64,
    #[command(flatten)]
    matter: Matter,
    #[command(flatten)]
    common: Common,
}

/// `jepsen soak`.
#[derive(Debug, Clone, Args)]
pub struct Soak {
    /// For how long: `2h`, `30m`, `90s`. The round under way is finished
    #[arg(long = "for", value_parser = duration, default_value = "2h")]
    lasts: Duration,
    /// The seed of the first round
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text} is no time like 2h, 30m or 90s");
    let unit = text.chars().last().ok_or_else(refused)?;
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| refused())?;
    match unit {
        's' => Ok(Duration::from_secs(number)),
        'm' => Ok(Duration::from_secs(number * 60)),
        'h' => Ok(Duration::from_secs(number * 3_600)),
        _ => Err(refused()),
    }
}

/// Answers what the rounds came to.
///
/// # Errors
/// The evidence cannot be written, or there is nothing to test.
pub fn run(options: &Run) -> anyhow::Result<Ruling> {
    given(
        options.matter.wanted(options.seed, options.rounds),
        &options.common,
    )
}

/// Repeats one round; answers what it came to.
///
/// # Errors
/// As [`run`].
pub fn replay(options: &Replay) -> anyhow::Result<Ruling> {
    // The long round alone, if that is asked for.
    let is_long = options.matter.quiet.is_some() || options.matter.noise.is_some();
    let rounds = usize::from(!is_long);
    given(options.matter.wanted(options.seed, rounds), &options.common)
}

fn given(wanted: Wanted, common: &Common) -> anyhow::Result<Ruling> {
    let stop = interrupt::watch()?;
    let lacks = missing().join(", ");
    let mut series = series(common, Keep::All, wanted.seed, &stop)?;
    let wanted = if lacks.is_empty() {
        wanted
    } else {
        print(&format!(
            "NOT ON HOSTS: they need {lacks}; signals on loopback instead, with quorum:1"
        ));
        series.cannot_show(format!(
            "networks, disks, clocks, async and more than 3 nodes: this machine lacks {lacks}"
        ));
        by_signals(wanted)
    };
    let plans = rounds(&wanted);
    for plan in &plans {
        if series.is_stopped() {
            break;
        }
        series.run(plan)?;
    }
    let is_complete = series.summary().rounds.len() == plans.len();
    finish(series, &common.folder, is_complete)
}

/// What is left where signals on loopback are all there is. If that is nothing, the rounds say why.
fn by_signals(mut wanted: Wanted) -> Wanted {
    wanted.durability = Durability::Quorum(1);
    wanted.nodes = 3;
    wanted.apart_ms = 0;
    if wanted.faults.iter().any(|it| is_possible(it.fault)) {
        wanted.faults.retain(|it| is_possible(it.fault));
    }
    wanted
}

/// Rounds over all faults, with both durabilities, 3 and 5 nodes, until the time is over or it is told to end;
/// answers what they came to.
///
/// # Errors
/// As [`run`].
pub fn soak(options: &Soak) -> anyhow::Result<Ruling> {
    let lacks = missing();
    ensure!(lacks.is_empty(), "a soak needs {}", lacks.join(", "));
    let stop = interrupt::watch()?;
    let keep = Keep::Failed(SOAK_BYTES);
    let mut series = series(&options.common, keep, options.seed, &stop)?;
    let is_over = |series: &Series<'_>| {
        series.is_stopped() || series.seconds() >= options.lasts.as_secs_f64()
    };
    for plan in (0..).flat_map(|block| block_of_soak(options.seed, block)) {
        if is_over(&series) {
            break;
        }
        series.run(&plan)?;
    }
    // However long it was, what there is of it is complete.
    finish(series, &options.common.folder, true)
}

fn series<'a>(
    common: &Common,
    keep: Keep,
    seed: u64,
    stop: &'a AtomicBool,
) -> anyhow::Result<Series<'a>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let line = format!("jepsen {}", arguments.join(" "));
    Series::new(common.program()?, &common.folder, keep, (line, seed), stop)
}

fn finish(
    mut series: Series<'_>,
    folder: &std::path::Path,
    is_complete: bool,
) -> anyhow::Result<Ruling> {
    series.end(is_complete)?;
    let summary = series.summary();
    let ruling = summary.ruling();
    print(&format!(
        "{}: {} rounds in {:.0} s, {} writes acknowledged; {}",
        ruling.word(),
        summary.rounds.len(),
        summary.seconds,
        summary.acknowledged_writes(),
        folder.join("summary.md").display()
    ));
    let is_proof = is_complete || ruling == Ruling::Violation;
    Ok(if is_proof { ruling } else { Ruling::Unknown })
}

#[expect(clippy::print_stdout, reason = "a command line prints")]
fn print(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for text in ["", "h", "2", "2d", "-1s", "2ö"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
