//! Filling a data folder: initdb, pg_basebackup, pg_rewind.
//!
//! Whatever comes out of here is a standby until somebody decides otherwise: clone and rewind leave
//! `standby.signal` behind before they report success. A folder that is not empty is never
//! initialised, cloned into or wiped. The programs run with real fsync. What is done to files around them is not
//! dropped half done, and holds up no other task: it wants a runtime with several threads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::block_in_place;

use super::account::Account;
use super::clone_room;
use super::configuration::Configuration;
use super::control_file::{self, State};
use super::data_folder::{self, Content, beside};
use super::durable;
use super::error::{Error, Result};
use super::processes;
use super::programs::{Binaries, Line, run};

/// What the configuration in a data folder says about a setting, while no server runs there. Takes at most `within`.
/// Errors: [`Error::Program`] if it cannot be read.
pub async fn setting(
    binaries: &Binaries,
    data: &Path,
    name: &str,
    within: Duration,
) -> Result<String> {
    let mut command = binaries.command("postgres");
    command.arg("-D").arg(data).args(["-C", name]);
    let said = run(command, within, |_| Line::Words).await?;
    Ok(said.trim_end().to_owned())
}

/// Initialises a new database system: data checksums, UTF-8, `peer` over the Unix socket and
/// `scram-sha-256` over TCP. `data` must be an empty folder of the user that runs the programs. May be called
/// only under the permit for a new cluster.
/// Errors: [`Error::NotEmpty`], [`Error::Program`], [`Error::Deadline`], [`Error::File`].
pub async fn initdb(
    binaries: &Binaries,
    data: &Path,
    superuser: &str,
    deadline: Duration,
) -> Result<()> {
    block_in_place(|| check_vacant(data))?;
    let mut command = binaries.command("initdb");
    command.current_dir(data).arg("-D").arg(data).args([
        "-U",
        superuser,
        "--data-checksums",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
    ]);
    run(command, deadline, |_| Line::Words).await.map(drop)
}

/// How long a copy may go without progress before it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// While its bytes come.
    pub without_a_byte: Duration,
    /// Before the first byte, while the source writes a checkpoint, and after the last, while everything is
    /// flushed: neither can be measured.
    pub otherwise: Duration,
}

/// Whom to copy from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// A libpq connection string without a password.
    pub conninfo: &'a str,
    /// A password file (mode 0600, owned by the user that runs the programs).
    pub passfile: Option<&'a Path>,
}

/// Copies a running server into `target`, which must be an empty folder, with the WAL that the
/// copy needs. However large it is, it has time for as long as bytes come. A copy that fails leaves what it
/// wrote.
/// Errors: [`Error::NotEmpty`], [`Error::Program`], [`Error::Deadline`], [`Error::Stalled`], [`Error::File`].
async fn basebackup(
    binaries: &Binaries,
    source: Source<'_>,
    target: &Path,
    moved: &[Moved],
    patience: Patience,
) -> Result<()> {
    block_in_place(|| check_vacant(target))?;
    let mut command = binaries.command("pg_basebackup");
    command
        .current_dir(target)
        .args(["-X", "stream", "-c", "fast", "-w", "-P", "-D"])
        .arg(target)
        .args(["-d", source.conninfo])
        .args(moved.iter().map(Moved::argument));
    if let Some(passfile) = source.passfile {
        command.env("PGPASSFILE", passfile);
    }
    let mut copied = None;
    let mut no_room = None;
    let on_line = |line: &str| match parse_progress(line) {
        // With tablespaces it is not told how much of it comes here.
        Some((_, total))
            if copied.is_none()
                && line.contains("/1 tablespace")
                && !clone_room::is_enough(target, total * 1024) =>
        {
            no_room = Some(total * 1024);
            Line::Progress(Duration::ZERO)
        }
        Some((done, total)) if copied < Some(done) => {
            copied = Some(done);
            Line::Progress(match done < total {
                true => patience.without_a_byte,
                false => patience.otherwise,
            })
        }
        Some(_) | None => Line::Words,
    };
    let copied = run(command, patience.otherwise, on_line).await;
    match no_room {
        Some(needed) => Err(clone_room::no_room(target, needed)),
        None => copied.map(drop),
    }
}

/// A tablespace that is copied to another place than it has on the source: there is something already, as the old data of
/// this instance has it, or the source itself on the same host.
struct Moved {
    from: PathBuf,
    to: PathBuf,
}

impl Moved {
    /// The one whose place `refusal` of pg_basebackup says is taken.
    fn of(refusal: &Error, target: &Path, stamp: &str) -> Option<Moved> {
        let Error::Program { stderr, .. } = refusal else {
            return None;
        };
        let taken = |line: &str| {
            let (_, path) = line.split_once("directory \"")?;
            let (path, _) = path.split_once("\" exists but is not empty")?;
            Some(PathBuf::from(path))
        };
        let from = stderr.lines().find_map(taken).filter(|it| it != target)?;
        Some(Moved {
            to: from.join(format!("{}{stamp}", clone_room::TABLESPACE)),
            from,
        })
    }

    fn argument(&self) -> String {
        let escaped = |path: &Path| path.display().to_string().replace('=', "\\=");
        format!(
            "--tablespace-mapping={}={}",
            escaped(&self.from),
            escaped(&self.to)
        )
    }
}

/// Where a clone works.
#[derive(Debug, Clone, Copy)]
pub struct Folders<'a> {
    /// The data folder; the copy is made beside it, as `<data>.new`.
    pub data: &'a Path,
    /// Makes the name of old data unique.
    pub stamp: &'a str,
    /// A file outside of both that says which copy is ours, so that only that one is ever removed.
    pub mark: &'a Path,
}

