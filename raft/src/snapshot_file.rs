//! The latest snapshot of the state, as a plain file beside the log.
//!
//! The file is one record, so it carries its version and checksum, and the same bytes travel to a peer that needs
//! them. A snapshot that does not check out is refused, never half used.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
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

/// Where the latest snapshot is kept. Clones mean the same file.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    folder: PathBuf,
    /// The last entry in the newest snapshot that was read or written. Locked while one is written: one that is built
    /// and one that is installed at the same time would go beside the old one under the same name.
    newest: Arc<Mutex<Option<u64>>>,
}

impl SnapshotFile {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            newest: Arc::default(),
        }
    }

    /// Replaces the snapshot by `image`, which ends at `applied`, unless a newer one has been read or written: a
    /// snapshot may be built for so long that the leader sends one of later entries, and drops what is before them
    /// from the log. On return a snapshot of at least `applied` is durable. Blocks.
    pub(crate) fn save(&self, applied: Option<LogId>, image: &[u8]) -> io::Result<()> {
        let applied = applied.map(|applied| applied.index);
        let mut newest = self.newest();
        // Snapshots are of committed entries, so the higher index has all of the lower one.
        if applied < *newest {
            return Ok(());
        }
        durable_file::replace(&self.folder, NAME, image)?;
        *newest = applied;
        Ok(())
    }

    /// The latest snapshot with its bytes, if there is one. Blocks.
    pub(crate) fn load(&self) -> io::Result<Option<(Image, Bytes)>> {
        let Some(bytes) = durable_file::read(&self.folder, NAME)? else {
            return Ok(None);
        };
        let image = Image::decode(&bytes)?;
        // It may have been replaced since it was read.
        let mut newest = self.newest();
        *newest = (*newest).max(image.applied.map(|applied| applied.index));
        Ok(Some((image, bytes.into())))
    }

    /// The latest snapshot as openraft wants it. Blocks.
    pub(crate) fn current(&self) -> io::Result<Option<Snapshot>> {
        let loaded = self.load()?;
        Ok(loaded.map(|(image, bytes)| Snapshot {
            meta: image.meta(),
            snapshot: bytes,
        }))
    }

    fn newest(&self) -> MutexGuard<'_, Option<u64>> {
        let newest = self.newest.lock();
        newest.expect("nothing that holds it panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_snapshots_that_are_saved_at_once_the_newest_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(folder.path());
        let save = |index: u64| {
            let leader = openraft::vote::leader_id_adv::LeaderId {
                term: 1,
                node_id: 1,
            };
            let image = Image {
                applied: Some(LogId::new(leader, index)),
                membership: StoredMembership::default(),
                // Each of another length, so that a mixture of two is none.
                state: vec![7u8; 1000 * (index as usize % 5 + 1)].into(),
            };
            file.save(image.applied, &image.encode().unwrap()).unwrap();
        };
        for round in 0..20 {
            std::thread::scope(|scope| {
                for index in [3, 1, 4, 2] {
                    scope.spawn(move || save(5 * round + index));
                }
            });
            let (found, _) = file.load().unwrap().unwrap();
            assert_eq!(found.applied.unwrap().index, 5 * round + 4);
        }
        // Whoever opens the folder next knows what is there.
        let next = SnapshotFile::new(folder.path());
        next.load().unwrap();
        next.save(None, b"older").unwrap();
        assert!(next.load().unwrap().is_some());
    }

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
        file.save(None, &image.encode().unwrap()).unwrap();
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
