//! WAL that only this instance has, copied aside before a rewind overwrites it, and found again by `primacy salvage`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::clone_room;
use super::data_folder::{beside, folders_beside};
use super::durable;
use super::error::{Error, Result, on};
use super::wal_page::Wal;
use crate::model::{Timeline, WalPosition};

/// The most bytes of WAL that are kept beside one data folder, old and new together: as much as a primary keeps for a
/// standby that is away (`max_slot_wal_keep_size`), so that a host with room for the one has room for the other.
pub const BUDGET: u64 = 1 << 30;
/// Between the name of a data folder and the stamp.
const SUFFIX: &str = ".wal-";
/// Beside the segments.
const NOTE: &str = "kept.json";

/// What stands beside the kept segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whose WAL it was.
    pub instance: String,
    /// The database system.
    pub system: String,
    /// The major version of PostgreSQL.
    pub version: u32,
    /// The timeline that its history left.
    pub timeline: u32,
    /// Where: what follows is nobody else's.
    pub from: String,
    /// Where its WAL ended, as `timeline:LSN`; none if that could not be told.
    pub to: Option<String>,
    /// Bytes of WAL files beyond that were not kept, because they are more than the budget.
    pub left_out: u64,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where.
    pub folder: PathBuf,
    /// How many bytes of WAL files.
    pub bytes: u64,
    /// How many bytes of them are more than the budget, and are not kept.
    pub left_out: u64,
    /// What was kept before and made way.
    pub removed: Vec<PathBuf>,
}

/// What to keep.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The WAL.
    pub wal: &'a Wal,
    /// The data folder; it is kept beside that.
    pub data: &'a Path,
    /// Whose.
    pub instance: &'a str,
    /// Where the history of the others was left.
    pub from: WalPosition,
    /// Where the WAL ends; none if that is not known.
    pub to: Option<WalPosition>,
    /// The major version of PostgreSQL.
    pub version: u32,
    /// Makes the name unique.
    pub stamp: &'a str,
    /// Who shall own it.
    pub account: Account,
}

/// Copies every segment from the fork on, the oldest first, and the history files. None if there is nothing beyond the
/// fork. Blocks for as long as the copy takes. The instance must be stopped.
/// Errors: [`Error::NoRoom`], [`Error::File`].
pub fn keep(asked: Asked<'_>) -> Result<Option<Kept>> {
    keep_within(asked, BUDGET)
}

fn keep_within(asked: Asked<'_>, budget: u64) -> Result<Option<Kept>> {
    let Asked { wal, data, .. } = asked;
    if asked.to.is_some_and(|to| to <= asked.from) {
        return Ok(None);
    }
    let segments = segments(&asked)?;
    let fits = usize::try_from(budget / wal.segment_size).unwrap_or(usize::MAX);
    let (kept, left_out) = segments.split_at(segments.len().min(fits));
    let bytes = kept.len() as u64 * wal.segment_size;
    let left_out = left_out.len() as u64 * wal.segment_size;
    let note = asked.note(left_out);
    let room = budget.saturating_sub(bytes);
    if let Some(folder) = kept_already(data, &note)? {
        return Ok(Some(Kept {
            removed: make_way(data, &folder, room)?,
            folder,
            bytes,
            left_out,
        }));
    }
    if !clone_room::is_enough(data, bytes) {
        return Err(clone_room::no_room(&beside(data, ".wal"), bytes));
    }
    let folder = beside(data, &format!("{SUFFIX}{}", asked.stamp));
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(on("create folder", &folder))?;
    // Root's own until all is in it: nobody plants a link.
    let (_above, held) = durable::Folder::around(&folder).map_err(on("look at", &folder))?;
    let histories = names(&wal.folder)?;
    let histories = histories.iter().filter(|name| name.ends_with(".history"));
    for name in histories.chain(kept) {
        copy(&wal.folder.join(name), &held.join(name), asked.account)?;
    }
    if rustix::process::geteuid().is_root() {
        let given = durable::give_folder(&folder, asked.account.uid, asked.account.gid);
        given.map_err(on("chown", &folder))?;
    }
    let text = serde_json::to_string(&note).expect("plain fields become JSON");
    durable::write(&folder.join(NOTE), format!("{text}\n").as_bytes())?;
    // Only now, or what was kept before would go for nothing if this came to nothing.
    Ok(Some(Kept {
        removed: make_way(data, &folder, room)?,
        folder,
        bytes,
        left_out,
    }))
}

impl Asked<'_> {
    fn note(&self, left_out: u64) -> Note {
        Note {
            instance: self.instance.to_owned(),
            system: self.wal.system.to_string(),
            version: self.version,
            timeline: self.from.timeline.0,
            from: self.from.lsn.to_string(),
            to: self.to.map(|to| to.to_string()),
            left_out,
        }
    }
}

