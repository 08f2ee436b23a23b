//! The network of the hosts: one namespace each, and one data plane between them as the only way for a frame.
//!
//! Addresses are from 198.51.100.0/24, a documentation range. Neighbours are known for good, as behind routers:
//! who cannot be reached is silent, and no kernel answers "no route to host" for it.

mod bridge;
mod forwarding;
pub mod matrix;
pub mod measure;
pub mod namespace;
pub mod owner;
pub mod plane;
mod probe;
pub mod switch;
mod switched;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::command;
use bridge::Bridge;
use matrix::Matrix;
use namespace::Namespace;
use owner::Owner;
use plane::{Carrier, Plane};
use switch::INTERFACE;
use switched::Switched;

/// The hosts and the data plane between them. Dropping it ends the switch; the namespaces are removed by their
/// owner's name.
#[derive(Debug)]
pub struct Network {
    owner: Owner,
    hosts: Vec<String>,
    plane: Plane,
    carrier: Box<dyn Carrier>,
    /// What each fault does to the links.
    layers: BTreeMap<String, Matrix>,
}

impl Network {
    /// Namespaces for `hosts` with a data plane between them, its socket and log in `folder`.
    ///
    /// # Errors
    /// The caller is not root, or a tool fails; what was made until then bears the owner's name.
    pub fn up(
        plane: Plane,
        owner: Owner,
        hosts: &[String],
        folder: &Path,
        seed: u64,
    ) -> anyhow::Result<Network> {
        ensure!(hosts.len() < 200, "there are not so many addresses");
        let add: String = hosts
            .iter()
            .map(|host| format!("netns add {}\n", of(owner, host).name()))
            .collect();
        batch(&["-batch", "-"], &add)?;
        let carrier: Box<dyn Carrier> = match plane {
            Plane::Switch => Box::new(Switched::start(owner, hosts, folder, seed)?),
            Plane::Bridge => Box::new(Bridge::start(owner, hosts)?),
        };
        let network = Network {
            owner,
            hosts: hosts.to_vec(),
            plane,
            carrier,
            layers: BTreeMap::new(),
        };
        for number in 1..=hosts.len() {
            network.address_host(number)?;
        }
        Ok(network)
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

    /// What carries the frames.
    pub fn plane(&self) -> Plane {
        self.plane
    }

    /// The namespace of a host.
    pub fn namespace(&self, host: &str) -> Namespace {
        of(self.owner, host)
    }

    /// Lays a fault over the links under a name, in place of what has that name; it works when this returns.
    ///
    /// # Errors
    /// [`plane::Unable`]: nothing was changed. Or the data plane fails.
    pub fn lay(&mut self, name: &str, matrix: Matrix) -> anyhow::Result<()> {
        self.plane.can(&matrix)?;
        self.layers.insert(name.to_owned(), matrix);
        self.apply()
    }

    /// Takes the fault of that name away.
    ///
    /// # Errors
    /// The data plane fails.
    pub fn lift(&mut self, name: &str) -> anyhow::Result<()> {
        self.layers.remove(name);
        self.apply()
    }

    fn apply(&self) -> anyhow::Result<()> {
        let none = Matrix::default();
        let all = self.layers.values().fold(none, |all, one| all.and(one));
        self.carrier.set(&all)
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
    let delete: String = namespaces(owner)
        .map(|name| format!("netns del {name}\n"))
        .collect();
    if delete.is_empty() {
        return Ok(());
    }
    let result = batch(&["-force", "-batch", "-"], &delete);
    match namespaces(owner).next() {
        // Another run may have removed them at the same time.
        None => Ok(()),
        Some(_) => result,
    }
}

fn namespaces(owner: Owner) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(namespace::FOLDER).into_iter().flatten();
    let names = entries
        .flatten()
        .filter_map(|it| it.file_name().into_string().ok());
    names.filter(move |name| Owner::of(name) == Some(owner))
}

fn batch(arguments: &[&str], lines: &str) -> anyhow::Result<()> {
    command::run(Command::new("ip").args(arguments), lines).map(|_| ())
}
