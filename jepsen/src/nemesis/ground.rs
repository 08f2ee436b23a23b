//! Where faults are installed: on hosts of their own, or without root by signals on loopback.

use std::time::Duration;

use super::loopback::Loopback;
use super::plan::Strike;
use super::target::{Roles, Target};
use super::{Injection, Outcome, injection};
use crate::expectations::{Expectations, Network};
use crate::hosts::layout::Kind;
use crate::hosts::{Hosts, Settings, missing};

const POLL: Duration = Duration::from_millis(50);

/// Where.
#[derive(Debug)]
pub enum Ground {
    /// Namespaces, disks and control groups.
    Hosts(Box<Hosts>),
    /// `primacy dev` and signals.
    Loopback(Box<Loopback>),
}

/// How to undo what was installed.
#[derive(Debug)]
pub enum Undo {
    /// On hosts.
    Hosts(Injected),
    /// By a verb of `primacy dev`.
    Verb(Vec<String>),
    /// Nothing was done, or it heals by itself.
    Nothing,
}

/// A fault that is there.
#[derive(Debug)]
pub struct Injected(Box<dyn Injection>);

impl Ground {
    /// Brings up hosts if this machine can have them, else a `primacy dev` in a folder of its own.
    ///
    /// # Errors
    /// It does not come up.
    pub fn up(settings: &Settings) -> anyhow::Result<Ground> {
        let missing = missing();
        if missing.is_empty() {
            return Ok(Ground::Hosts(Box::new(Hosts::up(settings)?)));
        }
        let loopback = Loopback::up(settings, &missing)?;
        Ok(Ground::Loopback(Box::new(loopback)))
    }

    /// For the report: what this is, and what it cannot show.
    pub fn describe(&self) -> String {
        match self {
            Ground::Hosts(hosts) => hosts.describe(),
            Ground::Loopback(loopback) => loopback.describe(),
        }
    }

    /// Who has which role, as the API says now.
    pub fn roles(&self) -> Roles {
        match self {
            Ground::Hosts(hosts) => Roles {
                primary: hosts.primary().ok(),
                leader: hosts.leader().ok(),
                nodes: hosts.layout().names(Kind::Node),
                peers: hosts.layout().names(Kind::Peer),
            },
            Ground::Loopback(loopback) => loopback.roles(),
        }
    }

    /// What is expected there.
    pub fn expectations(&self) -> Expectations {
        let network = match self {
            Ground::Hosts(hosts) => hosts.network(),
            Ground::Loopback(_) => Network::Lan,
        };
        network.expectations()
    }

    /// Waits a little for somebody to have the role.
    pub fn host(&self, target: Target) -> Option<String> {
        let within = self.expectations().role_known_within;
        let began = crate::clock::now();
        loop {
            let host = self.roles().host(target);
            if host.is_some() || crate::clock::now().since(began) > within {
                return host;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Installs the fault of a strike on `host`.
    pub fn install(&mut self, strike: &Strike, host: &str) -> (Outcome, Undo) {
        match self {
            Ground::Hosts(hosts) => {
                let mut injection = injection(strike.fault, host);
                let outcome = Outcome::from(injection.install(hosts));
                match outcome {
                    Outcome::Skipped(_) => (outcome, Undo::Nothing),
                    Outcome::Installed | Outcome::Indeterminate(_) => {
                        (outcome, Undo::Hosts(Injected(injection)))
                    }
                }
            }
            Ground::Loopback(loopback) => loopback.install(strike.fault, host),
        }
    }

    /// Undoes it.
    ///
    /// # Errors
    /// It is still there.
    pub fn heal(&mut self, undo: Undo) -> anyhow::Result<()> {
        match (self, undo) {
            (Ground::Hosts(hosts), Undo::Hosts(mut injected)) => injected.0.heal(hosts),
            (Ground::Loopback(loopback), Undo::Verb(verb)) => loopback.act(&verb),
            (Ground::Hosts(_), Undo::Verb(_) | Undo::Nothing)
            | (Ground::Loopback(_), Undo::Hosts(_) | Undo::Nothing) => Ok(()),
        }
    }

    /// Waits until one primary serves, all others stream, and nothing of a fault is left.
    ///
    /// # Errors
    /// It is not so in time.
    pub fn until_healed(&self, within: Duration) -> anyhow::Result<()> {
        match self {
            Ground::Hosts(hosts) => hosts
                .until(within, "healed", |view| view.is_healed())
                .map(|_| ()),
            Ground::Loopback(loopback) => loopback.until_healed(within),
        }
    }
}