/// Where the same was kept before: a rewind that is tried again must not push out what is kept of something else.
fn kept_already(data: &Path, wanted: &Note) -> Result<Option<PathBuf>> {
    for folder in folders_beside(data, SUFFIX)? {
        // Another's note that makes no sense is nobody's.
        if note(&folder).is_ok_and(|found| found.as_ref() == Some(wanted)) {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// The note of what is kept in a folder; none if it has none. Errors: [`Error::File`], [`Error::Malformed`].
pub fn note(folder: &Path) -> Result<Option<Note>> {
    let path = folder.join(NOTE);
    let Some(text) = durable::read(&path)? else {
        return Ok(None);
    };
    let note = serde_json::from_str(&text).map_err(|error| Error::Malformed {
        path,
        reason: error.to_string(),
    })?;
    Ok(Some(note))
}

/// The names of segments in a folder, each with its timeline, in the order of WAL. Errors: [`Error::File`].
pub fn segments_in(folder: &Path) -> Result<Vec<(Timeline, String)>> {
    let names = names(folder)?.into_iter();
    let mut found: Vec<_> = names
        .filter_map(|it| Some((timeline_of(&it)?, it)))
        .collect();
    found.sort();
    Ok(found)
}

/// The names of the segments from the fork on. What was made ready for WAL to come is none.
fn segments(asked: &Asked<'_>) -> Result<Vec<String>> {
    let Asked { wal, from, to, .. } = asked;
    let first = wal.segment_name(from.timeline, wal.segment_of(from.lsn));
    let last = to.map(|to| wal.segment_name(to.timeline, wal.segment_of(to.lsn)));
    let is_beyond = |(timeline, name): &(Timeline, String)| {
        let is_last = |to: &WalPosition| to.timeline == *timeline;
        let is_after = to.as_ref().is_some_and(is_last) && Some(name) > last.as_ref();
        *timeline >= from.timeline && *name >= first && !is_after
    };
    let found = segments_in(&wal.folder)?.into_iter();
    Ok(found.filter(is_beyond).map(|(_, name)| name).collect())
}

/// Removes what was kept before, the oldest first, until no more than `room` bytes of it are left beside the `newest`. What
/// never became whole goes before the rest: it has no note, and its WAL was not overwritten.
fn make_way(data: &Path, newest: &Path, room: u64) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in folders_beside(data, SUFFIX)? {
        if folder == newest {
            continue;
        }
        let mut bytes = 0;
        for entry in fs::read_dir(&folder).map_err(on("list", &folder))? {
            let entry = entry.map_err(on("list", &folder))?;
            bytes += entry.metadata().map_or(0, |about| about.len());
        }
        found.push((folder, bytes));
    }
    found.sort_by_key(|(folder, _)| !matches!(note(folder), Ok(None)));
    let mut total: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    let mut removed = Vec::new();
    for (folder, bytes) in found {
        if total <= room {
            break;
        }
        let (_above, held) = durable::Folder::around(&folder).map_err(on("look at", &folder))?;
        fs::remove_dir_all(&held).map_err(on("remove", &folder))?;
        tracing::info!(folder = %folder.display(), bytes, "what was kept before made way");
        total -= bytes;
        removed.push(folder);
    }
    Ok(removed)
}

fn copy(from: &Path, to: &Path, account: Account) -> Result<()> {
    let missing = || on("copy", from)(io::ErrorKind::NotFound.into());
    let mut source = durable::open(from)?.ok_or_else(missing)?;
    let target = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to);
    let mut target = target.map_err(on("create", to))?;
    io::copy(&mut source, &mut target).map_err(on("copy", from))?;
    if rustix::process::geteuid().is_root() {
        fchown(&target, Some(account.uid), Some(account.gid)).map_err(on("chown", to))?;
    }
    target.sync_all().map_err(on("fsync", to))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(on("list", folder))?;
    let name = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.map_err(on("list", folder))?;
        Ok(entry.file_name().into_string().unwrap_or_default())
    };
    entries.map(name).collect()
}

