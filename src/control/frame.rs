//! One frame: format version, checksum, bincode body. A frame that is not understood ends the session;
//! it is never guessed at.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::FRAME_LIMIT;

const FORMAT: u8 = 1;
const HEADER: usize = 5;

/// Why a frame is not understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is shorter than its header.
    #[error("frame of {0} bytes is too short")]
    Short(usize),
    /// It was written by another version.
    #[error(
        "frame has format {found}, this build speaks {FORMAT}; run the same version on both sides"
    )]
    Format {
        /// What it says.
        found: u8,
    },
    /// Its checksum is wrong.
    #[error("frame is damaged: its checksum does not match")]
    Checksum,
    /// Its body is no message.
    #[error("frame does not hold a message")]
    Body(#[source] bincode::Error),
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(FRAME_LIMIT as u64)
}

/// The frame of a message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = options().serialize(message).map_err(FrameError::Body)?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.push(FORMAT);
    frame.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The message of a frame.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let (header, body) = frame
        .split_at_checked(HEADER)
        .ok_or(FrameError::Short(frame.len()))?;
    if header[0] != FORMAT {
        return Err(FrameError::Format { found: header[0] });
    }
    if header[1..] != crc32c::crc32c(body).to_be_bytes() {
        return Err(FrameError::Checksum);
    }
    options().deserialize(body).map_err(FrameError::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_frame_is_refused() {
        let frame = encode(&("a message", 7u32)).unwrap();
        assert_eq!(
            decode::<(String, u32)>(&frame).unwrap(),
            ("a message".to_owned(), 7)
        );
        for byte in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[byte] ^= 0x40;
            assert!(decode::<(String, u32)>(&damaged).is_err(), "byte {byte}");
        }
        assert!(decode::<(String, u32)>(&frame[..4]).is_err());
    }
}
