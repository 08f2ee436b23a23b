//! Filling a data folder: initdb, pg_basebackup, pg_rewind.
//!
//! Whatever comes out of here is a standby until somebody decides otherwise: clone and rewind leave
//! `standby.signal` behind before they report success. A folder that is not empty is never
//! initialised, cloned into or wiped. The programs run with real fsync.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control_file::{self, State};
use super::data_folder::{self, Content, beside};
use super::durable;
use super::error::{Error, Result};
use super::processes;
use super::programs::{Binaries, run};
use super::settings;

/// Initialises a new database system: data checksums, UTF-8, `peer` over the Unix socket and
/// `scram-sha-256` over TCP. May be called only under the permit for a new cluster.
/// Errors: [`Error::NotEmpty`], [`Error::Program`], [`Error::Deadline`], [`Error::File`].
pub async fn initdb(
    binaries: &Binaries,
    data: &Path,
    superuser: &str,
    deadline: Duration,
) -> Result<()> {
    check_vacant(data)?;
    let mut command = binaries.command("initdb");
    command.arg("-D").arg(data).args([
        "-U",
        superuser,
        "--data-checksums",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
    ]);
    run(command, deadline, |_| ()).await.map(drop)
}

/// How much a copy has transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Kilobytes so far.
    pub done: u64,
    /// Kilobytes as estimated when it began.
    pub total: u64,
}

/// Whom to copy from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// A libpq connection string without a password.
    pub conninfo: &'a str,
    /// A password file (mode 0600, owned by the user that runs the programs).
    pub passfile: Option<&'a Path>,
}

/// Copies a running server into `target`, which must be absent or empty, with the WAL that the
/// copy needs. `progress` is called about once a second. A copy that fails leaves what it wrote.
/// Errors: [`Error::NotEmpty`], [`Error::Program`], [`Error::Deadline`], [`Error::File`].
pub async fn basebackup(
    binaries: &Binaries,
    source: Source<'_>,
    target: &Path,
    deadline: Duration,
    mut progress: impl FnMut(Progress),
) -> Result<()> {
    check_vacant(target)?;
    let mut command = binaries.command("pg_basebackup");
    command
        .args(["-X", "stream", "-c", "fast", "-w", "-P", "-D"])
        .arg(target)
        .args(["-d", source.conninfo]);
    if let Some(passfile) = source.passfile {
        command.env("PGPASSFILE", passfile);
    }
    run(command, deadline, |line| {
        if let Some(parsed) = parse_progress(line) {
            progress(parsed);
        }
    })
    .await
    .map(drop)
}

/// What a clone did with the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloned {
    /// Where the old data is now, if there was any.
    pub old_data: Option<PathBuf>,
    /// Where the remains of an earlier, unfinished clone are now.
    pub unfinished: Option<PathBuf>,
}

