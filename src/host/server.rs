//! Starting the server.
//!
//! The postmaster runs in a session of its own and outlives the agent. It is started directly:
//! `pg_ctl` would poll every 100 ms and take a zombie for a living server. That it may be started
//! at all, and as what, is decided elsewhere; nothing here checks a lease.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use tokio::process::Command;

use super::data_folder;
use super::durable;
use super::error::{Error, Result, on};
use super::processes;
use super::programs::Binaries;

/// Starts the server in `data` and returns the number of its postmaster at once. Its output is
/// appended to `log`. Whether it is ready is seen over SQL or in [`processes::postmaster`]; whether
/// it failed, by a [`Death`](super::Death). A stale lock file is removed first; `is_wanted` is asked after
/// that, as late as can be. Blocks on the disk. Must be called within a tokio runtime, whose process reaps the
/// postmaster as long as it lives.
///
/// Errors: [`Error::Alive`] if processes already work in the folder, [`Error::ForeignOwner`],
/// [`Error::Program`] if it died at once, [`Error::GivenUp`], [`Error::File`].
pub fn start(
    binaries: &Binaries,
    data: &Path,
    log: &Path,
    is_wanted: impl Fn() -> bool,
) -> Result<i32> {
    data_folder::check_owner(data, binaries.account)?;
    processes::remove_stale_lock(data)?;
    let output = durable::append(log).map_err(on("open", log))?;
    let errors = output.try_clone().map_err(on("open", log))?;
    let data = fs::canonicalize(data).map_err(on("find", data))?;
    // The working folder is the data folder from the first instruction on, so that whoever kills
    // the instance in this moment finds the newborn server too.
    let mut command = binaries.clean(Command::new("setsid"));
    command
        .arg(binaries.folder.join("postgres"))
        .arg("-D")
        .arg(&data)
        .current_dir(&data)
        .env_remove("LC_ALL")
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(false);
    if !is_wanted() {
        return Err(Error::GivenUp { folder: data });
    }
    let mut child = command.spawn().map_err(on("start postgres in", &data))?;
    let pid = child.id().map_or(0, |id| id as i32);
    match child.try_wait() {
        Ok(None) => Ok(pid),
        Ok(Some(status)) => Err(Error::Program {
            program: "postgres".to_owned(),
            status: status.to_string(),
            stderr: log_end(log),
        }),
        Err(error) => Err(on("start postgres in", &data)(error)),
    }
}

/// How much of the server's log is read to say why a start failed, in bytes.
const LOG_END: u64 = 2_000;

/// The last lines of the server's log, at most 2000 bytes, to say why a start failed. However long
/// the log is, only these are read. Blocks; empty if unreadable.
pub fn log_end(log: &Path) -> String {
    log_since(log, 0)
}

/// As [`log_end`], but nothing before this length.
pub fn log_since(log: &Path, from: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let Some(mut file) = durable::open(log).ok().flatten() else {
            return Ok(Vec::new());
        };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_END).max(from)))?;
        let mut tail = Vec::new();
        file.take(LOG_END).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().unwrap_or_default();
    String::from_utf8_lossy(&tail).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn the_end_of_a_log_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(log_end(&log), "");
        fs::write(&log, "short\n").unwrap();
        assert_eq!(log_end(&log), "short");
        // A gigabyte without a block: reading it whole would show.
        let file = OpenOptions::new().append(true).open(&log).unwrap();
        file.set_len(1 << 30).unwrap();
        io::Write::write_all(&mut &file, b"\nthe last line\n").unwrap();
        let end = log_end(&log);
        assert_eq!(end.lines().last(), Some("the last line"));
        assert_eq!(end.len(), LOG_END as usize - 1);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&log, &link).unwrap();
        assert_eq!(
            log_end(&link),
            "",
            "whoever runs PostgreSQL may have put it there"
        );
    }
}
