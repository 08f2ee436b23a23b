//! The stored form of a log entry: its record, then four bytes that link it to the entries before it.
//!
//! A checksum tells that an entry is as it was written, not that it is the one that belongs there: sled can bring
//! back an older entry of the same index, which was overwritten, when it skips a damaged part of its file. The link
//! is a checksum over the whole log so far, so every entry vouches for those before it.

use std::io;

use crate::{record, types::Entry, wire::MAX_ENTRY_BYTES};

/// Bytes of a link, behind the record.
const LINK: usize = size_of::<u32>();

/// The link of the last entry of a log; zero if there is none.
pub(crate) type Link = u32;

/// The stored form of `entry`, and its link.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if the entry is over the limit or has no encoded form.
pub(crate) fn store(entry: &Entry, previous: Link) -> io::Result<(Vec<u8>, Link)> {
    let mut bytes = record::seal(entry).map_err(damaged)?;
    if bytes.len() > MAX_ENTRY_BYTES {
        let text = format!("log entry of {} bytes is over the limit", bytes.len());
        return Err(damaged(text));
    }
    let link = record::link(previous, &bytes);
    bytes.extend_from_slice(&link.to_le_bytes());
    Ok((bytes, link))
}

/// Reads the entry that is stored at `index`, with its link. If the link of the entry before it is given, this one
/// must follow it.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it is not the entry that was written there.
pub(crate) fn load(index: u64, bytes: &[u8], previous: Option<Link>) -> io::Result<(Entry, Link)> {
    let (record, link) = bytes
        .split_last_chunk::<LINK>()
        .ok_or_else(|| damaged(format!("log entry {index} is cut short")))?;
    let link = Link::from_le_bytes(*link);
    let entry: Entry = record::unseal(record, MAX_ENTRY_BYTES).map_err(damaged)?;
    let found = entry.log_id.index;
    if found != index {
        return Err(damaged(format!(
            "log entry {found} stands at index {index}"
        )));
    }
    if previous.is_some_and(|previous| record::link(previous, record) != link) {
        return Err(damaged(format!(
            "log entry {index} does not follow the entry before it"
        )));
    }
    Ok((entry, link))
}

pub(crate) fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
