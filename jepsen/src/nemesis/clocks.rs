//! A wall clock that steps or drifts. The monotonic clocks never do: no kernel lets them jump back.
//!
//! It is libfaketime that lies, to whoever asks the C library. What asks the kernel itself hears the truth.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::hosts::machine::WallClock;

const HOUR: f64 = 3_600.0;
/// A process looks at most a second later.
const SEEN_WITHIN: Duration = Duration::from_millis(1_100);
/// Small steps, because libfaketime counts a rate from the start of each process, so that those of one host
/// would disagree. Together they make a clock that runs half as fast again.
const DRIFT_EVERY: Duration = Duration::from_millis(250);
const DRIFT_STEP: f64 = 0.125;

/// Of one host.
#[derive(Debug)]
pub struct WrongClock {
    host: String,
    wrong: Wrong,
    drifting: Option<Drifting>,
}

#[derive(Debug, Clone, Copy)]
enum Wrong {
    Ahead(f64),
    Drifts,
}

/// A thread that moves the clock until it is told to end, or nobody could tell it any more.
#[derive(Debug)]
struct Drifting {
    end: SyncSender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl WrongClock {
    /// An hour ahead; healing steps it back.
    pub fn ahead(host: String) -> WrongClock {
        WrongClock::of(host, Wrong::Ahead(HOUR))
    }

    /// An hour behind.
    pub fn behind(host: String) -> WrongClock {
        WrongClock::of(host, Wrong::Ahead(-HOUR))
    }

    /// Half as fast again.
    pub fn drifting(host: String) -> WrongClock {
        WrongClock::of(host, Wrong::Drifts)
    }

    fn of(host: String, wrong: Wrong) -> WrongClock {
        WrongClock {
            host,
            wrong,
            drifting: None,
        }
    }
}

impl Drifting {
    fn start(clock: WallClock) -> anyhow::Result<Drifting> {
        let (end, ended) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name("drift".to_owned())
            .spawn(move || {
                let mut ahead = 0.0;
                while ended.recv_timeout(DRIFT_EVERY) == Err(RecvTimeoutError::Timeout) {
                    ahead += DRIFT_STEP;
                    clock.set(ahead)?;
                }
                Ok(())
            })?;
        Ok(Drifting { end, thread })
    }

    fn end(self) -> anyhow::Result<()> {
        drop(self.end);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Injection for WrongClock {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let Some(clock) = hosts.machine(&self.host)?.clock.clone() else {
            let why = "the hosts were brought up without clocks that can be set wrong";
            return Err(Trouble::Impossible(why.to_owned()));
        };
        match self.wrong {
            Wrong::Ahead(ahead) => clock.set(ahead)?,
            Wrong::Drifts => self.drifting = Some(Drifting::start(clock)?),
        }
        std::thread::sleep(SEEN_WITHIN);
        Ok(())
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        if let Some(drifting) = self.drifting.take() {
            drifting.end()?;
        }
        match &hosts.machine(&self.host)?.clock {
            Some(clock) => clock.set(0.0),
            None => Ok(()),
        }
    }
}
