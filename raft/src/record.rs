//! The one envelope of everything that is stored or sent: `[version u8][crc32c u32 LE][bincode body]`.
//!
//! bincode says nothing about itself, so a reader must be told which layout it has in hand, and a flipped bit must
//! be an error instead of another value. A record that does not check out is never guessed at: the caller stops.
//! bincode is named only here.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

/// Layout of the body. Changing the layout of any stored or sent type means a new number here.
const VERSION: u8 = 1;
/// Bytes before the body: the version and the checksum.
const HEAD: usize = 5;

/// Why bytes are not a readable record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the head of a record.
    #[error("record of {bytes} bytes is cut short")]
    Truncated {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// The record was written in a layout this program does not know.
    #[error("record has format version {found}, this program reads version {VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// The body is not what was written.
    #[error("record fails its checksum")]
    Checksum,
    /// The body is longer than the caller accepts.
    #[error("record of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// Length of the record, in bytes.
        bytes: usize,
        /// Most bytes the caller accepts.
        limit: usize,
    },
    /// The checksum is right, yet the body is not a value of the expected type; or the value cannot be encoded.
    #[error("record body does not match its type")]
    Body(#[source] bincode::Error),
}

fn encoding() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding()
}

/// Encodes `value` as one record.
///
/// # Errors
/// [`RecordError::Body`] if the value has no bincode form (a sequence of unknown length, for one).
pub fn seal<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, RecordError> {
    let mut record = vec![0; HEAD];
    encoding()
        .serialize_into(&mut record, value)
        .map_err(RecordError::Body)?;
    let checksum = crc32c::crc32c(&record[HEAD..]);
    record[0] = VERSION;
    record[1..HEAD].copy_from_slice(&checksum.to_le_bytes());
    Ok(record)
}

/// Decodes one record of at most `limit` bytes; all its bytes must be used up.
///
/// # Errors
/// One variant of [`RecordError`] for each way in which the bytes can be wrong.
pub fn unseal<T: DeserializeOwned>(record: &[u8], limit: usize) -> Result<T, RecordError> {
    if record.len() > limit {
        return Err(RecordError::TooLong {
            bytes: record.len(),
            limit,
        });
    }
    let Some((head, body)) = record.split_first_chunk::<HEAD>() else {
        return Err(RecordError::Truncated {
            bytes: record.len(),
        });
    };
    let [version, checksum @ ..] = *head;
    if version != VERSION {
        return Err(RecordError::Version { found: version });
    }
    if crc32c::crc32c(body) != u32::from_le_bytes(checksum) {
        return Err(RecordError::Checksum);
    }
    // The lengths inside the body are only claims: the limit keeps them from asking for more memory than there are bytes.
    encoding()
        .with_limit(limit as u64)
        .deserialize(body)
        .map_err(RecordError::Body)
}

/// The link of a record that follows the one with the link `previous`: a checksum over all records so far, so that
/// none of them can be missing or be another one, even if each checks out by itself.
pub(crate) fn link(previous: u32, record: &[u8]) -> u32 {
    crc32c::crc32c_append(previous, record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;
    type Value = (u32, String);

    fn sealed() -> Vec<u8> {
        seal(&(7u32, "seven".to_owned())).unwrap()
    }

    #[test]
    fn a_record_reads_back() {
        assert_eq!(
            unseal::<Value>(&sealed(), LIMIT).unwrap(),
            (7, "seven".to_owned())
        );
    }

    #[test]
    fn the_bytes_of_a_record_are_fixed() {
        let hex: String = sealed().iter().map(|byte| format!("{byte:02x}")).collect();
        // Version, checksum; then 7 as four bytes, the length 5 as eight, and the letters.
        assert_eq!(hex, "0135c71115070000000500000000000000736576656e");
    }

    #[test]
    fn a_damaged_record_is_refused_by_name() {
        let check = |damage: fn(&mut Vec<u8>), expected: &str| {
            let mut record = sealed();
            damage(&mut record);
            let error = unseal::<Value>(&record, LIMIT).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should say {expected}");
        };
        check(|r| r.clear(), "cut short");
        check(|r| r.truncate(4), "cut short");
        check(|r| r.truncate(20), "checksum");
        check(|r| r[0] = 2, "version 2");
        check(|r| r[2] ^= 1, "checksum");
        check(|r| *r.last_mut().unwrap() ^= 0x80, "checksum");
        check(|r| r.push(0), "checksum");
        check(|r| r.resize(LIMIT + 1, 0), "over the limit");
        check(|r| *r = seal(&1u8).unwrap(), "does not match its type");
        check(
            |r| *r = seal(&(7u32, "seven".to_owned(), 1u8)).unwrap(),
            "does not match its type",
        );
        check(
            |r| *r = seal(&(7u32, u64::MAX)).unwrap(),
            "does not match its type",
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let record = sealed();
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal::<Value>(&flipped, LIMIT).is_err(), "bit {bit}");
        }
    }
}
