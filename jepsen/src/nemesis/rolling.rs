//! Restarts as an upgrade does them: one after the other, each asked politely, the next once the last is back.

use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;

use super::{Injection, Trouble};
use crate::clock;
use crate::hosts::Hosts;
use crate::hosts::layout::Kind;
use crate::hosts::process::Part;

const ENDS_WITHIN: Duration = Duration::from_secs(15);
const BACK_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Of all peers.
#[derive(Debug)]
pub struct Peers;

impl Injection for Peers {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        for peer in hosts.layout().names(Kind::Peer) {
            restart(hosts, &peer, Part::Peer)?;
            let began = clock::now();
            while !hosts.peers_agree() {
                let waited = clock::now().since(began);
                if waited > BACK_WITHIN {
                    return Err(anyhow::anyhow!("{peer} does not come back").into());
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        start_all(hosts, Kind::Peer)
    }
}

/// Of all agents.
#[derive(Debug)]
pub struct Agents;

impl Injection for Agents {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        for node in hosts.layout().names(Kind::Node) {
            restart(hosts, &node, Part::Agent)?;
            hosts.until(BACK_WITHIN, "healed", |view| view.is_healed())?;
        }
        Ok(())
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        start_all(hosts, Kind::Node)
    }
}

fn restart(hosts: &mut Hosts, host: &str, part: Part) -> anyhow::Result<()> {
    let machine = hosts.machine(host)?;
    machine.signal(part, Signal::TERM);
    let began = clock::now();
    while machine.is_running() {
        let waited = clock::now().since(began);
        ensure!(waited < ENDS_WITHIN, "{host} does not end when asked to");
        std::thread::sleep(POLL);
    }
    machine.start()
}

fn start_all(hosts: &mut Hosts, kind: Kind) -> anyhow::Result<()> {
    for host in hosts.layout().names(kind) {
        hosts.machine(&host)?.start_if_down()?;
    }
    Ok(())
}
