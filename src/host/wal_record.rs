//! One WAL record: found, put together across pages, and believed only if everything about it fits.
//!
//! The checks are those of PostgreSQL 15's `XLogReadRecord`: length, resource manager, the link to
//! the record before, continuation lengths page by page, and a CRC-32C over the data and then the
//! header up to the CRC. Whatever fails one of them is the end of WAL, as it is for recovery.

use super::error::Result;
use super::wal_page::{Branch, PAGE, Pages, u32_at, u64_at};
use crate::model::{Lsn, Timeline};

const HEADER: usize = 24;
const CRC_AT: usize = 20;
/// Records begin at multiples of this (`MAXALIGN`), so that the length, which comes first, lies on one page.
const ALIGNMENT: u64 = 8;
/// `MaxAllocSize`: PostgreSQL takes a longer record for the end of WAL, because it cannot hold it.
const LONGEST: usize = 0x3FFF_FFFF;
/// `xl_info` of a segment switch, a record of the resource manager `XLOG` (0).
const SWITCH: u8 = 0x40;
/// `RM_MAX_BUILTIN_ID` of PostgreSQL 15 to 18, and the first number of extensions.
const LAST_BUILTIN_MANAGER: u8 = 21;
const FIRST_CUSTOM_MANAGER: u8 = 128;

/// Where a record begins and where the one after it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its first byte. Not the place that was asked for if a broken record was overwritten.
    pub start: Lsn,
    /// PostgreSQL's `EndRecPtr`.
    pub end: Lsn,
    /// Where it says that the record before it begins.
    pub link: Lsn,
    /// The timeline in the header of the last page it touches.
    pub page_timeline: Timeline,
}

/// Reads the record at `at`. `previous` is the start of the record before, if known; `oldest_page`
/// the timeline of the last page read, behind which no later page may fall. The inner `Err` says
/// why there is no valid record.
pub(crate) fn read(
    pages: &mut Pages<'_>,
    branches: &[Branch],
    mut at: Lsn,
    previous: Option<Lsn>,
    oldest_page: Timeline,
    segment_size: u64,
) -> Result<std::result::Result<Record, String>> {
    'restart: loop {
        if !at.0.is_multiple_of(ALIGNMENT) {
            return Ok(Err(format!("{at} is not where a record can begin")));
        }
        let mut page_start = at.0 / PAGE * PAGE;
        let (header, page) = match pages.page(branches, page_start)? {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut offset = (at.0 - page_start) as usize;
        if offset == 0 {
            offset = header.length;
        }
        if offset < header.length || (header.continues_record && offset == header.length) {
            return Ok(Err(format!("{at} is not the start of a record")));
        }
        if header.timeline < oldest_page {
            return Ok(Err(format!("{at} is on an older timeline than before")));
        }
        let start = Lsn(page_start + offset as u64);
        let mut page_timeline = header.timeline;
        let total = u32_at(page, offset) as usize;
        if total < HEADER {
            return Ok(Err(format!("no record at {start}")));
        }
        // Headers of pages lie between its parts: at most as many bytes again.
        if total > LONGEST || start.0 > u64::MAX - 2 * total as u64 - segment_size {
            return Ok(Err(format!("the record at {start} is too long")));
        }
        let take = total.min(PAGE as usize - offset);
        if take >= HEADER
            && let Err(reason) = check_header(&page[offset..], start, previous)
        {
            return Ok(Err(reason));
        }
        let mut record = page[offset..offset + take].to_vec();
        let mut end = aligned(start.0 + total as u64);
        while record.len() < total {
            page_start += PAGE;
            let (header, page) = match pages.page(branches, page_start)? {
                Ok(found) => found,
                Err(reason) => return Ok(Err(format!("record {start} is cut off: {reason}"))),
            };
            if header.overwrites_record {
                at = Lsn(page_start);
                continue 'restart;
            }
            let left = total - record.len();
            if !header.continues_record
                || header.remaining as usize != left
                || header.timeline < page_timeline
            {
                return Ok(Err(format!("record {start} is not continued")));
            }
            page_timeline = header.timeline;
            let take = left.min(PAGE as usize - header.length);
            record.extend_from_slice(&page[header.length..header.length + take]);
            end = aligned(page_start + (header.length + take) as u64);
            // A header that spans two pages is checked as soon as it is whole.
            if record.len() >= HEADER
                && let Err(reason) = check_header(&record, start, previous)
            {
                return Ok(Err(reason));
            }
        }
        if crc(&record) != u32_at(&record, CRC_AT) {
            return Ok(Err(format!("the checksum of record {start} does not fit")));
        }
        if record[17] == 0 && record[16] & 0xF0 == SWITCH {
            end = end.next_multiple_of(segment_size);
        }
        return Ok(Ok(Record {
            start,
            end: Lsn(end),
            link: Lsn(u64_at(&record, 8)),
            page_timeline,
        }));
    }
}

fn check_header(
    record: &[u8],
    start: Lsn,
    previous: Option<Lsn>,
) -> std::result::Result<(), String> {
    let manager = record[17];
    if manager > LAST_BUILTIN_MANAGER && manager < FIRST_CUSTOM_MANAGER {
        return Err(format!("record {start} names no resource manager"));
    }
    let link = Lsn(u64_at(record, 8));
    let linked = previous.map_or(link < start, |previous| link == previous);
    if !linked {
        return Err(format!("record {start} follows {link}, not the one before"));
    }
    Ok(())
}

fn crc(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[HEADER..]), &record[..CRC_AT])
}

/// `MAXALIGN`.
fn aligned(at: u64) -> u64 {
    at.next_multiple_of(ALIGNMENT)
}
