//! A whole host stops at once, as a virtual machine that is paused.

use super::{Injection, Trouble};
use crate::hosts::Hosts;

/// Of one host.
#[derive(Debug)]
pub struct Freeze {
    /// Which.
    pub host: String,
}

impl Injection for Freeze {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        Ok(hosts.machine(&self.host)?.group.freeze()?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        let machine = hosts.machine(&self.host)?;
        machine.group.thaw()?;
        machine.start_if_down()
    }
}
