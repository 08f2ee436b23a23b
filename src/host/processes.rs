//! Which processes work on a data folder, and how they are ended.
//!
//! A process belongs to an instance if its working folder is the data folder; PostgreSQL and all
//! its children stay there. Zombies (state `Z`) are dead whatever `kill(pid, 0)` says. A process
//! number is never trusted by itself: signals go through a pidfd whose process was checked after
//! it was opened. Scanning `/proc` takes a millisecond or two and does not touch the data disk.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::durable;
use super::error::{Error, Result, on};
use crate::clock;

/// How long to leave the kernel to tear processes down before looking again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// A living process of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its command line, which PostgreSQL sets to what the process is doing.
    pub title: String,
}

/// Which processes are meant: captured by path and by inode, so that neither a symbolic link nor a
/// rename of the folder hides a process.
struct Place {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl Place {
    fn of(data: &Path) -> Place {
        Place {
            path: fs::canonicalize(data).unwrap_or_else(|_| data.to_owned()),
            inode: fs::metadata(data).ok().map(|it| (it.dev(), it.ino())),
        }
    }

    fn holds(&self, pid: i32) -> bool {
        let cwd = format!("/proc/{pid}/cwd");
        let Ok(link) = fs::read_link(&cwd) else {
            return false;
        };
        let named = link == self.path || {
            let text = link.to_string_lossy();
            text.strip_suffix(" (deleted)")
                .is_some_and(|it| Path::new(it) == self.path)
        };
        let same = || fs::metadata(&cwd).ok().map(|it| (it.dev(), it.ino()));
        (named || (self.inode.is_some() && same() == self.inode)) && !is_zombie(pid)
    }
}

/// Every living process whose working folder is the data folder, by number. A process of another
/// user is seen only by root. Blocks. Errors: [`Error::File`] if `/proc` cannot be listed.
pub fn of(data: &Path) -> Result<Vec<Process>> {
    let place = Place::of(data);
    let mut found = Vec::new();
    for pid in all()? {
        if place.holds(pid) {
            let title = title_of(pid);
            found.push(Process { pid, title });
        }
    }
    Ok(found)
}

/// Errors with [`Error::Alive`] if any process works in the data folder.
pub fn check_none_alive(data: &Path) -> Result<()> {
    let processes: Vec<i32> = of(data)?.iter().map(|it| it.pid).collect();
    if processes.is_empty() {
        return Ok(());
    }
    Err(Error::Alive {
        folder: data.to_owned(),
        processes,
    })
}

/// The processes whose title contains `word`: `walreceiver`, `startup`, `checkpointer` …
/// Errors: as [`of`].
pub fn titled(data: &Path, word: &str) -> Result<Vec<Process>> {
    let mut found = of(data)?;
    found.retain(|it| it.title.contains(word));
    Ok(found)
}

/// Sends SIGTERM to every wal receiver, also one that is still connecting (the view
/// `pg_stat_wal_receiver` hides it), and returns their numbers. Errors: as [`of`].
pub fn end_wal_receivers(data: &Path) -> Result<Vec<i32>> {
    let found = titled(data, "walreceiver")?;
    let place = Place::of(data);
    Ok(found
        .into_iter()
        .map(|it| it.pid)
        .filter(|&pid| signal_in(&place, pid, Signal::TERM))
        .collect())
}

/// What it took to end an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Killed {
    /// How many processes were sent SIGKILL.
    pub processes: usize,
    /// From the first look to the proof that none is left.
    pub took: Duration,
}