/// `000000020000000000000003` → 2
fn timeline_of(name: &str) -> Option<Timeline> {
    let is_segment = name.len() == 24 && name.bytes().all(|it| it.is_ascii_hexdigit());
    is_segment.then(|| u32::from_str_radix(&name[..8], 16).ok().map(Timeline))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Lsn, SystemIdentifier};

    const SEGMENT: u64 = 1 << 20;
    const STAMPS: [&str; 6] = [
        "20260414T093000000Z",
        "20260414T093000001Z",
        "20260414T093000002Z",
        "20260414T093000003Z",
        "20260414T093000004Z",
        "20260414T093000005Z",
    ];

    fn at(timeline: u32, segment: u64) -> WalPosition {
        WalPosition {
            timeline: Timeline(timeline),
            lsn: Lsn(segment * SEGMENT + 40),
        }
    }

    /// A data folder with segments 1 to 9 of timeline 2.
    fn example() -> (tempfile::TempDir, PathBuf, Wal) {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let wal = Wal {
            folder: data.join("pg_wal"),
            segment_size: SEGMENT,
            system: SystemIdentifier(7),
        };
        fs::create_dir_all(&wal.folder).unwrap();
        for segment in 1..10 {
            let path = wal.folder.join(wal.segment_name(Timeline(2), segment));
            fs::write(path, vec![segment as u8; SEGMENT as usize]).unwrap();
        }
        fs::write(wal.folder.join("00000002.history"), "1\t0/3000110\tx\n").unwrap();
        (root, data, wal)
    }

    fn asked<'a>(
        wal: &'a Wal,
        data: &'a Path,
        stamp: &'a str,
        from: WalPosition,
        to: Option<WalPosition>,
    ) -> Asked<'a> {
        Asked {
            wal,
            data,
            instance: "a",
            from,
            to,
            version: 15,
            stamp,
            account: Account::own(),
        }
    }

    #[test]
    fn what_is_beyond_the_fork_is_kept_within_the_budget_and_the_oldest_makes_way() {
        let (_root, data, wal) = example();
        let ask = |stamp, from, to| asked(&wal, &data, stamp, from, to);
        let nothing = keep(ask(STAMPS[0], at(2, 5), Some(at(2, 5)))).unwrap();
        assert_eq!(nothing, None);
        let first = keep(ask(STAMPS[1], at(2, 5), Some(at(2, 7))))
            .unwrap()
            .unwrap();
        assert_eq!((first.bytes, first.left_out), (3 * SEGMENT, 0));
        let names: Vec<_> = segments_in(&first.folder).unwrap();
        assert_eq!(names.len(), 3);
        assert_eq!(names[0].1, wal.segment_name(Timeline(2), 5));
        assert!(first.folder.join("00000002.history").exists());
        let noted = note(&first.folder).unwrap().unwrap();
        assert_eq!((noted.timeline, &*noted.from), (2, "0/500028"));
        // Tried again, it is not kept again.
        let again = keep(ask(STAMPS[3], at(2, 5), Some(at(2, 7))))
            .unwrap()
            .unwrap();
        assert_eq!(again.folder, first.folder);
        // Two of four fit, and what was kept before makes way.
        let ask = ask(STAMPS[2], at(2, 6), None);
        let second = keep_within(ask, 2 * SEGMENT + 9).unwrap().unwrap();
        assert_eq!((second.bytes, second.left_out), (2 * SEGMENT, 2 * SEGMENT));
        assert_eq!(second.removed, [first.folder]);
        assert_eq!(folders_beside(&data, SUFFIX).unwrap(), [second.folder]);
    }

    #[test]
    fn what_was_kept_before_stays_until_the_new_copy_is_whole() {
        let (_root, data, wal) = example();
        let keep = |stamp, from, to| {
            keep_within(
                asked(&wal, &data, stamp, from, Some(to)),
                3 * SEGMENT + 1_000,
            )
        };
        let first = keep(STAMPS[1], at(2, 2), at(2, 3)).unwrap().unwrap();
        // One of the segments cannot be read.
        let broken = wal.folder.join(wal.segment_name(Timeline(2), 7));
        let bytes = fs::read(&broken).unwrap();
        fs::remove_file(&broken).unwrap();
        fs::create_dir(&broken).unwrap();
        keep(STAMPS[2], at(2, 6), at(2, 7)).unwrap_err();
        assert!(note(&first.folder).unwrap().is_some());
        assert_eq!(segments_in(&first.folder).unwrap().len(), 2);
        let half = beside(&data, &format!("{SUFFIX}{}", STAMPS[2]));
        assert_eq!(note(&half).unwrap(), None);
        fs::remove_dir(&broken).unwrap();
        fs::write(&broken, bytes).unwrap();
        // What never became whole makes way first, although it is younger; then what there is no room for.
        let whole = keep(
            STAMPS[3],
            at(2, 7),
            WalPosition {
                lsn: Lsn(7 * SEGMENT + 50),
                ..at(2, 7)
            },
        );
        let whole = whole.unwrap().unwrap();
        assert_eq!(whole.removed, [half]);
        assert!(first.folder.exists());
        let last = keep(STAMPS[4], at(2, 8), at(2, 9)).unwrap().unwrap();
        assert_eq!(last.removed, [first.folder]);
        // Tried again, it makes way for nothing.
        let again = keep(STAMPS[5], at(2, 8), at(2, 9)).unwrap().unwrap();
        assert_eq!((again.folder, again.removed), (last.folder, vec![]));
        assert!(whole.folder.exists());
    }
}
