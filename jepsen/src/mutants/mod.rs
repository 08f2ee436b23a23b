//! Broken rules, each under faults in which it must show: for whoever survives the checkers are blind.
//!
//! The binary is one that was built with the feature `mutants`; which rule it breaks, its environment says. Every
//! round has hosts of its own, because a broken cluster does not heal.
#![expect(clippy::print_stdout, reason = "a command line prints")]

mod flood;
mod report;
mod table;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::ensure;
use clap::Args;

use jepsen::checker::{self, Verdict};
use jepsen::history::History;

use crate::hosts::{Hosts, Settings, missing, verbs};
use crate::nemesis::ground::Ground;
use crate::report::Ruling;
use crate::run::plan::RoundPlan;
use crate::run::round;
use flood::Flood;
use report::{Hunted, Rule};
use table::Mutant;

/// Says to the binary which rule it breaks.
const VARIABLE: &str = "PRIMACY_MUTANT";
const NODES: usize = 3;

/// What is hunted.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only these mutants; all without any
    names: Vec<String>,
    /// A binary built with the feature `mutants`; `make mutants` builds it
    #[arg(long, default_value = "target/mutants/primacy")]
    primacy_mutants: PathBuf,
    /// How many rounds a mutant may survive
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Decides everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the logs of clients go
    #[arg(long, default_value = "target/mutants/rounds")]
    folder: PathBuf,
    /// Break nothing: then none of the checkers may notice anything
    #[arg(long)]
    sound: bool,
    /// Where this machine can have no hosts, say so and end well
    #[arg(long)]
    if_possible: bool,
}

impl Options {
    fn rule(&self) -> Rule {
        match self.sound {
            true => Rule::Whole,
            false => Rule::Broken,
        }
    }
}

/// Answers valid if every mutant was caught by its checker, or if with every rule whole nothing was noticed.
///
/// # Errors
/// There is no such mutant or binary, or this machine can have no hosts of their own.
pub fn run(options: &Options) -> anyhow::Result<Ruling> {
    let mutants = table::chosen(&options.names)?;
    let missing = missing().join(", ");
    if options.if_possible && !missing.is_empty() {
        println!("mutants: NOT RUN, hosts of their own need {missing}");
        return Ok(Ruling::Valid);
    }
    ensure!(missing.is_empty(), "hosts need {missing}");
    let program = &options.primacy_mutants;
    ensure!(
        program.exists(),
        "{} does not exist: make mutants builds it",
        program.display()
    );
    verbs::take_down_when_interrupted()?;
    let mut hunted = vec![];
    for mutant in mutants {
        eprintln!("{}: {}", mutant.name, mutant.says);
        hunted.push(hunt(options, mutant));
    }
    println!("{}", report::table(&hunted, options.rule()));
    Ok(match hunted.iter().all(Hunted::is_right) {
        true => Ruling::Valid,
        false => Ruling::Violation,
    })
}

/// Rounds until the checker notices; a sound binary has one.
fn hunt(options: &Options, mutant: Mutant) -> Hunted {
    let mut hunted = Hunted {
        mutant,
        rule: options.rule(),
        caught_in: None,
        rounds: 0,
        red: vec![],
    };
    let attempts = match hunted.rule {
        Rule::Broken => options.rounds,
        Rule::Whole => 1,
    };
    for attempt in 1..=attempts {
        let verdicts = match one_round(options, &hunted.mutant, attempt) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                eprintln!("  round {attempt} did not take place: {error:#}");
                continue;
            }
        };
        hunted.rounds += 1;
        let red = |(name, verdict): &(&'static str, Verdict)| {
            matches!(verdict, Verdict::Invalid(_)).then_some(*name)
        };
        hunted.red = verdicts.iter().filter_map(red).collect();
        eprintln!("  round {attempt}: invalid {:?}", hunted.red);
        if hunted.rule == Rule::Whole {
            for (name, verdict) in verdicts.iter().filter(|it| hunted.red.contains(&it.0)) {
                eprintln!("  {name} {verdict}");
            }
        }
        if hunted.mutant.is_noticed(&verdicts) {
            hunted.caught_in = Some(hunted.rounds);
            break;
        }
    }
    hunted
}

fn one_round(
    options: &Options,
    mutant: &Mutant,
    attempt: usize,
) -> anyhow::Result<Vec<(&'static str, Verdict)>> {
    let plan = RoundPlan {
        seed: options.seed + attempt as u64 - 1,
        durability: mutant.durability.clone(),
        nodes: NODES,
        apart_ms: 0,
        strikes: mutant.strikes.clone(),
        quiet_ms: 0,
        noise_ms: 0,
    };
    let environment = match options.rule() {
        Rule::Broken => vec![(VARIABLE, mutant.name.clone())],
        Rule::Whole => vec![],
    };
    let hosts = Hosts::up(&Settings {
        program: options.primacy_mutants.clone(),
        nodes: plan.nodes,
        durability: plan.durability.clone(),
        seed: plan.seed,
        clocks: plan.needs_clocks(),
        apart_ms: plan.apart_ms,
        environment,
    })?;
    let folder = options.folder.join(format!("{}-{attempt}", mutant.name));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let flood = match mutant.flood {
        true => Some(start_flood(&hosts, &folder.join("flood"))?),
        false => None,
    };
    let mut ground = Ground::Hosts(Box::new(hosts));
    let taken = round::run(&mut ground, &plan, &folder, &AtomicBool::new(false))?;
    let taken = taken.ok_or_else(|| anyhow::anyhow!("it was told to stop"))?;
    for trouble in taken.troubles.iter().chain(taken.healed.as_ref().err()) {
        eprintln!("  {trouble}");
    }
    let history: History = match flood {
        Some(flood) => flood.join(&taken.history)?,
        None => taken.history,
    };
    if let Ground::Hosts(hosts) = &ground {
        hosts.keep_logs(&folder.join("hosts"))?;
    }
    ensure!(
        !taken.records.is_empty(),
        "no fault was installed: the load is too slow"
    );
    Ok(checker::judge(&history)?)
}

/// From the clients' host in the primary's zone, so that no cut is in its way.
fn start_flood(hosts: &Hosts, folder: &Path) -> anyhow::Result<Flood> {
    use crate::hosts::layout::Kind;
    let zone = hosts.layout().zone_of(&hosts.primary()?);
    let clients = hosts.layout().names(Kind::Client);
    let own = clients.iter().find(|client| zone.contains(client));
    let own = own.ok_or_else(|| anyhow::anyhow!("the primary's zone has no clients"))?;
    Flood::start(&hosts.namespace(own), hosts.targets(), folder)
}
