//! The control group (version 2) that holds every process of a host: it is frozen and killed as one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::clock;

const WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(1);

/// The root of the hierarchy; none if this machine has no version 2.
pub fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

/// One group.
#[derive(Debug, Clone)]
pub struct ControlGroup(PathBuf);

impl ControlGroup {
    /// Makes the group `host` below the group `owner`.
    ///
    /// # Errors
    /// The caller is not root, or there is no version 2 here.
    pub fn create(owner: &str, host: &str) -> anyhow::Result<ControlGroup> {
        let root = root().context("there are no control groups of version 2")?;
        let folder = root.join(owner).join(host);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(ControlGroup(folder))
    }

    /// Where it is; `cgroup.procs` in it takes members.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The ids of all its processes.
    pub fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Stops every process; all have stopped when this returns.
    ///
    /// # Errors
    /// They do not within 10 s.
    pub fn freeze(&self) -> anyhow::Result<()> {
        fs::write(self.0.join("cgroup.freeze"), "1")?;
        self.until("frozen 1")
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// They do not within 10 s.
    pub fn thaw(&self) -> anyhow::Result<()> {
        fs::write(self.0.join("cgroup.freeze"), "0")?;
        self.until("frozen 0")
    }

    /// Kills every process with SIGKILL, frozen ones too; none is left when this returns.
    ///
    /// # Errors
    /// Some are left after 10 s.
    pub fn kill(&self) -> anyhow::Result<()> {
        fs::write(self.0.join("cgroup.kill"), "1")?;
        self.until("populated 0")?;
        fs::write(self.0.join("cgroup.freeze"), "0")?;
        Ok(())
    }

    fn until(&self, event: &str) -> anyhow::Result<()> {
        let began = clock::now();
        loop {
            let events = fs::read_to_string(self.0.join("cgroup.events"))?;
            if events.lines().any(|line| line == event) {
                return Ok(());
            }
            ensure!(
                clock::now().since(began) < WITHIN,
                "{} is not {event} in time",
                self.0.display()
            );
            std::thread::sleep(POLL);
        }
    }
}

/// Kills whatever is in the groups below the group `owner` and removes them all.
///
/// # Errors
/// Some process does not end.
pub fn remove(owner: &str) -> anyhow::Result<()> {
    let Some(folder) = root().map(|root| root.join(owner)) else {
        return Ok(());
    };
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&folder)?.flatten() {
        if entry.path().is_dir() {
            let group = ControlGroup(entry.path());
            group.kill()?;
            remove_folder(group.folder())?;
        }
    }
    Ok(remove_folder(&folder)?)
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
