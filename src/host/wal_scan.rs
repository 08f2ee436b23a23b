//! The end of valid WAL: how far this data folder could be replayed, read from the files alone.
//!
//! This is the position by which candidates are compared, so it must be what recovery would reach,
//! no more and no less: `pg_last_wal_receive_lsn()` is NULL or a segment start after a restart, and
//! the control file lags. The walk starts at a known record boundary and follows the newest genuine
//! history that the segments themselves confirm; a timeline is changed only at the LSN at which
//! the history says it was left. Files are read through the page cache: nothing waits for the disk
//! to flush, and what a receiver wrote but had not flushed counts, too, until a power cut.

use std::collections::BTreeMap;

use super::error::{Error, Result};
use super::wal_page::{Branch, PAGE, Pages, Wal};
use super::wal_record;
use super::{control_file::ControlFile, history};
use crate::model::{Lineage, Lsn, Timeline, WalPosition};

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The end of the last valid record, in PostgreSQL's convention `EndRecPtr`: aligned to 8
    /// bytes, where the next record would begin, before a page header if that is on a new page,
    /// and the start of the next segment after a segment switch. On a stopped or fenced instance
    /// that has replayed everything it equals `pg_last_wal_replay_lsn()`.
    pub end: WalPosition,
    /// Where the last valid record begins; `None` if there was none after the start.
    pub last_record: Option<Lsn>,
}

/// Walks from `start` to the end of valid WAL. Blocks: about 2 ms per 16 MB in the page cache.
///
/// `start` must be a record boundary on exactly that timeline, such as [`start_from`] the control file; the first
/// record there is believed whatever it says that it follows, as recovery does. The instance must be fenced or stopped, or the
/// answer is old before it is given. Planted and foreign history files are ignored.
///
/// Errors: [`Error::Unscannable`] if the WAL at `start` is not there or not valid,
/// [`Error::File`], [`Error::Malformed`].
pub fn scan(wal: &Wal, start: WalPosition) -> Result<Scan> {
    scan_with(wal, start, First::Believed)
}

/// [`scan`] from what was replayed last. What a receiver left of an older use of the file may stand right behind it: a
/// whole record with a checksum that fits. So the first record must follow one that ends at `start`, as recovery,
/// which has just read that one, demands.
///
/// Errors: also [`Error::Unscannable`] if the record before `start` is not there to be compared.
pub fn scan_replayed(wal: &Wal, start: WalPosition) -> Result<Scan> {
    scan_with(wal, start, First::Linked)
}

/// What is asked of the first record, whose predecessor the walk has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Believed,
    Linked,
}

fn scan_with(wal: &Wal, start: WalPosition, first: First) -> Result<Scan> {
    let lineages = history::lineages(&wal.folder)?;
    let mut best: Option<Scan> = None;
    for path in paths(wal, &lineages, start) {
        if let Some(found) = walk(wal, &path, start, first)?
            && best.as_ref().is_none_or(|best| found.end > best.end)
        {
            best = Some(found);
        }
    }
    best.ok_or_else(|| Error::Unscannable {
        folder: wal.folder.clone(),
        reason: format!("no valid WAL leads up to {start}"),
    })
}

/// Where a scan may start if nothing newer is known: the redo position of the latest checkpoint.
pub fn start_from(control: &ControlFile) -> WalPosition {
    WalPosition {
        timeline: control.timeline,
        lsn: control.redo,
    }
}

/// A part of a path: a timeline, where it begins and where the next one forks off.
#[derive(Debug, Clone, Copy)]
struct Stage {
    branch: Branch,
    left_at: Option<Lsn>,
}

/// Every way that recovery could take from `start`, newest timeline first.
fn paths(wal: &Wal, all: &BTreeMap<Timeline, Lineage>, start: WalPosition) -> Vec<Vec<Stage>> {
    let passes = |lineage: &&Lineage| {
        let left_at = lineage.left_at.get(&start.timeline);
        left_at.is_some_and(|&left_at| start.lsn <= left_at)
    };
    let branch = |timeline, begin| Branch {
        timeline,
        first_segment: wal.segment_of(begin),
    };
    let mut paths: Vec<Vec<Stage>> = Vec::new();
    for lineage in all.values().rev().filter(passes) {
        let mut begin = Lsn(0);
        let mut path = Vec::new();
        for (&timeline, &left_at) in &lineage.left_at {
            path.push(Stage {
                branch: branch(timeline, begin),
                left_at: Some(left_at),
            });
            begin = left_at;
        }
        path.push(Stage {
            branch: branch(lineage.current, begin),
            left_at: None,
        });
        path.retain(|stage| stage.branch.timeline >= start.timeline);
        paths.push(path);
    }
    paths.push(vec![Stage {
        branch: branch(start.timeline, Lsn(0)),
        left_at: None,
    }]);
    paths
}

/// Follows one path; `None` if its WAL does not lead through `start` or not through a fork.
fn walk(
    wal: &Wal,
    path: &[Stage],
    start: WalPosition,
    first_record: First,
) -> Result<Option<Scan>> {
    let mut pages = Pages::new(wal);
    let branches: Vec<Branch> = path.iter().map(|stage| stage.branch).collect();
    // The byte before a boundary at a page start must be there: the boundary itself proves nothing.
    let page = match start.lsn.0 % PAGE {
        0 => start.lsn.0.saturating_sub(PAGE),
        within => start.lsn.0 - within,
    };
    let known = (0..branches.len()).try_fold(false, |known, first| {
        Ok::<_, Error>(known || pages.page(&branches[first..], page)?.is_ok())
    })?;
    if !known {
        return Ok(None);
    }
    let mut scan = Scan {
        end: start,
        last_record: None,
    };
    let mut page_timeline = Timeline(0);
    let mut stage = 0;
    loop {
        let at = scan.end.lsn;
        let at_fork = path[stage].left_at == Some(at);
        let mut found = Err(String::new());
        // Beyond a fork only the newer files count; before it they hold a copy of the older WAL
        // up to the fork, which may be all that is left of it.
        for first in stage + usize::from(at_fork)..path.len() {
            found = wal_record::read(
                &mut pages,
                &branches[first..],
                at,
                scan.last_record,
                page_timeline,
                wal.segment_size,
            )?;
            // The first failure is the one to report: the later files are only a fallback.
            if found.is_ok() || at_fork {
                break;
            }
        }
        let record = match found {
            Ok(record) => record,
            Err(reason) => {
                tracing::debug!(end = %scan.end, reason, "the WAL ends");
                return Ok(Some(scan));
            }
        };
        if scan.last_record.is_none() && first_record == First::Linked {
            let size = wal.segment_size;
            let before =
                wal_record::read(&mut pages, &branches, record.link, None, Timeline(0), size)?;
            match before {
                Ok(before) if before.end == at => {}
                Ok(_) => return Ok(Some(scan)),
                Err(_) => return Ok(None),
            }
        }
        stage += usize::from(at_fork);
        if path[stage]
            .left_at
            .is_some_and(|left_at| record.end > left_at)
        {
            return Ok(None);
        }
        page_timeline = record.page_timeline;
        scan.end = WalPosition {
            timeline: path[stage].branch.timeline,
            lsn: record.end,
        };
        scan.last_record = Some(record.start);
    }
}
