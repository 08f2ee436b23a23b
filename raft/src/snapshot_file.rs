//! The latest snapshot of the state, as a plain file beside the log.
//!
//! The file is one record, so it carries its version and checksum, and the same bytes travel to a peer that needs
//! them. A snapshot that does not check out is refused, never half used.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    durable_file, record,
    types::{LogId, Snapshot, SnapshotMeta, StoredMembership},
    wire::MAX_SNAPSHOT_BYTES,
};

/// Its name in the folder.
pub(crate) const NAME: &str = "snapshot";

/// The state up to one log entry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    /// The last entry whose effects are in the state.
    pub(crate) applied: Option<LogId>,
    /// The last membership at or before that entry.
    pub(crate) membership: StoredMembership,
    /// The state, in its own encoding.
    pub(crate) state: Bytes,
}

impl Image {
    pub(crate) fn encode(&self) -> io::Result<Bytes> {
        let record = record::seal(self).map_err(io::Error::other)?;
        if record.len() > MAX_SNAPSHOT_BYTES {
            let text = format!(
                "snapshot of {} bytes is over the limit of {MAX_SNAPSHOT_BYTES}",
                record.len()
            );
            return Err(io::Error::other(text));
        }
        Ok(record.into())
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        record::unseal(bytes, MAX_SNAPSHOT_BYTES)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        }
    }
}

/// Where the latest snapshot is kept.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    folder: PathBuf,
}

impl SnapshotFile {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Replaces the snapshot; durable on return. Blocks.
    pub(crate) fn save(&self, image: &[u8]) -> io::Result<()> {
        durable_file::replace(&self.folder, NAME, image)
    }

    /// The latest snapshot with its bytes, if there is one. Blocks.
    pub(crate) fn load(&self) -> io::Result<Option<(Image, Bytes)>> {
        let Some(bytes) = durable_file::read(&self.folder, NAME)? else {
            return Ok(None);
        };
        Ok(Some((Image::decode(&bytes)?, bytes.into())))
    }

    /// The latest snapshot as openraft wants it. Blocks.
    pub(crate) fn current(&self) -> io::Result<Option<Snapshot>> {
        let loaded = self.load()?;
        Ok(loaded.map(|(image, bytes)| Snapshot {
            meta: image.meta(),
            snapshot: bytes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_byte_in_a_snapshot_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(folder.path());
        assert!(file.load().unwrap().is_none());
        let image = Image {
            applied: None,
            membership: StoredMembership::default(),
            state: b"state".as_slice().into(),
        };
        file.save(&image.encode().unwrap()).unwrap();
        assert_eq!(file.load().unwrap().unwrap().0.state, b"state".as_slice());

        let mut bytes = std::fs::read(folder.path().join(NAME)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(folder.path().join(NAME), bytes).unwrap();
        let error = file.load().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "record fails its checksum");
    }
}
