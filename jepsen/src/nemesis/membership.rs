//! Membership churn: every peer in turn is removed, loses its disk's contents, and comes back as a new one.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::{Injection, Trouble};
use crate::clock;
use crate::hosts::layout::{Kind, PEER_PORT};
use crate::hosts::{Hosts, configuration};

/// A newcomer is caught up and votes within this time.
const VOTES_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Of all peers, one after the other, so that there are never less than two voters.
#[derive(Debug)]
pub struct Churn;

/// What the API says of a peer.
#[derive(Debug, Deserialize)]
struct Told {
    id: u64,
    address: String,
    reachable: bool,
    vote: bool,
}

/// What `primacy peers add --output json` prints.
#[derive(Debug, Deserialize)]
struct Added {
    token: String,
}

impl Injection for Churn {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        for host in hosts.layout().names(Kind::Peer) {
            replace(hosts, &host).with_context(|| format!("replace the peer of {host}"))?;
        }
        Ok(())
    }

    /// Whoever is no voter by now is replaced again.
    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        for host in hosts.layout().names(Kind::Peer) {
            hosts.machine(&host)?.start_if_down()?;
            if !until_it_votes(hosts, &host)? {
                replace(hosts, &host)?;
            }
        }
        Ok(())
    }
}

fn replace(hosts: &mut Hosts, host: &str) -> anyhow::Result<()> {
    let address = address(hosts, host)?;
    if let Some(old) = told(hosts, &address)? {
        hosts.primacy(&["peers", "remove", &old.id.to_string()])?;
    }
    hosts.machine(host)?.kill()?;
    let added = hosts.primacy(&["peers", "add", &address, "--output", "json"])?;
    let added: Added = serde_json::from_str(&added).context("what `peers add` prints")?;
    let place = hosts.layout().host(host).context("no such host")?.clone();
    let network = hosts.network();
    let machine = hosts.machine(host)?;
    let home = machine.program.home.clone();
    fs::remove_dir_all(configuration::log_folder(&home)).context("empty the folder")?;
    // In place: it keeps its owner.
    let text = configuration::newcomer(&place, &home, network, &added.token);
    fs::write(&machine.program.configuration, text)?;
    rustix::fs::syncfs(fs::File::open(&home)?)?;
    machine.start()?;
    let began = clock::now();
    let mut last = None;
    while clock::now().since(began) < VOTES_WITHIN {
        if let Some(new) = told(hosts, &address)?.filter(|new| new.reachable) {
            match hosts.primacy(&["peers", "promote", &new.id.to_string()]) {
                Ok(_) => return agreed(hosts),
                Err(error) => last = Some(error),
            }
        }
        std::thread::sleep(POLL);
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("the newcomer is not there")))
}

fn agreed(hosts: &Hosts) -> anyhow::Result<()> {
    let began = clock::now();
    while clock::now().since(began) < VOTES_WITHIN {
        if hosts.peers_agree() {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    bail!("the peers do not agree on a leader")
}

fn until_it_votes(hosts: &Hosts, host: &str) -> anyhow::Result<bool> {
    let address = address(hosts, host)?;
    let began = clock::now();
    while clock::now().since(began) < VOTES_WITHIN {
        if told(hosts, &address)?.is_some_and(|peer| peer.vote && peer.reachable) {
            return Ok(true);
        }
        std::thread::sleep(POLL);
    }
    Ok(false)
}

/// What the group says of the peer at `address`; none if it has no such member.
fn told(hosts: &Hosts, address: &str) -> anyhow::Result<Option<Told>> {
    let peers: Vec<Told> = hosts.ask("/api/v1/peers")?;
    Ok(peers.into_iter().find(|peer| peer.address == address))
}

fn address(hosts: &Hosts, host: &str) -> anyhow::Result<String> {
    let host = hosts.layout().host(host).context("no such host")?;
    Ok(format!("{}:{PEER_PORT}", host.address))
}
