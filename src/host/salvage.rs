//! What kept WAL holds, as far as `pg_waldump` tells: how many rows of which relation, and which transactions were
//! committed. The rows themselves it does not tell.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::error::{Error, Result, on};
use super::history;
use super::kept_wal::segments_in;
use crate::model::{Lsn, Timeline, WalPosition};

pub(crate) use reading::Reading;

const PROGRAM: &str = "pg_waldump";
/// The most that is kept of what the program complains about.
const WORDS: u64 = 2_000;

/// Rows that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rows {
    /// Inserted.
    pub inserted: u64,
    /// Updated.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
}

impl Rows {
    fn add(&mut self, other: Rows) {
        self.inserted = self.inserted.saturating_add(other.inserted);
        self.updated = self.updated.saturating_add(other.updated);
        self.deleted = self.deleted.saturating_add(other.deleted);
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        let changed = self.updated.saturating_add(self.deleted);
        self.inserted.saturating_add(changed)
    }
}

/// A transaction that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its number.
    pub xid: u32,
    /// Where its commit record begins.
    pub lsn: Lsn,
    /// When, in PostgreSQL's words, UTC.
    pub at: String,
    /// What it wrote into relations that are no catalogs.
    pub rows: u64,
}

/// What the WAL holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Salvaged {
    /// By `tablespace/database/file`; catalogs are together.
    pub committed: BTreeMap<String, Rows>,
    /// Of transactions that were not committed in this WAL.
    pub not_committed: BTreeMap<String, Rows>,
    /// In the order of WAL.
    pub commits: Vec<Commit>,
    /// Why a timeline could not be read to its end, if it says more than that it ends.
    pub complaints: Vec<String>,
}

/// The relation under which all catalogs are counted.
pub const CATALOGS: &str = "catalogs";

/// Finds pg_waldump: in `binaries` if given, else among the programs of this version, else wherever programs are.
/// Errors: [`Error::NoBinaries`].
pub fn find(binaries: Option<&Path>, version: Option<u32>) -> Result<PathBuf> {
    let of_version = version.map(|it| PathBuf::from(format!("/usr/lib/postgresql/{it}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = match binaries {
        Some(folder) => vec![folder.to_owned()],
        None => of_version
            .into_iter()
            .chain(std::env::split_paths(&path))
            .collect(),
    };
    let found = folders
        .iter()
        .map(|it| it.join(PROGRAM))
        .find(|it| it.is_file());
    found.ok_or_else(|| Error::NoBinaries {
        folder: folders.into_iter().next().unwrap_or_default(),
        reason: format!("there is no {PROGRAM}, nor where programs are"),
    })
}

/// Reads the segments in `folder` from this position on, and on every timeline after it. Blocks for as long as that takes.
/// Errors: [`Error::Program`] if nothing could be read, [`Error::File`].
pub fn read(program: &Path, folder: &Path, from: WalPosition) -> Result<Salvaged> {
    let segments = segments_in(folder)?;
    let timelines: BTreeSet<Timeline> = segments.iter().map(|(timeline, _)| *timeline).collect();
    let lineages = history::lineages(folder)?;
    let mut reading = Reading::default();
    let mut has_some = false;
    for timeline in timelines.into_iter().filter(|it| *it >= from.timeline) {
        let forked = lineages
            .get(&timeline)
            .and_then(|it| it.left_at.values().last().copied());
        let start = match forked {
            _ if timeline == from.timeline => from.lsn,
            Some(forked) => forked,
            None => continue,
        };
        let from = WalPosition {
            timeline,
            lsn: start,
        };
        match dump(program, folder, from, &mut reading) {
            Err(Error::Program { stderr, .. }) if has_some => reading.complaints.push(stderr),
            dumped => dumped?,
        }
        has_some = true;
    }
    Ok(reading.result())
}

fn dump(program: &Path, folder: &Path, from: WalPosition, reading: &mut Reading) -> Result<()> {
    let (timeline, start) = (from.timeline.to_string(), from.lsn.to_string());
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(folder)
        .args(["-t", &timeline, "-s", &start]);
    // Times are told in the zone of whoever asks.
    command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(on("run", program))?;
    let output = child.stdout.take().expect("stdout is a pipe");
    let errors = child.stderr.take().expect("stderr is a pipe");
    // Both at once: it waits for room in either pipe.
    let (found, words) = thread::scope(|both| {
        let words = both.spawn(|| complaint(errors));
        let found = reading.all(BufReader::new(output));
        (found, words.join().expect("reading a pipe does not panic"))
    });
    let found = found.map_err(on("read the output of", program))?;
    let words = words.map_err(on("read the errors of", program))?;
    let status = child.wait().map_err(on("wait for", program))?;
    match (status.success(), found) {
        (true, _) => {}
        // That is how it says that the WAL ends.
        (false, 1..) if words.contains("invalid record length") => {}
        (false, 1..) => reading.complaints.push(words),
        (false, 0) => {
            return Err(Error::Program {
                program: PROGRAM.to_owned(),
                status: status.to_string(),
                stderr: words,
            });
        }
    }
    Ok(())
}

/// As much of what it complains about as is kept; the rest is read all the same.
fn complaint(mut errors: impl Read) -> io::Result<String> {
    let mut words = Vec::new();
    errors.by_ref().take(WORDS).read_to_end(&mut words)?;
    io::copy(&mut errors, &mut io::sink())?;
    Ok(String::from_utf8_lossy(&words).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_complains_without_end_is_read_to_its_end() {
        let text = [b"cannot \xff ".as_slice(), &[b'x'; 9_000]].concat();
        let mut rest = &*text;
        let words = complaint(&mut rest).unwrap();
        assert!(words.starts_with("cannot \u{fffd} x") && words.len() < 2_100 && rest.is_empty());
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let refused = find(Some(folder.path()), None).unwrap_err().to_string();
        assert!(
            refused.contains("pg_waldump") && refused.contains("install"),
            "{refused}"
        );
    }
}
