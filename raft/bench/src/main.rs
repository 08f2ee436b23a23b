//! How fast three peers on this machine are: commits beside etcd's, elections, a steady load, a restart.
//!
//! Every figure stands beside the machine's own: what one write with fdatasync takes on the same disk. Peers are
//! processes of their own, and clients reach them over the loopback, as etcd's do.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod clock;
mod commits;
mod elections;
mod etcd;
mod floor;
mod group;
mod grpc;
mod keys;
mod load;
mod peer;
mod put;
mod restart;
mod steady;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures three peers on the loopback.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Commits per second and their latency, beside etcd's
    Commits(commits::Arguments),
    /// From kill -9 of the leader to the first command that another commits
    Elections(elections::Arguments),
    /// Counts refused commands under 64 writers and two hogs of the CPU
    Steady(steady::Arguments),
    /// Restarts one peer of three that has applied many entries
    Restart(restart::Arguments),
    /// One peer (what the others start)
    #[command(hide = true)]
    Peer(peer::Arguments),
    /// A busy loop (what `steady` starts)
    #[command(hide = true)]
    Hog,
}

/// Where peers keep their logs: it must be on a real disk.
#[derive(clap::Args)]
struct Place {
    /// Logs are written below this folder, which must be on the disk to be measured
    #[arg(long, default_value = "target")]
    folder: PathBuf,
}

impl Place {
    fn prepare(&self) -> anyhow::Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.folder)?;
        Ok(tempfile::Builder::new()
            .prefix("raft-bench.")
            .tempdir_in(&self.folder)?)
    }
}

fn main() -> anyhow::Result<()> {
    let verb = Arguments::parse().verb;
    if let Verb::Hog = verb {
        loop {
            std::hint::spin_loop();
        }
    }
    let mut builder = match verb {
        // As `primacy server` has it.
        Verb::Peer(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    runtime.block_on(async {
        match verb {
            Verb::Commits(arguments) => commits::run(arguments).await,
            Verb::Elections(arguments) => elections::run(arguments).await,
            Verb::Steady(arguments) => steady::run(arguments).await,
            Verb::Restart(arguments) => restart::run(arguments).await,
            Verb::Peer(arguments) => peer::run(arguments).await,
            Verb::Hog => Ok(()),
        }
    })
}
