//! What happens on a bad day, and is no reason to do anything: every link loses frames, and the processors are taken.

use std::process::{Child, Command, Stdio};

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::net::matrix::{Matrix, Quality};

const NAME: &str = "noise";
const LOST: Quality = Quality {
    cut: false,
    delay_us: 0,
    jitter_us: 0,
    loss_ppm: 200_000,
    duplicate_ppm: 0,
    bandwidth: None,
};
/// As many again as there are processors: every other process gets less than half of one.
const HOGS_PER_CPU: usize = 2;
/// If nobody ends them.
const HOGS_LAST: &str = "2h";

/// A fifth of all frames between any two hosts is lost, and two processes for each processor do nothing but use it.
#[derive(Debug, Default)]
pub struct Noise {
    hogs: Vec<Child>,
}

impl Injection for Noise {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let all = hosts.layout().faulty();
        hosts.lay(NAME, Matrix::default().one_way(&all, &all, LOST))?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..processors * HOGS_PER_CPU {
            // Whoever is killed leaves none behind.
            let mut hog = Command::new("setpriv");
            hog.args(["--pdeathsig", "TERM", "timeout", HOGS_LAST]);
            hog.args(["sh", "-c", "while :; do :; done"]);
            self.hogs.push(hog.stdin(Stdio::null()).spawn()?);
        }
        Ok(())
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        self.end();
        hosts.lift(NAME)
    }
}

impl Noise {
    /// A signal that `timeout` hands on.
    fn end(&mut self) {
        for mut hog in self.hogs.drain(..) {
            let pid = i32::try_from(hog.id()).ok();
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = hog.wait();
        }
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.end();
    }
}
