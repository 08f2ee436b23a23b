//! The hosts of the fault suite: peers, nodes and clients, each with its own network, disk and processes.
//!
//! Needs root, a data plane, loop devices and control groups of version 2; [`missing`] says what is not there, and
//! then there is only [`loopback`]. Everything blocks, so whoever drives it has a thread of its own.

mod certificates;
pub mod configuration;
pub mod control_group;
pub mod layout;
pub mod leftovers;
pub mod machine;
pub mod process;
mod up;
pub mod verbs;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::expectations;
use crate::http::Certificate;
use crate::net::Network;
use crate::net::matrix::{Matrix, Quality};
use crate::net::namespace::Namespace;
use crate::net::owner::Owner;
use crate::net::plane::{self, Plane};
use crate::session::Target;
use configuration::APPLICATION;
use layout::{DATABASE_PORT, Kind, Layout, WATCH, ZONES};
use machine::Machine;

/// What is brought up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The binary `primacy`.
    pub program: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// `quorum:K` or `async`.
    pub durability: String,
    /// Decides what the network loses and delays.
    pub seed: u64,
    /// Whether wall clocks can be set wrong: every process is slower for it.
    pub clocks: bool,
    /// How long a frame takes from one zone to another, in milliseconds. Beyond none the network of the peers is `wan`.
    pub apart_ms: u64,
    /// What peers and agents find in their environment besides.
    pub environment: Vec<(&'static str, String)>,
}

/// Hosts that run. Dropping them takes everything down.
#[derive(Debug)]
pub struct Hosts {
    owner: Owner,
    folder: PathBuf,
    apart_ms: u64,
    layout: Layout,
    password: String,
    certificate: Certificate,
    network: Network,
    machines: BTreeMap<String, Machine>,
}

impl Hosts {
    /// Which hosts there are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the harness shows to peers.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The folder of it.
    pub fn tls(&self) -> PathBuf {
        self.folder.join(certificates::OWN)
    }

    /// The network of a host.
    pub fn namespace(&self, host: &str) -> Namespace {
        self.network.namespace(host)
    }

    /// The machine of a peer or a node.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn machine(&mut self, host: &str) -> anyhow::Result<&mut Machine> {
        self.machines
            .get_mut(host)
            .with_context(|| format!("{host} is no machine"))
    }

    /// What carries frames between them.
    pub fn plane(&self) -> Plane {
        self.network.plane()
    }

    /// The network of the peers.
    pub fn network(&self) -> expectations::Network {
        expectations::Network::for_zones(self.apart_ms)
    }

    /// What carries the frames, and how far they go.
    pub fn describe(&self) -> String {
        let plane = self.plane().describe();
        match self.apart_ms {
            0 => format!("hosts in network namespaces, {plane}"),
            apart => {
                format!("hosts in network namespaces, zones {apart} ms apart each way, {plane}")
            }
        }
    }

    /// Puts the zones as far apart as was asked for. Whoever watches is near to all.
    fn put_apart(&mut self) -> anyhow::Result<()> {
        if self.apart_ms == 0 {
            return Ok(());
        }
        let quality = Quality {
            delay_us: self.apart_ms * 1_000,
            ..Quality::default()
        };
        let zones: Vec<_> = (1..=ZONES).map(|zone| self.layout.zone(zone)).collect();
        let mut matrix = Matrix::default();
        for (number, one) in zones.iter().enumerate() {
            for other in &zones[number + 1..] {
                matrix = matrix.both_ways(one, other, quality);
            }
        }
        self.lay("zones apart", matrix)
    }

    /// Lays a fault over the links; see [`Network::lay`].
    ///
    /// # Errors
    /// [`crate::net::plane::Unable`]: nothing was changed. Or the data plane fails.
    pub fn lay(&mut self, fault: &str, matrix: Matrix) -> anyhow::Result<()> {
        self.network.lay(fault, matrix)
    }

    /// Takes a fault away from the links.
    ///
    /// # Errors
    /// The data plane fails.
    pub fn lift(&mut self, fault: &str) -> anyhow::Result<()> {
        self.network.lift(fault)
    }

    /// How to reach each database from inside the network, in the order of the names.
    pub fn targets(&self) -> Vec<Target> {
        let nodes = self.layout.of(Kind::Node);
        let targets = nodes.map(|host| {
            let mut config = tokio_postgres::Config::new();
            config
                .host(host.address.to_string())
                .port(DATABASE_PORT)
                .user(APPLICATION)
                .password(&self.password)
                .dbname("postgres")
                .application_name("jepsen");
            Target {
                node: host.name.as_str().into(),
                config,
                patience: self.network().expectations().patience,
            }
        });
        targets.collect()
    }

    /// Runs a verb of `primacy` on the host that watches; answers what it printed.
    ///
    /// # Errors
    /// It fails.
    pub fn primacy(&self, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<String> {
        let mut command = Command::new(self.folder.join("primacy"));
        command
            .args(arguments)
            .env("PRIMACY_API", self.layout.peers().join(","))
            .env("PRIMACY_TLS", self.tls());
        self.namespace(WATCH).run(command)
    }

    /// Copies the logs of all hosts into `to`.
    ///
    /// # Errors
    /// It cannot be written. What cannot be read is left out.
    pub fn keep_logs(&self, to: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(to)?;
        for (name, machine) in &self.machines {
            let home = &machine.program.home;
            let logs = [
                (machine.program.log.clone(), format!("{name}.log")),
                (
                    home.join("agent/postgresql.log"),
                    format!("{name}-postgresql.log"),
                ),
            ];
            for (log, kept) in logs.iter().filter(|(log, _)| log.exists()) {
                std::fs::copy(log, to.join(kept))?;
            }
        }
        Ok(())
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// Something does not end or cannot be removed.
    pub fn down(mut self) -> anyhow::Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        let stubborn: Vec<_> = self
            .machines
            .values_mut()
            .filter_map(|machine| machine.kill().err())
            .collect();
        self.machines.clear();
        leftovers::remove(self.owner)?;
        stubborn.into_iter().next().map_or(Ok(()), Err)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("error: take the hosts down: {error:#}");
        }
    }
}

/// What this machine lacks for hosts of their own; empty if they can be had.
pub fn missing() -> Vec<String> {
    let mut missing = vec![];
    let mut need = |is_there: bool, what: &str| {
        if !is_there {
            missing.push(what.to_owned());
        }
    };
    need(rustix::process::getuid().is_root(), "root");
    need(Plane::found().is_some(), plane::NEEDED);
    need(Path::new("/dev/loop-control").exists(), "loop devices");
    need(
        control_group::root().is_some(),
        "control groups of version 2",
    );
    let has = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path);
        folders.any(|folder| folder.join(program).exists())
    };
    for program in ["ip", "setpriv", "mkfs.ext4", "cc"] {
        need(has(program), program);
    }
    missing
}
