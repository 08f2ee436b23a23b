//! Hosts by hand: bring them up, look around, take down what a crash left.
#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::layout::Kind;
use super::{Hosts, Settings, leftovers};
use crate::clock;

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub enum HostsVerb {
    /// Bring hosts up and keep them until standard input ends
    Up(Options),
    /// Remove what runs that crashed have left
    Down,
}

/// What is brought up.
#[derive(Debug, Args)]
pub struct Options {
    /// The binary under test; by default the one beside this program
    #[arg(long, env = "PRIMACY_BINARY")]
    primacy: Option<PathBuf>,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// `quorum:K` or `async`
    #[arg(long, default_value = "quorum:1")]
    durability: String,
    /// Decides everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Options {
    fn settings(&self, clocks: bool) -> anyhow::Result<Settings> {
        let program = match &self.primacy {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("primacy"),
        };
        Ok(Settings {
            program,
            nodes: self.nodes,
            durability: self.durability.clone(),
            seed: self.seed,
            clocks,
        })
    }
}

/// Answers whether all went well.
///
/// # Errors
/// Hosts cannot be brought up here, or did not come up.
pub fn run(verb: HostsVerb) -> anyhow::Result<bool> {
    match verb {
        HostsVerb::Up(options) => up(&options),
        HostsVerb::Down => {
            for gone in leftovers::remove_all()? {
                println!("removed what {gone} had left");
            }
            Ok(true)
        }
    }
}

fn up(options: &Options) -> anyhow::Result<bool> {
    let began = clock::now();
    let hosts = Hosts::up(&options.settings(false)?)?;
    println!("up in {:.1} s", clock::now().since(began).as_secs_f64());
    for host in hosts.layout().all() {
        let namespace = hosts.namespace(&host.name);
        println!(
            "{:8} {:14} ip netns exec {}",
            host.name,
            host.address,
            namespace.name()
        );
    }
    let peers = hosts.layout().peers().join(",");
    println!("from client1: PRIMACY_API={peers} primacy status");
    println!(
        "nodes {:?}; end the input to end it all",
        hosts.layout().names(Kind::Node)
    );
    std::io::stdin().read_to_end(&mut vec![])?;
    hosts.down()?;
    Ok(true)
}
