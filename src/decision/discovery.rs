//! From one address to the whole topology: whom to ask next, given what was answered.
//!
//! Upwards it is told: a standby names its source. Downwards it is not: `pg_stat_replication` shows from where a standby
//! connects, not where it listens. So every port is tried there that something speaks for, and who answers is held against
//! what the source sees: the same history, the same `application_name`, and that source. What cannot be found is said.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{Address, InstanceFacts, ReplicaFacts, Role, SystemIdentifier};

/// So many ports above each known one are tried on a machine that is known to hold an instance: where several are made on
/// one machine, each takes the next that is free.
const NEIGHBOURS: u16 = 9;
/// A walk ends after so many addresses: no cluster is that large, and nobody is to be searched.
const MOST: usize = 512;
/// What takes a base backup and is gone soon.
const BACKUPS: [&str; 1] = ["pg_basebackup"];

/// What came of asking an address.
#[derive(Debug, Clone)]
pub enum Asked {
    /// It answered.
    Facts(Box<InstanceFacts>),
    /// It did not, in these words.
    Failed(String),
}

/// A walk over one topology.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// Where it begins, and where instances are that cannot be found; in the order in which they were given.
    given: Vec<Address>,
    /// Ports that are tried where a standby connects from.
    ports: BTreeSet<u16>,
    asked: BTreeMap<Address, Asked>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum WalkNext {
    /// Ask these.
    Ask(BTreeSet<Address>),
    /// Nothing more can be found.
    Done(Topology),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    /// Of this history; none if nobody answered.
    pub system: Option<SystemIdentifier>,
    /// By the address under which others reach it.
    pub instances: BTreeMap<Address, InstanceFacts>,
    /// All addresses under which each of them answered.
    pub aliases: BTreeMap<Address, BTreeSet<Address>>,
    /// Who receives and was not found.
    pub unfound: Vec<Unfound>,
    /// Addresses that were given or named as a source and did not answer, or are of another history; each with the cause.
    pub failed: BTreeMap<Address, String>,
}

/// Somebody who receives, and where it listens is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfound {
    /// Where it connects from.
    pub host: String,
    /// How it calls itself.
    pub application_name: String,
    /// From whom it receives.
    pub source: Address,
}

impl fmt::Display for Unfound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a standby at {} named {} whose port is not known: give it with --instance {}:PORT",
            self.host, self.application_name, self.host
        )
    }
}

/// One server, whatever it is called.
type Server = (SystemIdentifier, u64, u16);

fn server(facts: &InstanceFacts) -> Server {
    (facts.system, facts.started, facts.own_port)
}

/// Whether a host is where it is said, whoever says it: a loopback address, a name that is one everywhere, or a folder of
/// sockets.
pub fn is_local(host: &str) -> bool {
    const NAMES: [&str; 4] = [
        "localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "ip6-loopback",
    ];
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    let is_loopback = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unspecified(),
    };
    host.is_empty()
        || host.starts_with(['/', '@'])
        || NAMES.contains(&plain.as_str())
        || plain.ends_with(".localhost")
        || plain.parse().is_ok_and(is_loopback)
}

/// What an instance at `from` calls `host`, as it is called from here.
fn relative(host: &str, from: &Address) -> String {
    match is_local(host) {
        true => from.host.clone(),
        false => host.to_owned(),
    }
}

impl Walk {
    /// Begins with these addresses; `ports` are tried where a standby connects from.
    pub fn new(given: Vec<Address>, ports: BTreeSet<u16>) -> Walk {
        Walk {
            given,
            ports,
            asked: BTreeMap::new(),
        }
    }

    /// Notes what came of asking.
    pub fn note(&mut self, address: Address, asked: Asked) {
        self.asked.insert(address, asked);
    }

    /// Whom to ask now, or what was found.
    pub fn next(&self) -> WalkNext {
        let given: BTreeSet<_> = self.given.iter().cloned().collect();
        let sources = self.facts().filter_map(|(_, facts)| source(facts));
        let first: BTreeSet<_> = given.into_iter().chain(sources).collect();
        let steps = [
            first,
            self.candidates(Self::likely),
            self.candidates(Self::neighbours),
        ];
        for step in steps {
            let new: BTreeSet<_> = step
                .into_iter()
                .filter(|it| !self.asked.contains_key(it))
                .collect();
            if !new.is_empty() && self.asked.len() < MOST {
                return WalkNext::Ask(new);
            }
        }
        WalkNext::Done(self.found())
    }

    /// The history that is walked: of whoever was given first and answered.
    fn system(&self) -> Option<SystemIdentifier> {
        let mut answered = self.given.iter().filter_map(|it| match self.asked.get(it) {
            Some(Asked::Facts(facts)) => Some(facts.system),
            Some(Asked::Failed(_)) | None => None,
        });
        answered.next()
    }

    /// Every answer of that history.
    fn facts(&self) -> impl Iterator<Item = (&Address, &InstanceFacts)> {
        let system = self.system();
        self.asked
            .iter()
            .filter_map(move |(address, asked)| match asked {
                Asked::Facts(facts) if Some(facts.system) == system => Some((address, &**facts)),
                Asked::Facts(_) | Asked::Failed(_) => None,
            })
    }

    /// Every server once, with all addresses under which it answered.
    fn servers(&self) -> BTreeMap<Server, (&InstanceFacts, BTreeSet<&Address>)> {
        let mut servers = BTreeMap::new();
        for (address, facts) in self.facts() {
            let known = servers
                .entry(server(facts))
                .or_insert_with(|| (facts, BTreeSet::new()));
            known.1.insert(address);
        }
        servers
    }

