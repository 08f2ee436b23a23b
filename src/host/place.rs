//! Whose working folder makes a process the instance's.
//!
//! PostgreSQL and all its children stay in the data folder. Who works there as root is not of the instance, because
//! PostgreSQL refuses to run as root: a shell of the operator's is neither killed nor in the way, and may be what starts
//! a server behind the agent's back, as may one anywhere else. Anybody else's process is killed, also if it only looks:
//! whose folder it was when the server began is not known for certain. Only the text of `/proc/<pid>/cwd` is compared;
//! the folder behind it is never looked at, because a process of anybody may work on a network disk that
//! has gone away.
//!
//! A folder that is renamed while its server runs takes the server along. So the folder is held open while
//! anything may run in it ([`Place::pin`]): the kernel then names its present path, again without a look at
//! the disk. Not covered: a rename while neither agent nor leash holds it, and a data folder that processes
//! see through another mount than this one.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::error::{Result, on};
use super::process_table::{is_gone, is_of_root, is_zombie};

/// Between the change of its user and the start of its program (`runuser`, `setpriv`, `sudo`) the kernel lets nobody
/// look at a process. That takes some 1 ms; who stays unreadable for longer is not told from an instance's process.
const UNREADABLE_FOR: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Which processes are meant: those whose working folder has one of these paths. Resolve it once and
/// keep it: resolving touches the data disk, comparing never does.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
    /// As it is named, and as it is once symbolic links are resolved.
    paths: [PathBuf; 2],
    owner: Option<u32>,
    /// The folder itself, while it is pinned.
    pin: Option<Arc<OwnedFd>>,
}

impl Place {
    /// The data folder at this path, which need not exist yet. Blocks on the disk.
    pub fn of(data: &Path) -> Place {
        let named = || {
            let parent = fs::canonicalize(data.parent()?).ok()?;
            Some(parent.join(data.file_name()?))
        };
        let named = named().unwrap_or_else(|| data.to_owned());
        Place {
            paths: [
                fs::canonicalize(data).unwrap_or_else(|_| named.clone()),
                named,
            ],
            owner: fs::metadata(data).ok().map(|it| it.uid()),
            folder: data.to_owned(),
            pin: None,
        }
    }

    /// Resolves the folder anew and holds it, so that its processes are found under whatever name it gets.
    /// Its file system cannot be unmounted until [`Place::unpin`]. Blocks on the disk.
    pub fn pin(&mut self) {
        *self = Place::of(&self.folder);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.folder, flags, Mode::empty());
        self.pin = opened.ok().map(Arc::new);
    }

    /// Lets the folder go: nothing runs in it.
    pub fn unpin(&mut self) {
        self.pin = None;
    }

    /// Where the pinned folder is now. Asks the kernel, never the disk.
    fn pinned_at(&self) -> Option<PathBuf> {
        let pin = self.pin.as_ref()?;
        fs::read_link(format!("/proc/self/fd/{}", pin.as_raw_fd())).ok()
    }

    /// The folder as it was given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a living process works here. Only a process that is gone, or one of somebody who does
    /// not run PostgreSQL, may be unreadable; "I could not look" is never "nothing is there".
    pub(super) fn holds(&self, pid: i32) -> Result<bool> {
        let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
        let mut left = UNREADABLE_FOR;
        let link = loop {
            match fs::read_link(&cwd) {
                Ok(link) => break link,
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(on("look at process", &cwd)(error));
                }
                Err(_) if !self.may_own(pid)? => return Ok(false),
                Err(error) if left.is_zero() => return Err(on("look at process", &cwd)(error)),
                Err(_) => {
                    std::thread::sleep(BETWEEN_LOOKS);
                    left = left.saturating_sub(BETWEEN_LOOKS);
                }
            }
        };
        let text = link.to_string_lossy();
        let plain = Path::new(text.strip_suffix(" (deleted)").unwrap_or(&text));
        let named = |path: &PathBuf| link == *path || plain == path;
        let is_here = self.paths.iter().any(named) || self.pinned_at().is_some_and(|at| at == link);
        Ok(is_here && !is_zombie(pid)? && !self.is_operators(pid)?)
    }

    /// Whether a process that works here is root's, and so not PostgreSQL. A folder of root's own holds no PostgreSQL: what
    /// works there is what tests put in its place.
    fn is_operators(&self, pid: i32) -> Result<bool> {
        Ok(self.owner.is_some_and(|owner| owner != 0) && is_of_root(pid)?)
    }

    /// Whether an unreadable process could be PostgreSQL's. Never root's: PostgreSQL refuses that.
    fn may_own(&self, pid: i32) -> Result<bool> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        let own = rustix::process::geteuid().as_raw();
        match fs::metadata(&path) {
            Ok(found) if found.uid() == 0 => Ok(false),
            Ok(found) => Ok(found.uid() == own || Some(found.uid()) == self.owner),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(on("look at process", &path)(error)),
        }
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Place {
        place.clone()
    }
}

impl From<&Path> for Place {
    fn from(data: &Path) -> Place {
        Place::of(data)
    }
}

impl From<&PathBuf> for Place {
    fn from(data: &PathBuf) -> Place {
        Place::of(data)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::super::processes;
    use super::*;

    #[test]
    fn a_process_that_is_gone_works_nowhere() {
        let place = Place::of(Path::new("/nowhere"));
        assert!(!place.holds(i32::MAX).unwrap(), "no such process");
    }

    #[test]
    fn a_shell_of_root_is_left_alone() {
        const NOBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root has both");
        }
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        let sleeper = |uid: u32| {
            let mut command = Command::new("sleep");
            command.arg("60").current_dir(&data).uid(uid).gid(uid);
            command.spawn().unwrap()
        };
        let (mut shell, mut server) = (sleeper(0), sleeper(NOBODY));
        let found: Vec<_> = processes::of(&data)
            .unwrap()
            .into_iter()
            .map(|it| it.pid)
            .collect();
        assert_eq!(found, [server.id() as i32]);
        let killed = processes::kill_all(&data, Duration::from_secs(5)).unwrap();
        assert_eq!(killed.processes, 1);
        server.wait().unwrap();
        assert!(processes::check_none_alive(&data).is_ok() && shell.try_wait().unwrap().is_none());
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
}
