//! The promise on disk, and the admissions that only it can give.
//!
//! An [`Admission`] exists only after the order it speaks for was fsynced, file and folder, outside the
//! data folder and under a lock that one agent holds. Everything that changes an instance takes
//! `&Admission`, so that forgetting the gate does not compile. The rules themselves are the pure
//! [`crate::duty::gate`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::broken;
use crate::clock;
use crate::duty::Word;
use crate::duty::gate::{self, PromiseRecord, Refusal};
use crate::host::{Error, durable};
use crate::model::{Epoch, Order};

const PROMISE: &str = "promise.json";

/// Proof that an order was admitted and is on disk. It is handed on, never copied.
#[derive(Debug, PartialEq, Eq)]
pub struct Admission {
    order: Order,
    group: String,
}

impl Admission {
    /// The order that was admitted.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The Raft group that gave the order.
    pub fn group(&self) -> &str {
        &self.group
    }
}

/// Why there is no admission.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The rules say no; nothing was written.
    #[error("{0}")]
    Refused(Refusal),
    /// Another process holds the promise.
    #[error("another agent runs in `folder` {}; stop it or give this one a folder of its own", folder.display())]
    Locked {
        /// The state folder.
        folder: PathBuf,
    },
    /// The state folder cannot be locked.
    #[error("lock `folder` {}; keep it on a local disk of this host", folder.display())]
    NoLock {
        /// The state folder.
        folder: PathBuf,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
    /// The promise cannot be kept on disk, so nothing is promised.
    #[error("keep the promise on disk")]
    Disk(#[source] Error),
}

/// The state folder, held by this process alone until the last clone is dropped. The lock is on the folder itself:
/// taking it changes nothing.
#[derive(Debug, Clone)]
pub struct FolderLock {
    _folder: Arc<File>,
}

impl FolderLock {
    /// Locks a state folder that is there. Errors: [`GateError::Locked`], [`GateError::NoLock`].
    pub fn take(folder: &Path) -> Result<FolderLock, GateError> {
        let refused = |source| GateError::NoLock {
            folder: folder.to_owned(),
            source,
        };
        let opened = File::open(folder).map_err(refused)?;
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(FolderLock {
                _folder: Arc::new(opened),
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(GateError::Locked {
                folder: folder.to_owned(),
            }),
            Err(error) => Err(refused(error.into())),
        }
    }
}

/// The Raft group that the promise in this state folder obeys; none without a readable one. Only looks.
pub fn group_in(folder: &Path) -> Option<String> {
    let text = durable::read(&folder.join(PROMISE)).ok()??;
    let record: PromiseRecord = serde_json::from_str(&text).ok()?;
    Some(record.group)
}

/// The promise of one instance, locked for this process.
#[derive(Debug)]
pub struct PromiseStore {
    path: PathBuf,
    record: Option<PromiseRecord>,
    word: Word,
    _lock: FolderLock,
}

impl PromiseStore {
    /// Reads the promise. One that cannot be read is put aside under another name and logged: the agent then
    /// has none and must adopt the present epoch. Blocks. Errors: [`GateError::Disk`].
    pub fn open(folder: &Path, lock: FolderLock) -> Result<PromiseStore, GateError> {
        let path = folder.join(PROMISE);
        let text = durable::read(&path).map_err(GateError::Disk)?;
        let record = match text.as_deref().map(serde_json::from_str) {
            None => None,
            Some(Ok(record)) => Some(record),
            Some(Err(error)) => {
                let aside = folder.join(format!("{PROMISE}.damaged-{}", clock::wall_stamp()));
                tracing::error!(%error, kept = %aside.display(), "the promise is damaged; nothing is obeyed before the present epoch is adopted");
                durable::rename(&path, &aside).map_err(GateError::Disk)?;
                None
            }
        };
        Ok(PromiseStore {
            path,
            word: Word::at_start(record.as_ref(), clock::boottime()),
            record,
            _lock: lock,
        })
    }

    /// What is on disk; none before the first adoption.
    pub fn record(&self) -> Option<&PromiseRecord> {
        self.record.as_ref()
    }

    /// The highest epoch promised.
    pub fn epoch(&self) -> Option<Epoch> {
        Some(self.record.as_ref()?.order.epoch)
    }

    /// Whether a promotion was asked for and not yet seen done or undone.
    pub fn promotion_asked(&self) -> bool {
        self.record.as_ref().is_some_and(|it| it.promotion_asked)
    }

    /// Admits an order and returns once it is on disk.
    /// Errors: [`GateError::Refused`]; [`GateError::Disk`], after which nothing counts as promised.
    pub async fn admit(&mut self, order: Order) -> Result<Admission, GateError> {
        let record =
            gate::admit(self.record.as_ref(), order, self.word()).map_err(GateError::Refused)?;
        let group = record.group.clone();
        self.keep(record).await?;
        Ok(Admission { order, group })
    }

    /// Admits a lease of this order and returns once that is on disk. Errors: as [`PromiseStore::admit`].
    pub async fn admit_lease(&mut self, order: Order) -> Result<(), GateError> {
        let record = gate::admit_lease(self.record.as_ref(), order, self.word())
            .map_err(GateError::Refused)?;
        self.keep(record).await
    }

    /// How long its word to back the primary still lasts.
    pub fn word(&self) -> Duration {
        self.word.remaining(clock::boottime())
    }

    /// Gives the word to back the primary of `epoch`, and returns once its mark is on disk. Errors: why not, in words.
    pub async fn back(&mut self, epoch: Epoch) -> Result<(), String> {
        let given = self
            .word
            .give(self.record.as_ref(), epoch, clock::boottime());
        let record = given.map_err(|why| why.to_string())?;
        let kept = self.keep(record).await;
        kept.map_err(|error| format!("its word cannot be kept on disk: {error}"))
    }

    /// Takes over the present epoch of a Raft group, read linearizably. Never goes back.
    /// Errors: as [`PromiseStore::admit`].
    pub async fn adopt(&mut self, group: &str, order: Order) -> Result<(), GateError> {
        if self.record.is_some() {
            return Ok(());
        }
        // Whether a promotion was asked for is not known any more, so it counts as asked for.
        let record = PromiseRecord {
            group: group.to_owned(),
            order,
            promotion_asked: true,
            backs: false,
        };
        self.keep(record).await
    }

    /// Notes durably whether a promotion is under way. Errors: as [`PromiseStore::admit`].
    pub async fn note_promotion(&mut self, asked: bool) -> Result<(), GateError> {
        match &self.record {
            Some(record) if record.promotion_asked != asked => {
                let mut record = record.clone();
                record.promotion_asked = asked;
                self.keep(record).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn keep(&mut self, mut record: PromiseRecord) -> Result<(), GateError> {
        // A word that is over needs no mark any more.
        record.backs &= !self.word().is_zero();
        if self.record.as_ref() == Some(&record) {
            return Ok(());
        }
        let mut kept = record.clone();
        if broken!(PersistedPromise)
            && let Ok(Some(text)) = durable::read(&self.path)
            && let Ok(before) = serde_json::from_str::<PromiseRecord>(&text)
        {
            kept.order = before.order;
        }
        let text = serde_json::to_vec(&kept).expect("plain fields become JSON");
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || durable::write(&path, &text));
        written
            .await
            .expect("writing a file does not panic")
            .map_err(GateError::Disk)?;
        self.record = Some(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, number: u32) -> Order {
        Order {
            epoch: Epoch(epoch),
            number,
        }
    }

    fn open(folder: &Path) -> PromiseStore {
        PromiseStore::open(folder, FolderLock::take(folder).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_promise_outlives_its_agent() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        let second = FolderLock::take(folder.path());
        assert!(matches!(second, Err(GateError::Locked { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(matches!(
            store.admit(at(1, 1)).await,
            Err(GateError::Refused(Refusal::NotAdopted))
        ));
        store.adopt("g", at(2, 0)).await.unwrap();
        let admission = store.admit(at(3, 4)).await.unwrap();
        assert_eq!((admission.order(), admission.group()), (at(3, 4), "g"));
        assert_eq!(group_in(folder.path()).as_deref(), Some("g"));
        store.note_promotion(false).await.unwrap();
        drop(store);
        let mut store = open(folder.path());
        assert_eq!(store.record().unwrap().group, "g");
        assert!(!store.promotion_asked());
        for stale in [at(2, 9), at(3, 3)] {
            assert!(store.admit(stale).await.is_err(), "{stale}");
        }
        store.admit(at(3, 4)).await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_promise_is_kept_aside_and_not_obeyed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(PROMISE), "{half").unwrap();
        let store = open(folder.path());
        assert!(store.record().is_none());
        assert!(!folder.path().join(PROMISE).exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
