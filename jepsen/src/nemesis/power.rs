//! A power cut: the host is silent at once, what it had not synced is gone, and it boots later.

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::net::matrix::{Matrix, Quality};

/// Of one host.
#[derive(Debug)]
pub struct PowerCut {
    /// Which.
    pub host: String,
}

impl PowerCut {
    fn name(&self) -> String {
        format!("no power at {}", self.host)
    }
}

impl Injection for PowerCut {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        // The kernel would say farewell to the connections of processes that it kills.
        let others: Vec<_> = hosts
            .layout()
            .all()
            .iter()
            .map(|it| it.name.clone())
            .collect();
        let own = std::slice::from_ref(&self.host);
        let dark = Matrix::default().both_ways(own, &others, Quality::CUT);
        hosts.lay(&self.name(), dark)?;
        Ok(hosts.machine(&self.host)?.cut_power()?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        let machine = hosts.machine(&self.host)?;
        // If the cut was left half done.
        machine.kill()?;
        machine.disk.restart()?;
        hosts.lift(&self.name())?;
        hosts.machine(&self.host)?.start()
    }
}
