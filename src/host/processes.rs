//! Which processes work on a data folder, and how they are ended.
//!
//! A process belongs to an instance if it works in its [`Place`]. Zombies (state `Z`) are dead whatever
//! `kill(pid, 0)` says. A process number is never trusted by itself: signals go through a pidfd whose
//! process was checked after it was opened. Only "no such process" means that one is gone; any other
//! refusal is an error, because a fence must not promise on a look that failed. Scanning `/proc` takes a
//! millisecond or two and does not touch the data disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::durable;
use super::error::{Error, Result, on};
use super::place::Place;
use super::process_table::{all, parent_of, title_of};
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

/// Every living process whose working folder is the data folder, by number. A process of another
/// user is seen only by root. Blocks. Errors: [`Error::File`] if any process could not be looked at.
pub fn of(data: impl Into<Place>) -> Result<Vec<Process>> {
    let place = data.into();
    let mut found = Vec::new();
    for pid in all()? {
        if place.holds(pid)?
            && let Some(title) = title_of(pid)?
        {
            found.push(Process { pid, title });
        }
    }
    Ok(found)
}

/// Whether this process is alive and works in the data folder. Never touches the data disk.
/// Errors: [`Error::File`] if that cannot be seen.
pub fn is_alive(place: Place, pid: i32) -> Result<bool> {
    place.holds(pid)
}

/// Errors with [`Error::Alive`] if any process works in the data folder; as [`of`] otherwise.
pub fn check_none_alive(data: impl Into<Place>) -> Result<()> {
    let place = data.into();
    let processes: Vec<i32> = of(&place)?.iter().map(|it| it.pid).collect();
    if processes.is_empty() {
        return Ok(());
    }
    Err(Error::Alive {
        folder: place.folder().to_owned(),
        processes,
    })
}

/// Checks that a process of PostgreSQL's user can be seen from here: `child` must be one that is alive.
/// Errors: [`Error::File`], as `hidepid` or a missing capability would cause.
pub fn check_sight(child: i32) -> Result<()> {
    let path = PathBuf::from(format!("/proc/{child}/cwd"));
    fs::read_link(&path).map_err(on("look at process", &path))?;
    if all()?.contains(&child) {
        return Ok(());
    }
    Err(on("list process", &path)(io::ErrorKind::NotFound.into()))
}

/// The processes whose title contains `word`: `walreceiver`, `startup`, `checkpointer` … A process
/// that is just being started has no title yet and is missing.
/// Errors: as [`of`].
pub fn titled(data: impl Into<Place>, word: &str) -> Result<Vec<Process>> {
    let mut found = of(data)?;
    found.retain(|it| it.title.contains(word));
    Ok(found)
}

/// The processes that receive WAL, or may be about to: those titled `walreceiver`, connecting ones included,
/// and children of the postmaster that were just forked and have no title of their own yet. Blocks.
/// Errors: as [`of`].
pub fn receivers(data: impl Into<Place>, postmaster: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for process in of(data)? {
        let is_untitled = !process.title.starts_with("postgres: ");
        if process.title.contains("walreceiver")
            || is_untitled && parent_of(process.pid)? == Some(postmaster)
        {
            found.push(process.pid);
        }
    }
    Ok(found)
}

/// Sends SIGTERM to everybody whom [`receivers`] finds, and returns their numbers. A client that has
/// connected and said nothing yet has no title either, and is disconnected. Errors: as [`of`].
pub fn end_receivers(data: impl Into<Place>, postmaster: i32) -> Result<Vec<i32>> {
    let place = data.into();
    let mut found = receivers(&place, postmaster)?;
    found.retain(|&pid| signal_in(&place, pid, Signal::TERM));
    Ok(found)
}

/// What it took to end an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Killed {
    /// How many processes were sent SIGKILL.
    pub processes: usize,
    /// From the first look to the proof that none is left.
    pub took: Duration,
}

