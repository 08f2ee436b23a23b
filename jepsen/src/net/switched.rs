//! The switch as its owner sees it: a process that is started, told, and ends with its owner.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::matrix::Matrix;
use super::owner::Owner;
use super::plane::Carrier;
use super::{of, switch};
use crate::clock;

const READY_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// A switch that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Switched {
    process: Child,
    socket: PathBuf,
}

impl Switched {
    /// Starts one between the namespaces of `hosts`, which have their interface when this returns. Its socket and
    /// log are in `folder`.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time.
    pub fn start(
        owner: Owner,
        hosts: &[String],
        folder: &Path,
        seed: u64,
    ) -> anyhow::Result<Switched> {
        let socket = folder.join("switch.socket");
        let log = std::fs::File::create(folder.join("switch.log"))?;
        let process = Command::new(std::env::current_exe()?)
            .arg("switch")
            .arg("--socket")
            .arg(&socket)
            .args(["--seed", &seed.to_string()])
            .args(
                hosts
                    .iter()
                    .map(|host| format!("{host}={}", of(owner, host).name())),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start the switch")?;
        let mut switched = Switched { process, socket };
        switched.wait()?;
        Ok(switched)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let began = clock::now();
        while self.set(&Matrix::default()).is_err() {
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "the switch ends at once; see switch.log");
            ensure!(
                clock::now().since(began) < READY_WITHIN,
                "the switch is not ready in time"
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Carrier for Switched {
    fn set(&self, matrix: &Matrix) -> anyhow::Result<()> {
        switch::command(&self.socket, matrix).map(|_| ())
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
