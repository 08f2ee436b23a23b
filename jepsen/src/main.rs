//! Black-box faults and measurements: HTTP, SQL and the binary `primacy`, nothing of its library.
//!
//! `demo` shows two failovers as time lines, `bench` measures many, `idle` measures a cluster at rest, `probing` a peer
//! that looks at many databases.
//! What was acknowledged is counted by the clients, never asked of the system under test.

mod bench;
mod check;
mod cluster;
mod command;
mod demo;
mod disk;
mod hosts;
mod idle;
mod load;
mod mutants;
mod nemesis;
mod net;
mod probing;
mod reads;
mod recovery;
mod report;
mod run;
mod sys;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jepsen::{checker, clock, expectations, history, http, random, session};
use tokio::signal::unix::{SignalKind, signal};

use cluster::Dev;

#[derive(Debug, Parser)]
#[command(name = "jepsen", about = "Black-box faults and measurements")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Kill a primary, then the next one together with the Raft leader, and show both recoveries
    Demo {
        #[command(flatten)]
        place: Place,
    },
    /// Measure write outage, loss and rejoin under faults
    Bench {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        options: bench::Options,
    },
    /// Carry frames between namespaces
    #[command(hide = true)]
    Switch(net::switch::Options),
    /// Hosts of their own, in network namespaces: needs root
    #[command(hide = true, subcommand)]
    Hosts(hosts::verbs::HostsVerb),
    /// Judge and measure what the network of the hosts does; needs root
    #[command(hide = true)]
    Network {
        #[command(flatten)]
        options: net::measure::Options,
    },
    /// Measure CPU and memory of a cluster at rest
    Idle {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        options: idle::Options,
    },
    /// Measure linearizable reads, at the leader of the peers and through a follower
    Reads {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        options: reads::Options,
    },
    /// Measure what looking at many databases without agents costs a peer
    Probing {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        options: probing::Options,
    },
    /// Rounds of load and faults, judged: exit 0 if valid, 1 if something is wrong, 2 if it proves nothing
    Run(run::Run),
    /// Repeat one round of a run
    Replay(run::Replay),
    /// Rounds over all faults for hours; SIGTERM ends it with the summary so far
    Soak(run::Soak),
    /// Break one safety rule after the other and see that the checkers notice: exit 0 if they do, 1 if not; needs root
    Mutants {
        #[command(flatten)]
        options: mutants::Options,
    },
    /// Judge a recorded history: exit 0 if valid, 1 if invalid, 2 if unknown
    Check {
        #[command(flatten)]
        options: check::Options,
    },
}

/// What is tested, and where it lives meanwhile.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The binary under test; by default the one beside this program
    #[arg(long, env = "PRIMACY_BINARY")]
    primacy: Option<PathBuf>,
    /// An own folder for the cluster: whatever `primacy dev` left there is taken down first
    #[arg(long)]
    folder: Option<PathBuf>,
}

impl Place {
    fn dev(&self, purpose: &str) -> anyhow::Result<Dev> {
        let program = match &self.primacy {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("primacy"),
        };
        anyhow::ensure!(
            program.exists(),
            "{} does not exist: cargo build --release --workspace builds it",
            program.display()
        );
        let user = rustix::process::getuid().as_raw();
        let default = || PathBuf::from(format!("/tmp/primacy-{purpose}-{user}"));
        let folder = self.folder.clone().unwrap_or_else(default);
        Ok(Dev::new(program, folder))
    }
}

fn main() -> ExitCode {
    let measured = match Arguments::parse().verb {
        Verb::Check { options } => return check::run(&options),
        Verb::Run(options) => return ruled(run::run(&options)),
        Verb::Replay(options) => return ruled(run::replay(&options)),
        Verb::Soak(options) => return ruled(run::soak(&options)),
        Verb::Mutants { options } => return ruled(mutants::run(&options)),
        // Whoever enters a namespace does so on a thread of its own, before there is any runtime.
        Verb::Switch(options) => net::switch::run(&options).map(|()| true),
        Verb::Network { options } => net::measure::run(&options).map(|()| true),
        Verb::Hosts(verb) => hosts::verbs::run(verb),
        Verb::Demo { place } => on_dev(place.dev("demo"), demo::run),
        Verb::Bench { place, options } => {
            if options.without_hosts().is_empty() {
                place
                    .dev("bench")
                    .and_then(|dev| bench::on_hosts(&dev, &options))
            } else {
                let work = async |dev: &mut Dev| bench::on_loopback(dev, &options).await;
                on_dev(place.dev("bench"), work)
            }
        }
        Verb::Idle { place, options } => {
            let work = async |dev: &mut Dev| idle::run(dev, options).await;
            on_dev(place.dev("idle"), work)
        }
        Verb::Probing { place, options } => {
            let work = async |dev: &mut Dev| probing::run(dev.program(), &options).await;
            on_dev(place.dev("probing"), work)
        }
        Verb::Reads { place, options } => {
            let work = async |dev: &mut Dev| reads::run(dev, options).await;
            on_dev(place.dev("reads"), work)
        }
    };
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A harness that fails proves nothing.
fn ruled(ruling: anyhow::Result<report::Ruling>) -> ExitCode {
    let ruling = ruling.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        report::Ruling::Unknown
    });
    ExitCode::from(ruling.code())
}

/// Answers whether what was measured is as it should be. Whatever was started is taken down again.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn on_dev(
    dev: anyhow::Result<Dev>,
    work: impl AsyncFnOnce(&mut Dev) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let mut dev = dev?;
    let mut terminate = signal(SignalKind::terminate())?;
    let result = tokio::select! {
        result = work(&mut dev) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    dev.down().await;
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// What clap checks only in builds like this one, and only of the verb that is asked for.
    #[test]
    fn every_verb_can_be_parsed() {
        Arguments::command().debug_assert();
    }
}
