//! Cuts the record of a log entry into parts that sled keeps inside its file, and joins them again.
//!
//! sled writes whole leaves of up to 26 values (16, and 10 links not yet folded in), and a leaf over a quarter of a
//! segment (128 KiB) leaves the file for one that is never flushed. Parts of at most 4 KiB keep every leaf below
//! that. A part is `[last u8][bytes]` under the key `[index u64 BE][part u16 BE]`: keys sort as the log does, and an
//! entry whose last part a crash has cut off is told from a whole one.

use std::io;

use crate::wire::MAX_ENTRY_BYTES;

/// Most bytes of a record in one part.
const PART_BYTES: usize = 4 * 1024;
/// Parts of the longest record, its link included.
const MOST_PARTS: usize = (MAX_ENTRY_BYTES + size_of::<u32>()).div_ceil(PART_BYTES);
const MORE: u8 = 0;
const LAST: u8 = 1;

/// The key of one part of one entry.
pub(crate) type Key = [u8; 10];

/// The key at which the entry at `index` begins, and before which all earlier entries end.
pub(crate) fn first_key(index: u64) -> Key {
    key(index, 0)
}

fn key(index: u64, part: u16) -> Key {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The index of the entry that the part under `key` belongs to.
pub(crate) fn index_of(key: &[u8]) -> io::Result<u64> {
    Ok(position_of(key)?.0)
}

fn position_of(key: &[u8]) -> io::Result<(u64, u16)> {
    let key: Key = key
        .try_into()
        .map_err(|_| damaged("log holds a key of an unknown form".to_owned()))?;
    let (index, part) = key.split_first_chunk().expect("ten bytes begin with eight");
    let part: [u8; 2] = part.try_into().expect("ten bytes less eight are two");
    Ok((u64::from_be_bytes(*index), u16::from_be_bytes(part)))
}

/// The parts of the record of the entry at `index`, in the order in which they must be written.
pub(crate) fn cut(index: u64, record: &[u8]) -> impl Iterator<Item = (Key, Vec<u8>)> {
    let count = record.len().div_ceil(PART_BYTES);
    record
        .chunks(PART_BYTES)
        .zip(0u16..)
        .map(move |(bytes, part)| {
            let last = if usize::from(part) + 1 == count {
                LAST
            } else {
                MORE
            };
            let mut value = Vec::with_capacity(1 + bytes.len());
            value.push(last);
            value.extend_from_slice(bytes);
            (key(index, part), value)
        })
}

/// Puts parts, given in the order of their keys, together again.
#[derive(Default)]
pub(crate) struct Joiner {
    /// The entry that is being joined: its index, the number of its next part, its bytes so far.
    open: Option<(u64, u16, Vec<u8>)>,
}

impl Joiner {
    /// Takes the next part; gives the index and the record of an entry that it completes.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if the part does not continue what came before.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<Option<(u64, Vec<u8>)>> {
        let (index, part) = position_of(key)?;
        let (expected_index, expected_part, mut record) =
            self.open.take().unwrap_or((index, 0, Vec::new()));
        if (index, part) != (expected_index, expected_part) {
            return Err(damaged(format!(
                "log entry {expected_index} lacks part {expected_part}"
            )));
        }
        match value.split_first() {
            Some((_, bytes)) if bytes.len() > PART_BYTES || usize::from(part) >= MOST_PARTS => {
                Err(damaged(format!(
                    "log entry {index} is longer than any that is written"
                )))
            }
            Some((&LAST, bytes)) => {
                record.extend_from_slice(bytes);
                Ok(Some((index, record)))
            }
            Some((&MORE, bytes)) => {
                record.extend_from_slice(bytes);
                self.open = Some((index, part + 1, record));
                Ok(None)
            }
            _ => Err(damaged(format!(
                "log entry {index} has a part of an unknown form"
            ))),
        }
    }

    /// The index of the entry whose last part has not come.
    pub(crate) fn unfinished(&self) -> Option<u64> {
        self.open.as_ref().map(|(index, ..)| *index)
    }
}

fn damaged(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole records, and the index of an unfinished one.
    type Joined = (Vec<(u64, Vec<u8>)>, Option<u64>);

    fn joined(parts: &[(Key, Vec<u8>)]) -> io::Result<Joined> {
        let mut joiner = Joiner::default();
        let mut whole = Vec::new();
        for (key, value) in parts {
            whole.extend(joiner.push(key, value)?);
        }
        Ok((whole, joiner.unfinished()))
    }

    #[test]
    fn records_of_any_length_are_joined_as_they_were_cut() {
        for length in [
            1,
            PART_BYTES - 1,
            PART_BYTES,
            PART_BYTES + 1,
            12 * PART_BYTES,
        ] {
            let record: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let parts: Vec<_> = cut(7, &record).chain(cut(8, &record)).collect();
            assert!(parts.is_sorted());
            assert!(parts.iter().all(|(_, value)| value.len() <= PART_BYTES + 1));
            let (whole, unfinished) = joined(&parts).unwrap();
            assert_eq!(whole, [(7, record.clone()), (8, record)], "length {length}");
            assert_eq!(unfinished, None);
        }
    }

    #[test]
    fn an_entry_without_its_last_part_is_unfinished() {
        let mut parts: Vec<_> = cut(7, &[1; 10])
            .chain(cut(8, &[2; 3 * PART_BYTES]))
            .collect();
        parts.pop();
        let (whole, unfinished) = joined(&parts).unwrap();
        assert_eq!((whole.len(), unfinished), (1, Some(8)));
    }

    #[test]
    fn a_missing_part_is_an_error() {
        let mut parts: Vec<_> = cut(7, &[1; 3 * PART_BYTES]).collect();
        parts.remove(1);
        assert_eq!(
            joined(&parts).unwrap_err().to_string(),
            "log entry 7 lacks part 1"
        );
    }
}