/// Sends SIGKILL to every process of the instance, which those of root are not (see [`Place`]), until two complete looks in a row find none (one
/// look could miss a process that was forked behind it). Whoever is seen is killed although others
/// cannot be looked at, but only complete looks prove that none is left. Blocks.
/// Errors: [`Error::Alive`] if some are left at `deadline`; [`Error::File`] if that cannot be seen.
pub fn kill_all(data: impl Into<Place>, deadline: Duration) -> Result<Killed> {
    let began = clock::monotonic();
    let place = data.into();
    let mut sent = std::collections::BTreeSet::new();
    let mut empty_looks = 0;
    loop {
        let (alive, unseen) = alive(&place);
        let took = clock::monotonic().since(began);
        if alive.is_empty() && unseen.is_none() {
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
        for &pid in &alive {
            if signal_in(&place, pid, Signal::KILL) {
                sent.insert(pid);
            }
        }
        if took >= deadline {
            return Err(unseen.unwrap_or(Error::Alive {
                folder: place.folder().to_owned(),
                processes: alive,
            }));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Everyone who is seen, and why somebody may be missing.
fn alive(place: &Place) -> (Vec<i32>, Option<Error>) {
    let pids = match all() {
        Ok(pids) => pids,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut unseen = None;
    let mut alive = Vec::new();
    for pid in pids {
        match place.holds(pid) {
            Ok(true) => alive.push(pid),
            Ok(false) => {}
            Err(error) => unseen = Some(error),
        }
    }
    (alive, unseen)
}

/// What `postmaster.pid` says, if a living process of this data folder wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postmaster {
    /// The number of the first process of the server.
    pub pid: i32,
    /// Line 4: its TCP port; none before the server has written it.
    pub port: Option<u16>,
    /// Line 5: the folder of its first Unix socket; none if it has none.
    pub socket_folder: Option<PathBuf>,
    /// Line 8: `starting`, `stopping`, `ready`, or `standby` (accepts read-only sessions).
    /// Empty before the server has written it.
    pub status: String,
}

/// Reads `postmaster.pid`; `None` if there is none, or if its process is dead, a zombie, or another
/// program that was given the same number. Blocks. Errors: [`Error::File`].
pub fn postmaster(data: impl Into<Place>) -> Result<Option<Postmaster>> {
    let place = data.into();
    let Some(text) = durable::read(&place.folder().join("postmaster.pid"))? else {
        return Ok(None);
    };
    match in_lock_file(&text) {
        Some(found) if place.holds(found.pid)? => Ok(Some(found)),
        Some(_) | None => Ok(None),
    }
}

/// What the text of a `postmaster.pid` says, whoever wrote it.
pub(crate) fn in_lock_file(text: &str) -> Option<Postmaster> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let line = |number: usize| lines.get(number - 1).copied().unwrap_or_default();
    let pid = line(1).parse().ok().filter(|pid| *pid > 0)?;
    Some(Postmaster {
        pid,
        port: line(4).parse().ok(),
        socket_folder: Some(line(5)).filter(|it| !it.is_empty()).map(PathBuf::from),
        status: line(8).to_owned(),
    })
}

/// Removes a `postmaster.pid` that no living process owns, and the lock of its Unix socket; `false`
/// if there was none. PostgreSQL and pg_rewind refuse to work beside one whose number is a zombie's
/// or was reused, and where nobody reaps orphans at once every killed server leaves such a pair.
/// Errors: [`Error::Alive`], [`Error::File`].
pub fn remove_stale_lock(data: &Path) -> Result<bool> {
    check_none_alive(data)?;
    let path = data.join("postmaster.pid");
    let Some(text) = durable::read(&path)? else {
        return Ok(false);
    };
    // Number, data folder, start time, port, socket folder …; the socket's lock begins likewise.
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    if let [pid, folder, _, port, socket_folder, ..] = lines[..]
        && !socket_folder.is_empty()
        && let Ok(port) = port.parse::<u16>()
    {
        let lock = Path::new(socket_folder).join(format!(".s.PGSQL.{port}.lock"));
        let owner = durable::read(&lock)?.unwrap_or_default();
        if owner.lines().map(str::trim).take(2).eq([pid, folder]) {
            durable::remove(&lock)?;
        }
    }
    durable::remove(&path)
}

/// Sends a signal to a process if it still belongs to this data folder. `false` if it does not.
/// Blocks.
pub fn signal(data: impl Into<Place>, pid: i32, signal: Signal) -> bool {
    signal_in(&data.into(), pid, signal)
}

/// Opening the pidfd first and checking afterwards means that the signal reaches the process that
/// was checked, or none.
fn signal_in(place: &Place, pid: i32, signal: Signal) -> bool {
    let Some(number) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return false;
    };
    pidfd_open(number, PidfdFlags::empty()).is_ok_and(|pidfd| {
        place.holds(pid).unwrap_or(false) && pidfd_send_signal(&pidfd, signal).is_ok()
    })
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
        let pid = sleeper.id() as i32;
        assert!(of(&link).unwrap().iter().any(|it| it.pid == pid));
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

    #[test]
    fn a_child_without_a_title_may_become_a_receiver() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        // A postmaster with a titled and an untitled child, and beside it a receiver that lost it.
        let script = "(exec -a 'postgres: checkpointer' sleep 60) & sleep 60 & wait";
        let run = |script: &str| {
            let mut command = Command::new("bash");
            command.args(["-c", script]).current_dir(&data);
            command.spawn().unwrap()
        };
        let mut postmaster = run(script);
        let mut orphan = run("exec -a 'postgres: pg-b: walreceiver streaming 0/1' sleep 60");
        let pid = postmaster.id() as i32;
        let titles = || -> Vec<String> {
            let mut titles: Vec<_> = of(&data).unwrap().into_iter().map(|it| it.title).collect();
            titles.sort();
            titles
        };
        let began = clock::monotonic();
        while titles().iter().filter(|it| it.ends_with("60")).count() < 3 {
            assert!(clock::monotonic().since(began) < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(2));
        }
        let untitled: Vec<i32> = titled(&data, "sleep 60")
            .unwrap()
            .iter()
            .map(|it| it.pid)
            .collect();
        let mut expected = vec![orphan.id() as i32];
        expected.extend(
            untitled
                .iter()
                .filter(|&&it| parent_of(it).unwrap() == Some(pid)),
        );
        expected.sort_unstable();
        expected.dedup();
        let mut found = receivers(&data, pid).unwrap();
        found.sort_unstable();
        assert_eq!((found.len(), &found), (2, &expected));
        assert_eq!(receivers(&data, i32::MAX).unwrap(), [orphan.id() as i32]);
        kill_all(&data, Duration::from_secs(5)).unwrap();
        postmaster.wait().unwrap();
        orphan.wait().unwrap();
    }

    #[test]
    fn sight_of_a_process_is_checked() {
        check_sight(std::process::id() as i32).unwrap();
        assert!(check_sight(i32::MAX).is_err());
    }

    #[test]
    fn a_deleted_folder_hides_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let place = Place::of(&data);
        let mut sleeper = Command::new("sleep")
            .arg("60")
            .current_dir(&data)
            .spawn()
            .unwrap();
        fs::remove_dir(&data).unwrap();
        let killed = kill_all(&place, Duration::from_secs(5)).unwrap();
        assert_eq!(killed.processes, 1);
        sleeper.wait().unwrap();
    }

    #[test]
    fn a_renamed_folder_hides_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let mut place = Place::of(&data);
        place.pin();
        let mut sleeper = Command::new("sleep")
            .arg("60")
            .current_dir(&data)
            .spawn()
            .unwrap();
        fs::rename(&data, folder.path().join("renamed")).unwrap();
        fs::create_dir(&data).unwrap();
        let killed = kill_all(&place, Duration::from_secs(5)).unwrap();
        assert_eq!(killed.processes, 1);
        sleeper.wait().unwrap();
        // Pinned anew, it is the folder that bears the name.
        place.pin();
        let mut sleeper = Command::new("sleep")
            .arg("60")
            .current_dir(folder.path().join("renamed"))
            .spawn()
            .unwrap();
        assert!(of(&place).unwrap().is_empty());
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
