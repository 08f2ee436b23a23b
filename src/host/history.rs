//! Timeline history files: which branch of the WAL forked off where.
//!
//! A promotion takes the first number after the unbroken run of history files it finds. Raft
//! allocates the numbers, so files without parents are planted for the unused ones below. They must
//! never be read as history, never replace a genuine file, and be gone above the highest genuine one
//! before a standby starts: `recovery_target_timeline = latest` would aim at one and refuse to run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::durable;
use super::error::{Error, Result, on};
use crate::model::{Lineage, Lsn, Timeline};

/// The first line of a planted file, by which it is told from a genuine one.
pub const PLANTED_MARK: &str = "# planted by primacy: this timeline is not used";

/// What one history file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// Genuine: it names the parents of its timeline.
    Genuine(Lineage),
    /// Planted by us.
    Planted,
    /// No parents and not ours; left alone and not believed.
    Foreign,
}

/// The name of a timeline's history file.
pub fn file_name(timeline: Timeline) -> String {
    format!("{:08X}.history", timeline.0)
}

/// Understands the text of a history file. Errors: the reason, as text.
pub fn parse(timeline: Timeline, text: &str) -> std::result::Result<History, String> {
    let mut left_at = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split_whitespace();
        let parent = fields.next().and_then(|field| field.parse().ok());
        let end = fields.next().and_then(|field| field.parse::<Lsn>().ok());
        let (Some(parent), Some(end)) = (parent.map(Timeline), end) else {
            return Err(format!("'{line}' does not name a timeline and an LSN"));
        };
        let in_order = left_at
            .last_key_value()
            .is_none_or(|(&last, &lsn)| parent > last && end >= lsn);
        if !in_order || parent >= timeline {
            return Err(format!("'{line}' is out of order"));
        }
        left_at.insert(parent, end);
    }
    Ok(match (left_at.is_empty(), text.starts_with(PLANTED_MARK)) {
        (false, _) => History::Genuine(Lineage {
            current: timeline,
            left_at,
        }),
        (true, true) => History::Planted,
        (true, false) => History::Foreign,
    })
}

/// Every history file of a `pg_wal` folder. Blocks.
/// Errors: [`Error::File`], [`Error::Malformed`] naming the file.
pub fn read_all(pg_wal: &Path) -> Result<BTreeMap<Timeline, History>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(pg_wal).map_err(on("list", pg_wal))? {
        let entry = entry.map_err(on("list", pg_wal))?;
        let name = entry.file_name();
        let Some(timeline) = name.to_str().and_then(timeline_of) else {
            continue;
        };
        if let Some(text) = durable::read(&entry.path())? {
            let history = parse(timeline, &text).map_err(|reason| Error::Malformed {
                path: entry.path(),
                reason: format!("{reason}; fetch it again from the primary"),
            })?;
            all.insert(timeline, history);
        }
    }
    Ok(all)
}

/// The lineages of the genuine history files. Timeline 1 has no file and no entry.
/// Errors: as [`read_all`].
pub fn lineages(pg_wal: &Path) -> Result<BTreeMap<Timeline, Lineage>> {
    let all = read_all(pg_wal)?;
    let genuine = all
        .into_iter()
        .filter_map(|(timeline, history)| match history {
            History::Genuine(lineage) => Some((timeline, lineage)),
            History::Planted | History::Foreign => None,
        });
    Ok(genuine.collect())
}

/// Plants a file for every number of `unused` that has none and returns the numbers planted.
/// An existing file is never touched. Blocks. Errors: [`Error::File`].
pub fn plant(pg_wal: &Path, unused: Range<Timeline>) -> Result<Vec<Timeline>> {
    let mut planted = Vec::new();
    for timeline in (unused.start.0..unused.end.0).map(Timeline) {
        let path = pg_wal.join(file_name(timeline));
        if !path.exists() && durable::create(&path, format!("{PLANTED_MARK}\n").as_bytes())? {
            planted.push(timeline);
        }
    }
    Ok(planted)
}

/// Removes the planted files above the highest genuine timeline (or above `floor`, if that is
/// higher) and returns their numbers. Needed before a standby starts. Blocks.
/// Errors: [`Error::File`], [`Error::Malformed`].
pub fn remove_planted_above(pg_wal: &Path, floor: Timeline) -> Result<Vec<Timeline>> {
    let all = read_all(pg_wal)?;
    let genuine = |history: &History| matches!(history, History::Genuine(_));
    let highest = all.iter().rfind(|(_, history)| genuine(history));
    let keep = highest.map_or(floor, |(&timeline, _)| timeline.max(floor));
    let mut removed = Vec::new();
    for (timeline, history) in all {
        if timeline > keep && history == History::Planted {
            durable::remove(&pg_wal.join(file_name(timeline)))?;
            removed.push(timeline);
        }
    }
    Ok(removed)
}

fn timeline_of(name: &str) -> Option<Timeline> {
    let digits = name.strip_suffix(".history")?;
    let is_number = digits.len() == 8 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    is_number.then(|| u32::from_str_radix(digits, 16).ok().map(Timeline))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let genuine = "1\t0/3000110\tno recovery target specified\n\n# x\n3\t0/5000000\tbecause\n";
        let Ok(History::Genuine(lineage)) = parse(Timeline(5), genuine) else {
            panic!("not genuine");
        };
        assert_eq!(lineage.left_at[&Timeline(1)], Lsn(0x3000110));
        assert_eq!(lineage.left_at.len(), 2);
        let planted = format!("{PLANTED_MARK}\n");
        assert_eq!(parse(Timeline(2), &planted), Ok(History::Planted));
        assert_eq!(parse(Timeline(2), "# hello\n"), Ok(History::Foreign));
        for bad in ["x\t0/1", "1", "1\tzero", "2\t0/2\n1\t0/3", "7\t0/1"] {
            assert!(parse(Timeline(5), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn planting_never_touches_what_exists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("00000003.history"), "1\t0/3000110\tx\n").unwrap();
        let at = |number| Timeline(number);
        assert_eq!(plant(path, at(2)..at(6)).unwrap(), [at(2), at(4), at(5)]);
        assert_eq!(plant(path, at(2)..at(6)).unwrap(), []);
        assert_eq!(lineages(path).unwrap().len(), 1);
        assert_eq!(remove_planted_above(path, at(1)).unwrap(), [at(4), at(5)]);
        assert!(path.join("00000002.history").exists());
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 2);
    }
}
