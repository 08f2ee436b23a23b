//! kill -9 of a part of a host, or of all its processes.

use rustix::process::Signal;

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::hosts::process::Part;

/// Of one host.
#[derive(Debug)]
pub struct Kill {
    /// Whose.
    pub host: String,
    /// Which; none for every process.
    pub part: Option<Part>,
}

impl Injection for Kill {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let machine = hosts.machine(&self.host)?;
        match self.part {
            None => Ok(machine.kill()?),
            Some(part) if machine.signal(part, Signal::KILL) == 0 => Err(Trouble::Impossible(
                format!("{} has no live {part:?}", self.host),
            )),
            Some(_) => Ok(()),
        }
    }

    /// PostgreSQL and the leash are the agent's to start.
    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        hosts.machine(&self.host)?.start_if_down()
    }
}
