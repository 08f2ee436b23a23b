//! Black-box faults and measurements: HTTP, SQL and the binary `primacy`, nothing of its library.
//!
//! `demo` shows two failovers as time lines, `bench` measures many, `idle` measures a cluster at rest.
//! What was acknowledged is counted by the clients, never asked of the system under test.

mod bench;
mod checker;
mod clock;
mod cluster;
mod command;
mod demo;
mod disk;
mod history;
mod hosts;
mod http;
mod idle;
mod load;
mod nemesis;
mod net;
mod recovery;
mod session;
mod sys;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
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
    /// Measure what the network of the hosts does; needs root
    #[command(hide = true)]
    Network {
        /// Decides what is lost and late
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Measure CPU and memory of a cluster at rest
    Idle {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        options: idle::Options,
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
    // Whoever enters a namespace does so on a thread of its own, before there is any runtime.
    let result = match Arguments::parse().verb {
        Verb::Switch(options) => net::switch::run(&options).map(|()| true),
        Verb::Network { seed } => net::measure::run(seed).map(|()| true),
        Verb::Hosts(verb) => hosts::verbs::run(verb),
        verb => measure(verb),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn measure(verb: Verb) -> anyhow::Result<bool> {
    run(verb).await
}

/// Answers whether what was measured is as it should be. Whatever was started is taken down again.
async fn run(verb: Verb) -> anyhow::Result<bool> {
    let mut dev = match &verb {
        Verb::Demo { place } => place.dev("demo")?,
        Verb::Bench { place, .. } => place.dev("bench")?,
        Verb::Idle { place, .. } => place.dev("idle")?,
        Verb::Switch(_) | Verb::Network { .. } | Verb::Hosts(_) => {
            anyhow::bail!("it brings up its own hosts")
        }
    };
    let work = async {
        match verb {
            Verb::Demo { .. } => demo::run(&mut dev).await,
            Verb::Bench { options, .. } => bench::run(&mut dev, options).await,
            Verb::Idle { options, .. } => idle::run(&mut dev, options).await,
            Verb::Switch(_) | Verb::Network { .. } | Verb::Hosts(_) => Ok(false),
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let result = tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    dev.down().await;
    result
}
