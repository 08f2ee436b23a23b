//! A wall clock that steps or drifts. The monotonic clocks never do: no kernel lets them jump back.
//!
//! It is libfaketime that lies, to whoever asks the C library. What asks the kernel itself hears the truth.

use std::time::Duration;

use super::{Injection, Trouble};
use crate::hosts::Hosts;

/// A process looks at most a second later.
const SEEN_WITHIN: Duration = Duration::from_millis(1_100);

/// Of one host.
#[derive(Debug)]
pub struct WrongClock {
    host: String,
    /// In the words of libfaketime.
    wrong: &'static str,
}

impl WrongClock {
    /// An hour ahead; healing steps it back.
    pub fn ahead(host: String) -> WrongClock {
        let wrong = "+3600";
        WrongClock { host, wrong }
    }

    /// An hour behind.
    pub fn behind(host: String) -> WrongClock {
        let wrong = "-3600";
        WrongClock { host, wrong }
    }

    /// Half as fast again.
    pub fn drifting(host: String) -> WrongClock {
        let wrong = "+0 x1.5";
        WrongClock { host, wrong }
    }
}

impl Injection for WrongClock {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let machine = hosts.machine(&self.host)?;
        if machine.clock.is_none() {
            let why = "the hosts were brought up without clocks that can be set wrong";
            return Err(Trouble::Impossible(why.to_owned()));
        }
        machine.set_clock(self.wrong)?;
        std::thread::sleep(SEEN_WITHIN);
        Ok(())
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        hosts.machine(&self.host)?.set_clock("+0")
    }
}
