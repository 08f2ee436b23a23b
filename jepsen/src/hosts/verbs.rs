//! Hosts by hand: bring them up, look around, take down what a crash left.
#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use super::layout::Kind;
use super::{Hosts, Settings, leftovers};
use crate::clock;
use crate::expectations::{Expectations, Network};
use crate::nemesis::fault::Fault;
use crate::nemesis::ground::Ground;
use crate::nemesis::plan::{Strike, plan};
use crate::nemesis::target::Target;
use crate::nemesis::trial;
use crate::net::owner::Owner;

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub enum HostsVerb {
    /// Bring hosts up and keep them until standard input ends
    Up(Options),
    /// Strike with one fault after the other, beside a client that writes
    Try {
        /// What is brought up
        #[command(flatten)]
        options: Options,
        /// How long each lasts, in seconds; by default as planned
        #[arg(long)]
        lasts: Option<u64>,
        /// Faults by name, each with a role if it may strike several: isolate, isolate@leader; without any, all in the order of the seed
        faults: Vec<String>,
    },
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
    /// How far zones are apart, one way, in milliseconds; the network of the peers is `wan` then
    #[arg(long, default_value_t = 0)]
    apart_ms: u64,
}

impl Options {
    fn expectations(&self) -> Expectations {
        Network::for_zones(self.apart_ms).expectations()
    }

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
            apart_ms: self.apart_ms,
            environment: vec![],
        })
    }
}

/// Answers whether all went well.
///
/// # Errors
/// Hosts cannot be brought up here, or did not come up.
pub fn run(verb: HostsVerb) -> anyhow::Result<bool> {
    take_down_when_interrupted()?;
    match verb {
        HostsVerb::Up(options) => up(&options),
        HostsVerb::Try {
            options,
            lasts,
            faults,
        } => strike(&options, lasts.map(|seconds| seconds * 1_000), &faults),
        HostsVerb::Down => {
            for gone in leftovers::remove_all()? {
                println!("removed what {gone} had left");
            }
            Ok(true)
        }
    }
}

/// Ctrl-C or a request to end takes down whatever is up by then, and ends this process.
///
/// # Errors
/// The system has no thread left.
pub fn take_down_when_interrupted() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before there is anything to take down.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            let result = leftovers::remove(Owner::this());
            if let Err(error) = result {
                eprintln!("error: take the hosts down: {error:#}");
            }
            std::process::exit(130);
        })?;
    Ok(())
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
    let tls = hosts.tls();
    println!(
        "from client1: PRIMACY_TLS={} PRIMACY_API={peers} primacy status",
        tls.display()
    );
    println!(
        "nodes {:?}; end the input to end it all",
        hosts.layout().names(Kind::Node)
    );
    std::io::stdin().read_to_end(&mut vec![])?;
    hosts.down()?;
    Ok(true)
}

fn strike(options: &Options, lasts_ms: Option<u64>, named: &[String]) -> anyhow::Result<bool> {
    let mut strikes = if named.is_empty() {
        plan(
            options.seed,
            Fault::ALL,
            Fault::ALL.len(),
            &options.expectations(),
        )
    } else {
        named
            .iter()
            .map(|text| parse(text, &options.expectations()))
            .collect::<anyhow::Result<Vec<_>>>()?
    };
    for strike in &mut strikes {
        strike.lasts_ms = lasts_ms.unwrap_or(strike.lasts_ms);
    }
    let clocks = strikes.iter().any(|strike| strike.fault.needs_clocks());
    let began = clock::now();
    let mut ground = Ground::up(&options.settings(clocks)?)?;
    println!("up in {:.1} s", clock::now().since(began).as_secs_f64());
    trial::run(&mut ground, &strikes)
}

/// `FAULT` or `FAULT@ROLE`.
///
/// # Errors
/// There is no such fault, or it never strikes that role.
pub fn parse(text: &str, expected: &Expectations) -> anyhow::Result<Strike> {
    let (name, role) = text.split_once('@').unwrap_or((text, ""));
    let all = || {
        Fault::ALL
            .iter()
            .map(|fault| fault.name())
            .collect::<Vec<_>>()
    };
    let fault = Fault::named(name)
        .with_context(|| format!("there is no fault {name}; there are {}", all().join(", ")))?;
    let named = |target: &&Target| format!("{target:?}").to_lowercase().starts_with(role);
    let target = fault.targets().iter().find(named);
    let target = target.with_context(|| format!("{name} never strikes {role}"))?;
    Ok(Strike {
        at_ms: 0,
        lasts_ms: fault.lasts_ms(expected).1,
        fault,
        target: *target,
    })
}
