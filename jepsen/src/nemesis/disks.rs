//! Disks that are full, refuse to sync, or stand still.

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::hosts::layout::Kind;

/// No byte is free on the disk of one host.
#[derive(Debug)]
pub struct DiskFull {
    /// Whose.
    pub host: String,
}

impl Injection for DiskFull {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        Ok(hosts.machine(&self.host)?.disk.fill()?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        let machine = hosts.machine(&self.host)?;
        machine.disk.empty()?;
        machine.start_if_down()
    }
}

/// Whoever writes to the disk of one host waits.
#[derive(Debug)]
pub struct DiskStall {
    /// Whose.
    pub host: String,
}

impl Injection for DiskStall {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        Ok(hosts.machine(&self.host)?.disk.freeze()?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        let machine = hosts.machine(&self.host)?;
        machine.disk.thaw()?;
        machine.start_if_down()
    }
}

/// Every sync fails: of PostgreSQL on a node, of Primacy on a peer.
#[derive(Debug)]
pub struct FsyncErrors {
    /// Whose.
    pub host: String,
}

impl FsyncErrors {
    fn program(&self, hosts: &Hosts) -> &'static str {
        match hosts.layout().host(&self.host).map(|host| host.kind) {
            Some(Kind::Peer) => "primacy",
            Some(Kind::Node | Kind::Client | Kind::Watch) | None => "postgres",
        }
    }
}

impl Injection for FsyncErrors {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let program = self.program(hosts);
        Ok(hosts.machine(&self.host)?.fsync.fail(program)?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        let program = self.program(hosts);
        let machine = hosts.machine(&self.host)?;
        machine.fsync.work(program)?;
        machine.start_if_down()
    }
}
