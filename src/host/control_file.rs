//! `global/pg_control`: what the data folder says about itself.
//!
//! Read in binary (microseconds, where forking `pg_controldata` takes 10 ms) and believed only if
//! its CRC-32C fits. The layout is `ControlFileData` of PostgreSQL's `catalog/pg_control.h`, version
//! 1300 (PostgreSQL 13 to 17) on a 64-bit little-endian machine. It must never be taken for a WAL
//! position: it lags behind by minutes. A start for [`super::wal_scan`] is all it gives.

use std::io::{ErrorKind, Read};
use std::path::Path;

use super::durable;
use super::error::{Error, Result, on};
use crate::model::{Lsn, SystemIdentifier, Timeline};

/// The only layout that is understood.
const VERSION: u32 = 1300;
const CRC_AT: usize = 288;
/// `PG_CONTROL_FILE_SIZE`: what is read of the file, however long it is.
const LENGTH: u64 = 8192;
/// `IsValidWalSegSize`: the sizes that PostgreSQL takes, powers of two.
const SEGMENT_SIZES: std::ops::RangeInclusive<u32> = 1 << 20..=1 << 30;

/// `DBState`: what the server was doing when it last wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Just initialised.
    StartingUp,
    /// Shut down cleanly as a primary.
    ShutDown,
    /// Shut down cleanly as a standby.
    ShutDownInRecovery,
    /// Was writing its shutdown checkpoint.
    ShuttingDown,
    /// In crash recovery.
    InCrashRecovery,
    /// A standby (or promoted one before its first checkpoint).
    InArchiveRecovery,
    /// A primary at work, or one that crashed.
    InProduction,
}

/// What is used of the control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// The database history to which this data folder belongs.
    pub system: SystemIdentifier,
    /// What the server was doing last.
    pub state: State,
    /// Where the latest checkpoint record begins.
    pub checkpoint: Lsn,
    /// Where recovery from that checkpoint begins to read.
    pub redo: Lsn,
    /// The timeline of that checkpoint; lags behind after a promotion.
    pub timeline: Timeline,
    /// How far a standby must replay to be consistent; `Lsn(0)` on a primary.
    pub min_recovery: Lsn,
    /// The timeline of `min_recovery`; `Timeline(0)` on a primary.
    pub min_recovery_timeline: Timeline,
    /// Bytes in a WAL segment file.
    pub segment_size: u64,
    /// What the primary ran with, by the names of the settings: with less a standby does not start.
    pub least: [(&'static str, u32); 3],
}

/// Reads and checks `global/pg_control` of a data folder. Blocks on one small read.
/// Errors: [`Error::File`], and [`Error::Malformed`] for a bad CRC or another layout.
pub fn read(data: &Path) -> Result<ControlFile> {
    let path = data.join("global/pg_control");
    let mut last = "it is empty";
    let mut bytes = Vec::new();
    // PostgreSQL rewrites the file in place without a lock that we could share: a torn read is
    // possible, and gone on the next try.
    for _ in 0..5 {
        bytes.clear();
        let missing = || on("read", &path)(ErrorKind::NotFound.into());
        let file = durable::open(&path)?.ok_or_else(missing)?;
        let read = file.take(LENGTH).read_to_end(&mut bytes);
        read.map_err(on("read", &path))?;
        match parse(&bytes) {
            Ok(parsed) => return Ok(parsed),
            Err(reason) => last = reason,
        }
    }
    Err(Error::Malformed {
        path,
        reason: format!("{last}; compare with pg_controldata"),
    })
}

fn parse(bytes: &[u8]) -> std::result::Result<ControlFile, &'static str> {
    if bytes.len() < CRC_AT + 4 {
        return Err("it is shorter than a control file");
    }
    let u32_at = |at: usize| {
        let mut number = [0; 4];
        number.copy_from_slice(&bytes[at..at + 4]);
        u32::from_le_bytes(number)
    };
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if u32_at(8) != VERSION {
        return Err("its layout is not that of PostgreSQL 13 to 17 on a little-endian machine");
    }
    if crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(CRC_AT) {
        return Err("its checksum does not fit");
    }
    let state = match u32_at(16) {
        0 => State::StartingUp,
        1 => State::ShutDown,
        2 => State::ShutDownInRecovery,
        3 => State::ShuttingDown,
        4 => State::InCrashRecovery,
        5 => State::InArchiveRecovery,
        6 => State::InProduction,
        _ => return Err("it holds a state that PostgreSQL does not have"),
    };
    let segment_size = u32_at(228);
    if !segment_size.is_power_of_two() || !SEGMENT_SIZES.contains(&segment_size) {
        return Err("it holds a segment size that PostgreSQL does not have");
    }
    Ok(ControlFile {
        system: SystemIdentifier(u64_at(0)),
        state,
        checkpoint: Lsn(u64_at(32)),
        redo: Lsn(u64_at(40)),
        timeline: Timeline(u32_at(48)),
        min_recovery: Lsn(u64_at(136)),
        min_recovery_timeline: Timeline(u32_at(144)),
        segment_size: u64::from(segment_size),
        least: [
            ("max_worker_processes", u32_at(184)),
            ("max_prepared_transactions", u32_at(192)),
            ("max_locks_per_transaction", u32_at(196)),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_check_out_is_refused() {
        let mut bytes = vec![0; 8192];
        assert!(parse(&bytes).is_err());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        assert_eq!(parse(&bytes), Err("its checksum does not fit"));
        let mut with_segments_of = |size: u32| {
            bytes[228..232].copy_from_slice(&size.to_le_bytes());
            let crc = crc32c::crc32c(&bytes[..CRC_AT]).to_le_bytes();
            bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc);
            parse(&bytes)
        };
        for size in [0, 1 << 19, 3 << 20, 1 << 31] {
            let refused = with_segments_of(size).unwrap_err();
            assert!(refused.contains("segment size"), "{size}: {refused}");
        }
        assert_eq!(with_segments_of(1 << 24).unwrap().state, State::StartingUp);
        assert!(parse(&bytes[..100]).is_err());
    }
}
