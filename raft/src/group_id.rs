//! The name of one Raft group: 16 random bytes, written like a UUID.
//!
//! Every call between peers carries it, and every folder is marked with it, so that peers of two groups on one
//! network can never mix their logs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Identity of a Raft group. Shown and parsed as a UUID (`8-4-4-4-12` hexadecimal digits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId([u8; 16]);

impl GroupId {
    /// The id made of these bytes; draw them at random, once for each group.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of this id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("group id is not a uuid of 32 hexadecimal digits")]
pub struct InvalidGroupId;

impl FromStr for GroupId {
    type Err = InvalidGroupId;

    /// Reads 32 hexadecimal digits; hyphens are ignored.
    fn from_str(text: &str) -> Result<Self, InvalidGroupId> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let mut bytes = [0; 16];
        if digits.len() != 2 * bytes.len() {
            return Err(InvalidGroupId);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn digit(digit: u8) -> Result<u8, InvalidGroupId> {
    let value = char::from(digit).to_digit(16).ok_or(InvalidGroupId)?;
    Ok(u8::try_from(value).expect("a hexadecimal digit is below 16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_id_reads_back_as_it_is_shown() {
        let id = GroupId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233-3435-3637-3839-616263646566");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            "303132333435363738 39616263646566".parse::<GroupId>(),
            Err(InvalidGroupId)
        );
        assert_eq!("30".parse::<GroupId>(), Err(InvalidGroupId));
    }
}