    /// Those who receive and were not found, with the server that feeds them.
    fn missing(&self) -> Vec<(&InstanceFacts, &ReplicaFacts)> {
        let servers = self.servers();
        let mut missing = vec![];
        for (facts, addresses) in servers.values() {
            let fed = |name: &str| {
                let is_fed = |it: &InstanceFacts| {
                    let said = it.source.as_ref().filter(|it| it.application_name == name);
                    said.is_some()
                        && source(it).is_some_and(|at| {
                            addresses.contains(&at)
                                || at.port == facts.own_port && self.is_same_server(&at, facts)
                        })
                };
                servers.values().filter(|(it, _)| is_fed(it)).count()
            };
            let mut rows: BTreeMap<&str, Vec<&ReplicaFacts>> = BTreeMap::new();
            for row in &facts.replicas {
                if row.state != "backup" && !BACKUPS.contains(&row.application_name.as_str()) {
                    rows.entry(&row.application_name).or_default().push(row);
                }
            }
            for (name, rows) in rows {
                let found = fed(name);
                if rows.len() > found {
                    missing.extend(rows.into_iter().map(|row| (*facts, row)));
                }
            }
        }
        missing
    }

    /// Whether somebody is known to answer at `address` who is `facts`; or nobody does, and its port alone speaks for it.
    fn is_same_server(&self, address: &Address, facts: &InstanceFacts) -> bool {
        match self.asked.get(address) {
            Some(Asked::Facts(there)) => server(there) == server(facts),
            Some(Asked::Failed(_)) | None => true,
        }
    }

    fn candidates(&self, ports: impl Fn(&Self, &str) -> BTreeSet<u16>) -> BTreeSet<Address> {
        let missing = self.missing();
        let hosts: BTreeSet<String> = missing
            .iter()
            .map(|(source, row)| relative(row.host.as_deref().unwrap_or_default(), &source.address))
            .collect();
        let mut candidates = BTreeSet::new();
        for host in hosts {
            for port in ports(self, &host) {
                let host = host.clone();
                candidates.insert(Address { host, port });
            }
        }
        candidates
    }

    /// Ports that something speaks for, anywhere.
    fn likely(&self, _host: &str) -> BTreeSet<u16> {
        let given = self.given.iter().map(|it| it.port);
        let known = self
            .facts()
            .flat_map(|(at, facts)| [at.port, facts.own_port]);
        self.ports
            .iter()
            .copied()
            .chain(given)
            .chain(known)
            .collect()
    }

    /// The ports above those of instances on the same machine.
    fn neighbours(&self, host: &str) -> BTreeSet<u16> {
        let here = self.facts().filter(|(at, _)| at.host == host);
        let above =
            here.flat_map(|(at, _)| (1..=NEIGHBOURS).filter_map(|by| at.port.checked_add(by)));
        above.collect()
    }

    fn found(&self) -> Topology {
        let system = self.system();
        let named: BTreeSet<Address> = self.facts().filter_map(|(_, it)| source(it)).collect();
        // As other instances call it, unless that is only true on their own machine; else as it was given.
        let rank = |at: &&&Address| {
            let given = self.given.iter().position(|it| it == **at);
            (
                is_local(&at.host),
                !named.contains(**at),
                given.is_none(),
                given,
            )
        };
        let (mut instances, mut aliases) = (BTreeMap::new(), BTreeMap::new());
        for (facts, addresses) in self.servers().values() {
            if let Some(best) = addresses.iter().min_by_key(rank) {
                let mut facts = (*facts).clone();
                facts.address = (**best).clone();
                instances.insert((**best).clone(), facts);
                let all = addresses.iter().map(|at| (*at).clone()).collect();
                aliases.insert((**best).clone(), all);
            }
        }
        let missing = self.missing();
        let unfound: BTreeSet<Unfound> = missing
            .iter()
            .map(|(source, row)| Unfound {
                host: relative(row.host.as_deref().unwrap_or_default(), &source.address),
                application_name: row.application_name.clone(),
                source: source.address.clone(),
            })
            .collect();
        let wanted = |at: &Address| self.given.contains(at) || named.contains(at);
        let failed = self.asked.iter().filter(|(at, _)| wanted(at));
        let failed = failed.filter_map(|(at, asked)| match asked {
            Asked::Failed(why) => Some((at.clone(), why.clone())),
            Asked::Facts(facts) if Some(facts.system) != system => Some((
                at.clone(),
                format!("it is of another history, {}", facts.system),
            )),
            Asked::Facts(_) => None,
        });
        Topology {
            system,
            failed: failed.collect(),
            unfound: unfound.into_iter().collect(),
            instances,
            aliases,
        }
    }
}

/// Where the source of a standby answers, as it is called from here.
fn source(facts: &InstanceFacts) -> Option<Address> {
    let source = facts.source.as_ref()?;
    Some(Address {
        host: relative(&source.address.host, &facts.address),
        port: source.address.port,
    })
}

impl Topology {
    /// Those out of recovery.
    pub fn primaries(&self) -> Vec<&Address> {
        let primaries = self.instances.iter();
        let primaries = primaries.filter(|(_, facts)| facts.role == Role::Primary);
        primaries.map(|(address, _)| address).collect()
    }
}

#[cfg(test)]
pub(super) mod example;
#[cfg(test)]
mod tests;
