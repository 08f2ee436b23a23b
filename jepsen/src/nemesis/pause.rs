//! SIGSTOP of a part of a host: it lives, and does nothing.

use rustix::process::Signal;

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::hosts::process::Part;

/// Of one host.
#[derive(Debug)]
pub struct Pause {
    /// Whose.
    pub host: String,
    /// Which.
    pub part: Part,
}

impl Injection for Pause {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let machine = hosts.machine(&self.host)?;
        let stopped = machine.signal(self.part, Signal::STOP);
        // Twice: a process may be born while its elders are being stopped.
        machine.signal(self.part, Signal::STOP);
        if stopped == 0 {
            let why = format!("{} has no live {:?}", self.host, self.part);
            return Err(Trouble::Impossible(why));
        }
        Ok(())
    }

    /// It may have been killed meanwhile.
    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        let machine = hosts.machine(&self.host)?;
        machine.signal(self.part, Signal::CONT);
        machine.start_if_down()
    }
}