/// What a clone did with the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloned {
    /// Where the old data is now, if there was any.
    pub old_data: Option<PathBuf>,
    /// Where something else is now that stood where the copy was made.
    pub in_the_way: Option<PathBuf>,
}

/// Copies beside the old data (`<data>.new`), prepares the copy, renames the old data to
/// `<data>.old-<stamp>` and the copy into its place. Until then the old data is untouched; a crash
/// between the two renames leaves no data folder, and both copies beside it. What an earlier clone of ours
/// left unfinished is removed first. The server must be stopped. `prepare` writes our settings into the copy
/// before anything can start it; `standby.signal` is already there. A tablespace whose place is taken, as by the old data,
/// is copied into a folder in that place.
/// Errors: those of pg_basebackup, [`Error::NoRoom`], [`Error::Alive`], and those of `prepare`.
pub async fn clone_beside(
    binaries: &Binaries,
    source: Source<'_>,
    folders: Folders<'_>,
    patience: Patience,
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<Cloned> {
    let Folders { data, stamp, mark } = folders;
    block_in_place(|| processes::check_none_alive(data))?;
    let fresh = beside(data, ".new");
    let in_the_way = make_room(&fresh, mark, stamp, binaries.account).await?;
    let mut moved: Vec<Moved> = Vec::new();
    while let Err(refused) = basebackup(binaries, source, &fresh, &moved, patience).await {
        match Moved::of(&refused, &fresh, stamp) {
            Some(one) if moved.iter().all(|it| it.from != one.from) => moved.push(one),
            Some(_) | None => return Err(refused),
        }
    }
    block_in_place(|| {
        data_folder::create_standby_signal(&fresh)?;
        prepare(&fresh)?;
        let old_data = match data_folder::inspect(data)? {
            Content::Absent => None,
            Content::Empty | Content::NotEmptyNoCluster | Content::Cluster { .. } => {
                Some(data_folder::rename_aside(data, stamp)?)
            }
        };
        // First, or after a crash between the two it would name the data.
        durable::remove(mark)?;
        durable::rename(&fresh, data)?;
        Ok(Cloned {
            old_data,
            in_the_way,
        })
    })
}

/// Makes `fresh` an empty folder beside the data, for a copy or for the first data. What an earlier try of ours
/// left there, by `mark`, is removed with whoever still fills it; anything else is renamed aside, and its new path
/// returned. Takes as long as removing a copy does; dropped, it goes on by itself.
/// Errors: [`Error::Alive`], [`Error::File`].
pub async fn make_room(
    fresh: &Path,
    mark: &Path,
    stamp: &str,
    account: Account,
) -> Result<Option<PathBuf>> {
    let (fresh, mark, stamp) = (fresh.to_owned(), mark.to_owned(), stamp.to_owned());
    let make = move || clone_room::make(&fresh, &mark, &stamp, account);
    match tokio::task::spawn_blocking(make).await {
        Ok(made) => made,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

/// Turns the data folder into a copy of the source's history with pg_rewind, and keeps its own
/// configuration (the program copies the source's). A target that crashed is recovered first. `standby.signal` is written before and after: half-rewound data must never start
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
    let own = block_in_place(|| {
        processes::remove_stale_lock(data)?;
        Configuration::read(data)
    })?;
    let recovered = recover(binaries, data, deadline).await;
    block_in_place(|| data_folder::create_standby_signal(data))?;
    recovered?;
    let mut command = binaries.command("pg_rewind");
    command
        .current_dir(data)
        .arg("--no-ensure-shutdown")
        .arg("--target-pgdata")
        .arg(data)
        .args(["--source-server", source.conninfo]);
    if let Some(passfile) = source.passfile {
        command.env("PGPASSFILE", passfile);
    }
    let mut last = String::new();
    let outcome = run(command, deadline, |line| {
        line.clone_into(&mut last);
        Line::Words
    })
    .await;
    block_in_place(|| {
        data_folder::create_standby_signal(data)?;
        let restored = own.write(data);
        outcome?;
        restored?;
        Ok(last)
    })
}

/// Brings a crashed target to a clean shutdown in single-user mode, as pg_rewind would; but single-user
/// recovery refuses to run beside `standby.signal`. The caller puts that back, whatever becomes of
/// this: it is absent only while the data is whole.
async fn recover(binaries: &Binaries, data: &Path, deadline: Duration) -> Result<()> {
    match block_in_place(|| control_file::read(data))?.state {
        State::ShutDown | State::ShutDownInRecovery => return Ok(()),
        State::StartingUp
        | State::ShuttingDown
        | State::InCrashRecovery
        | State::InArchiveRecovery
        | State::InProduction => (),
    }
    block_in_place(|| data_folder::remove_standby_signal(data))?;
    let mut command = binaries.command("postgres");
    command.args(["--single", "-D"]).arg(data).arg("template1");
    run(command, deadline, |_| Line::Words).await?;
    block_in_place(|| processes::remove_stale_lock(data)).map(drop)
}

fn check_vacant(folder: &Path) -> Result<()> {
    match data_folder::inspect(folder)? {
        Content::Absent | Content::Empty => Ok(()),
        Content::NotEmptyNoCluster | Content::Cluster { .. } => Err(Error::NotEmpty {
            folder: folder.to_owned(),
        }),
    }
}

/// `  12345/67890 kB (18%), 0/1 tablespace` → kilobytes copied, and in all as estimated
pub(crate) fn parse_progress(line: &str) -> Option<(u64, u64)> {
    let (numbers, _) = line.split_once(" kB (")?;
    let (done, total) = numbers.trim().split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests;
