//! The mark on a folder: which peer of which group it belongs to, whether it has ever held data, and what it remembers
//! of the birth of its group.
//!
//! It lies beside the log, in a file of its own, because the log cannot tell its own loss: after a fault of the disk
//! sled opens an empty store without a word, and a peer that forgot its vote may vote twice. The mark is set after
//! the first data is on the platter and before that data is acknowledged, so a crash between the two only leaves a
//! log without its mark, which the next start repairs; an acknowledged vote is never without it.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    GroupId,
    birth::{Birth, Numbers},
    durable_file,
    error::StartError,
    record,
};

/// Its name in the folder.
pub(crate) const NAME: &str = "identity";
const LIMIT: usize = 1024;

/// What a folder says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) group: GroupId,
    /// Which beginning of the group: drawn anew whenever it begins anew from a saved state, 0 before the first time.
    pub(crate) beginning: u64,
    pub(crate) id: u64,
    /// The log of this folder has held a vote or an entry.
    pub(crate) holds_data: bool,
    pub(crate) birth: Birth,
}

/// The identity file of one folder. Of its clones only one may write.
#[derive(Debug, Clone)]
pub(crate) struct IdentityFile {
    folder: PathBuf,
    identity: Identity,
}

impl IdentityFile {
    /// Whether `folder` is marked.
    pub(crate) fn exists(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// What the mark of `folder` says, whoever it belongs to.
    ///
    /// # Errors
    /// [`StartError::Identity`] if the folder is not marked, or the mark cannot be read.
    pub(crate) fn owner(folder: &Path) -> Result<Identity, StartError> {
        let bytes = durable_file::read(folder, NAME).and_then(|bytes| {
            bytes.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is none"))
        });
        let identity = bytes.and_then(|bytes| {
            record::unseal::<Identity>(&bytes, LIMIT)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        identity.map_err(StartError::Identity)
    }

    /// Opens the mark of `folder`, or sets it with `beginning` if the folder has none.
    ///
    /// # Errors
    /// [`StartError::OtherGroup`] or [`StartError::OtherPeer`] if the folder is not ours; [`StartError::Identity`]
    /// if the mark cannot be read or written.
    pub(crate) fn open(
        folder: &Path,
        group: GroupId,
        beginning: u64,
        id: u64,
    ) -> Result<Self, StartError> {
        let found = match durable_file::read(folder, NAME).map_err(StartError::Identity)? {
            Some(bytes) => record::unseal(&bytes, LIMIT).map(Some).map_err(|error| {
                StartError::Identity(io::Error::new(io::ErrorKind::InvalidData, error))
            })?,
            None => None,
        };
        let is_found = found.is_some();
        let identity: Identity = match found {
            Some(identity) => identity,
            None => Identity {
                group,
                beginning,
                id,
                holds_data: false,
                birth: Birth {
                    number: draw().map_err(StartError::Identity)?,
                    first: Numbers::new(),
                },
            },
        };
        if identity.group != group {
            return Err(StartError::OtherGroup {
                found: identity.group,
                expected: group,
            });
        }
        if identity.id != id {
            return Err(StartError::OtherPeer {
                found: identity.id,
                expected: id,
            });
        }
        let file = Self {
            folder: folder.to_owned(),
            identity,
        };
        if !is_found {
            write(folder, &file.identity).map_err(StartError::Identity)?;
        }
        Ok(file)
    }

    /// Which beginning of its group this folder belongs to.
    pub(crate) fn beginning(&self) -> u64 {
        self.identity.beginning
    }

    /// Whether the log of this folder has ever held a vote or an entry.
    pub(crate) fn holds_data(&self) -> bool {
        self.identity.holds_data
    }

    /// Notes for ever that the log holds data. Call it when that data is on the platter, before it is acknowledged.
    pub(crate) fn note_data(&mut self) -> io::Result<()> {
        if self.identity.holds_data {
            return Ok(());
        }
        self.become_durably(Identity {
            holds_data: true,
            ..self.identity.clone()
        })
    }

    /// What this folder remembers of the birth of its group.
    pub(crate) fn birth(&self) -> &Birth {
        &self.identity.birth
    }

    /// Writes the numbers of the first members down, once for ever. Blocks for two flushes.
    pub(crate) fn note_birth(&mut self, first: Numbers) -> io::Result<()> {
        let number = self.identity.birth.number;
        self.become_durably(Identity {
            birth: Birth { number, first },
            ..self.identity.clone()
        })
    }

    /// On disk first: what could not be written is not told either.
    fn become_durably(&mut self, identity: Identity) -> io::Result<()> {
        write(&self.folder, &identity)?;
        self.identity = identity;
        Ok(())
    }
}

fn write(folder: &Path, identity: &Identity) -> io::Result<()> {
    let record = record::seal(identity).map_err(io::Error::other)?;
    durable_file::replace(folder, NAME, &record)
}

/// A number that nobody else draws.
pub(crate) fn draw() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if drawn < bytes.len() {
        return Err(io::Error::other("the system gave too few random bytes"));
    }
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId::from_bytes([1; 16]);

    #[test]
    fn a_folder_keeps_its_owner_and_its_mark() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = IdentityFile::open(folder.path(), GROUP, 0, 1).unwrap();
        assert!(!file.holds_data());
        let number = file.birth().number;
        let first = Numbers::from([(1, number), (2, 7)]);
        file.note_birth(first.clone()).unwrap();
        file.note_data().unwrap();
        let again = IdentityFile::open(folder.path(), GROUP, 0, 1).unwrap();
        assert!(again.holds_data());
        assert_eq!(*again.birth(), Birth { number, first });
        let other_peer = IdentityFile::open(folder.path(), GROUP, 0, 2).unwrap_err();
        assert!(matches!(
            other_peer,
            StartError::OtherPeer {
                found: 1,
                expected: 2
            }
        ));
        let other_group =
            IdentityFile::open(folder.path(), GroupId::from_bytes([2; 16]), 0, 1).unwrap_err();
        assert!(matches!(other_group, StartError::OtherGroup { .. }));
    }

    #[test]
    fn a_damaged_mark_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        IdentityFile::open(folder.path(), GROUP, 0, 1).unwrap();
        let mut bytes = std::fs::read(folder.path().join(NAME)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(folder.path().join(NAME), bytes).unwrap();
        let error = IdentityFile::open(folder.path(), GROUP, 0, 1).unwrap_err();
        assert!(matches!(error, StartError::Identity(_)), "{error}");
    }
}
