//! The network of the hosts: one namespace each, and one switch between them as the only way for a frame.
//!
//! Addresses are from 198.51.100.0/24, a documentation range. Neighbours are known for good, as behind routers:
//! who cannot be reached is silent, and no kernel answers "no route to host" for it.

mod forwarding;
pub mod matrix;
pub mod measure;
pub mod namespace;
pub mod owner;
pub mod switch;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{clock, command};
use forwarding::Counts;
use matrix::Matrix;
use namespace::Namespace;
use owner::Owner;
use switch::INTERFACE;

const READY_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// The hosts and the switch between them. Dropping it ends the switch; the namespaces are removed by their
/// owner's name.
#[derive(Debug)]
pub struct Network {
    owner: Owner,
    hosts: Vec<String>,
    switch: Child,
    socket: PathBuf,
    /// What each fault does to the links.
    layers: BTreeMap<String, Matrix>,
}

impl Network {
    /// Namespaces for `hosts` with a switch between them, its socket and log in `folder`.
    ///
    /// # Errors
    /// The caller is not root, or a tool fails; what was made until then bears the owner's name.
    pub fn up(owner: Owner, hosts: &[String], folder: &Path, seed: u64) -> anyhow::Result<Network> {
        ensure!(hosts.len() < 200, "there are not so many addresses");
        let add: String = hosts
            .iter()
            .map(|host| format!("netns add {}\n", of(owner, host).name()))
            .collect();
        batch(&["-batch", "-"], &add)?;
        let socket = folder.join("switch.socket");
        let log = std::fs::File::create(folder.join("switch.log"))?;
        let switch = Command::new(std::env::current_exe()?)
            .arg("switch")
            .arg("--socket")
            .arg(&socket)
            .args(["--seed", &seed.to_string()])
            .args(
                hosts
                    .iter()
                    .map(|host| format!("{host}={}", of(owner, host).name())),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start the switch")?;
        let mut network = Network {
            owner,
            hosts: hosts.to_vec(),
            switch,
            socket,
            layers: BTreeMap::new(),
        };
        network.wait_for_switch()?;
        for number in 1..=hosts.len() {
            network.address_host(number)?;
        }
        Ok(network)
    }

    fn wait_for_switch(&mut self) -> anyhow::Result<()> {
        let began = clock::now();
        while switch::command(&self.socket, &Matrix::default()).is_err() {
            let ended = self.switch.try_wait()?;
            ensure!(ended.is_none(), "the switch ends at once; see switch.log");
            ensure!(
                clock::now().since(began) < READY_WITHIN,
                "the switch is not ready in time"
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Gives the host its addresses and those of all others.
    fn address_host(&self, number: usize) -> anyhow::Result<()> {
        let namespace = of(self.owner, &self.hosts[number - 1]);
        let mut lines = format!(
            "link set lo up\nlink set {INTERFACE} address {}\naddr add {}/24 dev {INTERFACE}\nlink set {INTERFACE} up\n",
            hardware(number),
            protocol(number)
        );
        for other in (1..=self.hosts.len()).filter(|other| *other != number) {
            lines += &format!(
                "neigh replace {} lladdr {} dev {INTERFACE} nud permanent\n",
                protocol(other),
                hardware(other)
            );
        }
        batch(&["-n", namespace.name(), "-batch", "-"], &lines)
    }

    /// Every host, in the order of their addresses.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The namespace of a host.
    pub fn namespace(&self, host: &str) -> Namespace {
        of(self.owner, host)
    }

    /// Lays a fault over the links under a name, in place of what has that name; it works when this returns.
    ///
    /// # Errors
    /// The switch does not answer.
    pub fn lay(&mut self, name: &str, matrix: Matrix) -> anyhow::Result<Counts> {
        self.layers.insert(name.to_owned(), matrix);
        self.apply()
    }

    /// Takes the fault of that name away.
    ///
    /// # Errors
    /// The switch does not answer.
    pub fn lift(&mut self, name: &str) -> anyhow::Result<Counts> {
        self.layers.remove(name);
        self.apply()
    }

    fn apply(&self) -> anyhow::Result<Counts> {
        let none = Matrix::default();
        let all = self.layers.values().fold(none, |all, one| all.and(one));
        switch::command(&self.socket, &all)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.switch.stdin.take());
        let _ = self.switch.wait();
    }
}

/// The namespace of a host of `owner`.
pub fn of(owner: Owner, host: &str) -> Namespace {
    Namespace::named(&format!("{owner}-{host}"))
}

/// The address of the host with that number, counted from 1.
pub fn protocol(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, u8::try_from(number).unwrap_or(u8::MAX))
}

fn hardware(number: usize) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// Removes every namespace of `owner`. Their interfaces go with them.
///
/// # Errors
/// `ip` fails.
pub fn remove(owner: Owner) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(namespace::FOLDER).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let delete: String = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| Owner::of(name) == Some(owner))
        .map(|name| format!("netns del {name}\n"))
        .collect();
    if delete.is_empty() {
        return Ok(());
    }
    batch(&["-batch", "-"], &delete)
}

fn batch(arguments: &[&str], lines: &str) -> anyhow::Result<()> {
    command::run(Command::new("ip").args(arguments), lines).map(|_| ())
}
