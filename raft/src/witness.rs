//! What the log has acknowledged, noted outside of sled.
//!
//! sled cannot tell damage from a crash. A record that fails its checksum ends the recovery of a segment without a
//! word, as a torn write would, and what stood behind it is zeroed: a flipped bit can take back a vote or the tail of
//! the log. So the latest vote and the last entry that are on the platter are also noted here, before anybody is
//! told of them, and a log that has less than was noted is refused.
//!
//! The price is one small write into the page cache for each flush, not a second flush: the file itself is flushed
//! at once for a vote and before entries are removed, and otherwise within [`LAG`]. So after a crash of the process
//! the witness is exact; after a power cut it may miss the entries of the last [`LAG`], and a bit that flips in just
//! these during the same outage is not told from the power cut.
//!
//! Two slots are written in turn and the next only when the last is on the platter, so a torn write leaves the other.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    durable_file, record,
    types::{LogId, Vote},
};

/// Its name in the folder.
pub(crate) const NAME: &str = "witness";
/// Size of a slot in bytes: a page, so that one slot is never torn with the other.
const SLOT: usize = 4096;
/// Longest time for which the latest note may only be in the page cache: ten flushes a second are not felt, and a
/// disk that loses power and flips a bit within the same tenth of a second has two faults at once.
pub(crate) const LAG: Duration = Duration::from_millis(100);

/// What this peer has said it will not forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Testimony {
    /// The latest vote.
    pub(crate) vote: Option<Vote>,
    /// The last entry of the log, or the last purged one if none is left.
    pub(crate) last: Option<LogId>,
}

/// One slot of the file. Padded with zeros behind its length.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The highest number is the latest.
    pub(crate) number: u64,
    pub(crate) testimony: Testimony,
}

/// The witness of one folder.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    latest: Note,
    /// The slot that is written until it is flushed.
    slot: usize,
    is_synced: bool,
}

impl Witness {
    /// Opens the witness of `folder`; makes one if the folder has never held data. Blocks for a flush or two.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is gone, [`io::ErrorKind::InvalidData`] if no slot can be read; otherwise
    /// what the file system says.
    pub(crate) fn open(folder: &Path, holds_data: bool) -> io::Result<Self> {
        let bytes = match durable_file::read(folder, NAME)? {
            Some(bytes) => bytes,
            None if holds_data => {
                let text = "the file `witness` is gone, so nobody knows what the log must hold";
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
            None => {
                let first = Note {
                    number: 0,
                    testimony: Testimony::default(),
                };
                let bytes = [slot_of(&first)?, slot_of(&first)?].concat();
                durable_file::replace(folder, NAME, &bytes)?;
                bytes
            }
        };
        let notes: Vec<(Note, usize)> = bytes
            .chunks(SLOT)
            .zip(0..2)
            .filter_map(|(slot, number)| Some((note_in(slot)?, number)))
            .collect();
        if notes.len() == 1 {
            tracing::warn!(
                "one note of the witness cannot be read; after a power cut this is normal, else it is damage"
            );
        }
        let Some((latest, slot)) = notes.into_iter().max_by_key(|(note, _)| note.number) else {
            let text = "the file `witness` is damaged: neither of its notes can be read";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        let file = OpenOptions::new().write(true).open(folder.join(NAME))?;
        let mut witness = Self {
            file,
            latest,
            slot,
            is_synced: false,
        };
        witness.sync()?;
        Ok(witness)
    }

    /// The latest note.
    pub(crate) fn testimony(&self) -> Testimony {
        self.latest.testimony
    }

    /// Whether the latest note is on the platter.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Notes what is on the platter now. Outlives a crash of the process on return, a power cut after
    /// [`sync`](Self::sync).
    pub(crate) fn note(&mut self, testimony: Testimony) -> io::Result<()> {
        if testimony == self.latest.testimony {
            return Ok(());
        }
        self.latest = Note {
            number: self.latest.number + 1,
            testimony,
        };
        self.is_synced = false;
        let offset = (self.slot * SLOT) as u64;
        self.file.write_all_at(&slot_of(&self.latest)?, offset)
    }

    /// Puts the latest note on the platter. Blocks for a flush if it is not there.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.is_synced {
            self.file.sync_data()?;
            self.slot = 1 - self.slot;
            self.is_synced = true;
        }
        Ok(())
    }
}

pub(crate) fn note_in(slot: &[u8]) -> Option<Note> {
    let (length, rest) = slot.split_first_chunk()?;
    let length = usize::from(u16::from_le_bytes(*length));
    record::unseal(rest.get(..length)?, SLOT).ok()
}

fn slot_of(note: &Note) -> io::Result<Vec<u8>> {
    let record = record::seal(note).map_err(io::Error::other)?;
    let length = u16::try_from(record.len()).map_err(io::Error::other)?;
    let mut slot = Vec::with_capacity(SLOT);
    slot.extend_from_slice(&length.to_le_bytes());
    slot.extend_from_slice(&record);
    slot.resize(SLOT, 0);
    Ok(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testimony(term: u64) -> Testimony {
        Testimony {
            vote: Some(Vote::new(term, 1)),
            last: None,
        }
    }

    #[test]
    fn the_latest_note_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        for term in 1..6 {
            let mut witness = Witness::open(folder.path(), term > 1).unwrap();
            witness.note(testimony(100 * term)).unwrap();
            witness.note(testimony(100 * term + 1)).unwrap();
            witness.sync().unwrap();
            witness.note(testimony(100 * term + 2)).unwrap();
            let found = Witness::open(folder.path(), true).unwrap().testimony();
            assert_eq!(found, testimony(100 * term + 2));
        }
    }

    #[test]
    fn a_torn_note_leaves_the_one_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = Witness::open(folder.path(), false).unwrap();
        for term in 1..20 {
            witness.note(testimony(term)).unwrap();
            witness.sync().unwrap();
            witness.note(testimony(1000 + term)).unwrap();
            witness.note(testimony(2000 + term)).unwrap();
            let path = folder.path().join(NAME);
            let mut bytes = std::fs::read(&path).unwrap();
            let torn = witness.slot * SLOT;
            bytes[torn..torn + 20].fill(0xff);
            std::fs::write(&path, bytes).unwrap();
            let found = Witness::open(folder.path(), true).unwrap().testimony();
            assert_eq!(found, testimony(term));
            witness = Witness::open(folder.path(), true).unwrap();
        }
    }

    #[test]
    fn a_witness_that_is_gone_or_unreadable_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Witness::open(folder.path(), false).unwrap());
        let path = folder.path().join(NAME);
        for damage in [vec![], vec![0; 2 * SLOT], vec![0xff; 2 * SLOT], vec![7; 10]] {
            std::fs::write(&path, damage).unwrap();
            let error = Witness::open(folder.path(), true).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        std::fs::remove_file(&path).unwrap();
        let error = Witness::open(folder.path(), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
