//! A zone is gone: dark and without power to compute, until it comes back as it was.

use super::partition::between;
use super::{Injection, Trouble};
use crate::hosts::Hosts;

/// Of the zone of one host.
#[derive(Debug)]
pub struct ZoneLoss {
    /// Whose zone.
    pub host: String,
}

impl ZoneLoss {
    fn name(&self) -> String {
        format!("zone of {}", self.host)
    }
}

impl Injection for ZoneLoss {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let zone = hosts.layout().zone_of(&self.host);
        let matrix = between(&zone, &hosts.layout().faulty());
        hosts.lay(&self.name(), matrix)?;
        for host in hosts.layout().machines_of(&zone) {
            hosts.machine(&host)?.group.freeze()?;
        }
        Ok(())
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        hosts.lift(&self.name())?;
        let zone = hosts.layout().zone_of(&self.host);
        for host in hosts.layout().machines_of(&zone) {
            let machine = hosts.machine(&host)?;
            machine.group.thaw()?;
            machine.start_if_down()?;
        }
        Ok(())
    }
}