/// Copies beside the old data (`<data>.new`), prepares the copy, renames the old data to
/// `<data>.old-<stamp>` and the copy into its place. Until then the old data is untouched; a crash
/// between the two renames leaves no data folder, and both copies beside it. The server must be
/// stopped. `prepare` writes our settings into the copy before anything can start it;
/// `standby.signal` is already there.
/// Errors: as [`basebackup`], [`Error::Alive`], and those of `prepare`.
pub async fn clone_beside(
    binaries: &Binaries,
    source: Source<'_>,
    data: &Path,
    stamp: &str,
    deadline: Duration,
    progress: impl FnMut(Progress),
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<Cloned> {
    processes::check_none_alive(data)?;
    let fresh = beside(data, ".new");
    let unfinished = match data_folder::inspect(&fresh)? {
        Content::Absent | Content::Empty => None,
        Content::NotEmptyNoCluster | Content::Cluster { .. } => {
            Some(data_folder::rename_aside(&fresh, stamp)?)
        }
    };
    basebackup(binaries, source, &fresh, deadline, progress).await?;
    data_folder::create_standby_signal(&fresh)?;
    prepare(&fresh)?;
    let old_data = match data_folder::inspect(data)? {
        Content::Absent => None,
        Content::Empty | Content::NotEmptyNoCluster | Content::Cluster { .. } => {
            Some(data_folder::rename_aside(data, stamp)?)
        }
    };
    durable::rename(&fresh, data)?;
    Ok(Cloned {
        old_data,
        unfinished,
    })
}

/// Turns the data folder into a copy of the source's history with pg_rewind, and keeps our own
/// `primacy.conf` and `pg_hba.conf` (the program copies the source's). A target that crashed is
/// recovered first. `standby.signal` is written before and after: half-rewound data must never start
/// as a primary. The source needs a checkpoint after its promotion, or pg_rewind believes that
/// nothing has diverged. Recovery and pg_rewind get `deadline` each.
///
/// Returns what pg_rewind said last. If pg_rewind fails, only a clone helps.
/// Errors: [`Error::Alive`], [`Error::Program`], [`Error::Deadline`], [`Error::File`].
pub async fn rewind(
    binaries: &Binaries,
    source: Source<'_>,
    data: &Path,
    deadline: Duration,
) -> Result<String> {
    processes::remove_stale_lock(data)?;
    let settings = settings::read(data)?;
    let hba = durable::read(&data.join("pg_hba.conf"))?;
    let recovered = recover(binaries, data, deadline).await;
    data_folder::create_standby_signal(data)?;
    recovered?;
    let mut command = binaries.command("pg_rewind");
    command
        .arg("--no-ensure-shutdown")
        .arg("--target-pgdata")
        .arg(data)
        .args(["--source-server", source.conninfo]);
    if let Some(passfile) = source.passfile {
        command.env("PGPASSFILE", passfile);
    }
    let mut last = String::new();
    let outcome = run(command, deadline, |line| line.clone_into(&mut last)).await;
    data_folder::create_standby_signal(data)?;
    outcome?;
    settings::write(data, &settings, &["primary_conninfo"])?;
    if let Some(hba) = hba {
        durable::write(&data.join("pg_hba.conf"), hba.as_bytes())?;
    }
    Ok(last)
}

/// Brings a crashed target to a clean shutdown in single-user mode, as pg_rewind would; but single-user
/// recovery refuses to run beside `standby.signal`. The caller puts that back, whatever becomes of
/// this: it is absent only while the data is whole.
async fn recover(binaries: &Binaries, data: &Path, deadline: Duration) -> Result<()> {
    match control_file::read(data)?.state {
        State::ShutDown | State::ShutDownInRecovery => return Ok(()),
        State::StartingUp
        | State::ShuttingDown
        | State::InCrashRecovery
        | State::InArchiveRecovery
        | State::InProduction => (),
    }
    data_folder::remove_standby_signal(data)?;
    let mut command = binaries.command("postgres");
    command.args(["--single", "-D"]).arg(data).arg("template1");
    run(command, deadline, |_| ()).await?;
    processes::remove_stale_lock(data).map(drop)
}

fn check_vacant(folder: &Path) -> Result<()> {
    match data_folder::inspect(folder)? {
        Content::Absent | Content::Empty => Ok(()),
        Content::NotEmptyNoCluster | Content::Cluster { .. } => Err(Error::NotEmpty {
            folder: folder.to_owned(),
        }),
    }
}

/// `  12345/67890 kB (18%), 0/1 tablespace`
fn parse_progress(line: &str) -> Option<Progress> {
    let (numbers, _) = line.split_once(" kB (")?;
    let (done, total) = numbers.trim().split_once('/')?;
    Some(Progress {
        done: done.parse().ok()?,
        total: total.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        let line = " 12345/67890 kB (18%), 0/1 tablespace (/data/base/1        )";
        let expected = Progress {
            done: 12345,
            total: 67890,
        };
        assert_eq!(parse_progress(line), Some(expected));
        assert_eq!(parse_progress("waiting for checkpoint"), None);
    }
}