/// Sends SIGKILL to every process of the instance until two looks in a row find none (one look
/// could miss a process that was forked behind it). Blocks.
/// Errors: [`Error::Alive`] if some are left at `deadline`, [`Error::File`].
pub fn kill_all(data: &Path, deadline: Duration) -> Result<Killed> {
    let began = clock::monotonic();
    let place = Place::of(data);
    let mut sent = std::collections::BTreeSet::new();
    let mut empty_looks = 0;
    loop {
        let alive: Vec<i32> = all()?.into_iter().filter(|&pid| place.holds(pid)).collect();
        let took = clock::monotonic().since(began);
        if alive.is_empty() {
            empty_looks += 1;
            if empty_looks == 2 {
                return Ok(Killed {
                    processes: sent.len(),
                    took,
                });
            }
            continue;
        }
        empty_looks = 0;
        if took >= deadline {
            return Err(Error::Alive {
                folder: data.to_owned(),
                processes: alive,
            });
        }
        for pid in alive {
            if signal_in(&place, pid, Signal::KILL) {
                sent.insert(pid);
            }
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// What `postmaster.pid` says, if a living process of this data folder wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postmaster {
    /// The number of the first process of the server.
    pub pid: i32,
    /// Line 8: `starting`, `stopping`, `ready`, or `standby` (accepts read-only sessions).
    /// Empty before the server has written it.
    pub status: String,
}

/// Reads `postmaster.pid`; `None` if there is none, or if its process is dead, a zombie, or another
/// program that was given the same number. Blocks. Errors: [`Error::File`].
pub fn postmaster(data: &Path) -> Result<Option<Postmaster>> {
    let Some(text) = durable::read(&data.join("postmaster.pid"))? else {
        return Ok(None);
    };
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.trim().parse().ok());
    let status = lines.nth(6).unwrap_or("").trim().to_owned();
    let living = pid.filter(|&pid| pid > 0 && Place::of(data).holds(pid));
    Ok(living.map(|pid| Postmaster { pid, status }))
}

/// Removes a `postmaster.pid` that no living process owns; `false` if there was none. PostgreSQL
/// and pg_rewind refuse to work beside one whose number is a zombie's or was reused.
/// Errors: [`Error::Alive`], [`Error::File`].
pub fn remove_stale_lock(data: &Path) -> Result<bool> {
    check_none_alive(data)?;
    durable::remove(&data.join("postmaster.pid"))
}

/// Sends a signal to a process if it still belongs to this data folder. `false` if it does not.
/// Blocks.
pub fn signal(data: &Path, pid: i32, signal: Signal) -> bool {
    signal_in(&Place::of(data), pid, signal)
}

/// Watches one process and knows at once when it has ended; a zombie has ended.
pub struct Death {
    pidfd: AsyncFd<OwnedFd>,
}

impl Death {
    /// Opens a watch; `None` if no such process works in the data folder. Must be called within a
    /// tokio runtime. Errors: [`Error::File`] if pidfds do not work here (Linux before 5.3).
    pub fn watch(data: &Path, pid: i32) -> Result<Option<Death>> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        let number = Pid::from_raw(pid).filter(|_| pid > 0);
        let Some(number) = number else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(on("watch process", &path)(error.into())),
        };
        if !Place::of(data).holds(pid) {
            return Ok(None);
        }
        #[expect(
            deprecated,
            reason = "unsound only for types whose descriptor changes; an OwnedFd keeps its one, \
                      and the successor is an unsafe function"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)
            .map_err(on("watch process", &path))?;
        Ok(Some(Death { pidfd }))
    }

    /// Waits until the process has ended. Cancel-safe, and may be called again.
    pub async fn wait(&self) -> io::Result<()> {
        self.pidfd
            .readable()
            .await
            .map(|mut guard| guard.retain_ready())
    }
}

/// Opening the pidfd first and checking afterwards means that the signal reaches the process that
/// was checked, or none.
fn signal_in(place: &Place, pid: i32, signal: Signal) -> bool {
    let Some(number) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return false;
    };
    pidfd_open(number, PidfdFlags::empty())
        .is_ok_and(|pidfd| place.holds(pid) && pidfd_send_signal(&pidfd, signal).is_ok())
}

fn all() -> Result<Vec<i32>> {
    let proc = Path::new("/proc");
    let mut pids: Vec<i32> = fs::read_dir(proc)
        .map_err(on("list", proc))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

fn is_zombie(pid: i32) -> bool {
    // The state follows the name, which is in parentheses and may hold anything.
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        let state = stat
            .rfind(')')
            .and_then(|at| stat[at + 1..].split_whitespace().next());
        matches!(state, Some("Z" | "X") | None)
    })
}

fn title_of(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line).replace('\0', " ");
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn processes_are_found_by_folder_and_zombies_are_dead() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let mut sleeper = Command::new("sleep")
            .arg("60")
            .current_dir(&data)
            .spawn()
            .unwrap();
        assert!(
            titled(&link, "sleep 60")
                .unwrap()
                .iter()
                .any(|it| it.pid == sleeper.id() as i32)
        );
        assert!(matches!(check_none_alive(&data), Err(Error::Alive { .. })));
        // A reused number in postmaster.pid is not our postmaster.
        fs::write(
            data.join("postmaster.pid"),
            format!("{}\n", std::process::id()),
        )
        .unwrap();
        assert_eq!(postmaster(&data).unwrap(), None);
        let killed = kill_all(&data, Duration::from_secs(5)).unwrap();
        assert_eq!(killed.processes, 1);
        // It is a zombie now: nobody has waited for it.
        assert!(of(&data).unwrap().is_empty() && remove_stale_lock(&data).unwrap());
        sleeper.wait().unwrap();
    }
}
