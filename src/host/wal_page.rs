//! Pages of WAL segment files, each believed only if its header fits its place.
//!
//! Layout and checks are those of PostgreSQL 15's `access/xlog_internal.h` and
//! `XLogReaderValidatePageHeader`. A segment file may be recycled: its bytes are then valid pages
//! of long ago, which only their address gives away.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::durable;
use super::error::{Result, on};
use crate::model::{Lsn, SystemIdentifier, Timeline};

/// `XLOG_BLCKSZ` of every packaged PostgreSQL; checked in each segment's long header.
pub const PAGE: u64 = 8192;
const SHORT_HEADER: usize = 24;
const LONG_HEADER: usize = 40;
/// `XLOG_PAGE_MAGIC` of PostgreSQL 15, 16, 17 and 18.
const MAGICS: [u16; 4] = [0xD110, 0xD113, 0xD116, 0xD118];

const CONTINUES_RECORD: u16 = 0x0001;
const LONG: u16 = 0x0002;
const OVERWRITES_RECORD: u16 = 0x0008;
const KNOWN_FLAGS: u16 = 0x000F;

/// A `pg_wal` folder and what its segments must look like.
#[derive(Debug, Clone)]
pub struct Wal {
    /// The folder.
    pub folder: PathBuf,
    /// Bytes in a segment file (`wal_segment_size`, in the control file).
    pub segment_size: u64,
    /// The history to which every segment must belong.
    pub system: SystemIdentifier,
}

impl Wal {
    /// The number of the segment that holds the byte at `lsn`.
    pub fn segment_of(&self, lsn: Lsn) -> u64 {
        lsn.0 / self.segment_size
    }

    /// The name of a segment file.
    pub fn segment_name(&self, timeline: Timeline, segment: u64) -> String {
        let per_id = 0x1_0000_0000 / self.segment_size;
        let (id, within) = (segment / per_id, segment % per_id);
        format!("{:08X}{id:08X}{within:08X}", timeline.0)
    }
}

/// The part of a page header that a reader of records needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageHeader {
    /// The page begins with the rest of a record.
    pub continues_record: bool,
    /// The record that the page before began was never finished; this page replaces the rest.
    pub overwrites_record: bool,
    /// The timeline under which the page was first written.
    pub timeline: Timeline,
    /// Bytes of the record that are still to come, from this page on.
    pub remaining: u32,
    /// Where the content begins.
    pub length: usize,
}

/// A timeline whose file of a segment may be read, from the given segment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Branch {
    pub timeline: Timeline,
    pub first_segment: u64,
}

/// Reads pages one at a time and keeps the last one and the last file.
pub(crate) struct Pages<'a> {
    wal: &'a Wal,
    file: Option<(Timeline, u64, File)>,
    loaded: Option<(Timeline, u64)>,
    bytes: Box<[u8]>,
}

impl<'a> Pages<'a> {
    pub fn new(wal: &'a Wal) -> Self {
        Pages {
            wal,
            file: None,
            loaded: None,
            bytes: vec![0; PAGE as usize].into(),
        }
    }

    /// The page that starts at `address`, from the first of `branches` that has a file of that
    /// segment. `Err` in the inner result says why the page is not valid WAL.
    pub fn page(
        &mut self,
        branches: &[Branch],
        address: u64,
    ) -> Result<std::result::Result<(PageHeader, &[u8]), String>> {
        let segment = address / self.wal.segment_size;
        for branch in branches {
            if branch.first_segment > segment || !self.open(branch.timeline, segment)? {
                continue;
            }
            if let Err(reason) = self.load(branch.timeline, address)? {
                return Ok(Err(reason));
            }
            return Ok(self
                .check(branch.timeline, address)
                .map(|header| (header, &self.bytes[..])));
        }
        Ok(Err(format!("no segment file for {}", Lsn(address))))
    }

    fn open(&mut self, timeline: Timeline, segment: u64) -> Result<bool> {
        if matches!(&self.file, Some((t, s, _)) if (*t, *s) == (timeline, segment)) {
            return Ok(true);
        }
        let path = self
            .wal
            .folder
            .join(self.wal.segment_name(timeline, segment));
        let Some(file) = durable::open(&path)? else {
            return Ok(false);
        };
        self.file = Some((timeline, segment, file));
        Ok(true)
    }

    fn load(
        &mut self,
        timeline: Timeline,
        address: u64,
    ) -> Result<std::result::Result<(), String>> {
        if self.loaded == Some((timeline, address)) {
            return Ok(Ok(()));
        }
        self.loaded = None;
        let Some((_, segment, file)) = &self.file else {
            return Ok(Err("no segment file is open".to_owned()));
        };
        match file.read_exact_at(&mut self.bytes, address % self.wal.segment_size) {
            Ok(()) => {
                self.loaded = Some((timeline, address));
                Ok(Ok(()))
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Err(format!(
                "the segment file ends before {}",
                Lsn(address)
            ))),
            Err(error) => {
                let name = self.wal.segment_name(timeline, *segment);
                Err(on("read", &self.wal.folder.join(name))(error))
            }
        }
    }

    fn check(&self, timeline: Timeline, address: u64) -> std::result::Result<PageHeader, String> {
        let page = &self.bytes;
        let flags = u16_at(page, 2);
        let long = flags & LONG != 0;
        let header = PageHeader {
            continues_record: flags & CONTINUES_RECORD != 0,
            overwrites_record: flags & OVERWRITES_RECORD != 0,
            timeline: Timeline(u32_at(page, 4)),
            remaining: u32_at(page, 16),
            length: if long { LONG_HEADER } else { SHORT_HEADER },
        };
        let wrong = |what: &str| Err(format!("page {}: {what}", Lsn(address)));
        if !MAGICS.contains(&u16_at(page, 0)) || flags & !KNOWN_FLAGS != 0 {
            return wrong("is no WAL page");
        }
        if u64_at(page, 8) != address {
            return wrong("comes from a recycled segment");
        }
        if header.timeline > timeline {
            return wrong("was written on a later timeline than its file");
        }
        if long != address.is_multiple_of(self.wal.segment_size) {
            return wrong("has the wrong kind of header");
        }
        if long
            && (u64_at(page, 24) != self.wal.system.0
                || u64::from(u32_at(page, 32)) != self.wal.segment_size
                || u64::from(u32_at(page, 36)) != PAGE)
        {
            return wrong("belongs to another database system");
        }
        Ok(header)
    }
}

/// A little-endian number within a page or record.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// A little-endian number within a page or record.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// A little-endian number within a page or record.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_postgres_does() {
        let mut wal = Wal {
            folder: PathBuf::new(),
            segment_size: 16 << 20,
            system: SystemIdentifier(0),
        };
        let name = |wal: &Wal, lsn| wal.segment_name(Timeline(26), wal.segment_of(Lsn(lsn)));
        assert_eq!(name(&wal, 0x2_FFFF_FFFF), "0000001A00000002000000FF");
        wal.segment_size = 1 << 30;
        assert_eq!(name(&wal, 0x2_FFFF_FFFF), "0000001A0000000200000003");
    }
}
