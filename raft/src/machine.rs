//! Applies committed entries to the state, and makes and takes snapshots of it.
//!
//! The state lives in memory; its durable form is the snapshot plus the log behind it. A committed command that
//! cannot be decoded stops the peer: to skip it would let this peer differ from the others without a sign.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend,
    storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine},
};
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    StartError, StateMachine, View, record,
    snapshot_file::{Image, SnapshotFile},
    types::{
        CommandBytes, Entry, LogId, ReplyBytes, Snapshot, SnapshotMeta, StoredMembership,
        TypeConfig,
    },
    wire::MAX_ENTRY_BYTES,
};

/// The state and what of the log is in it.
#[derive(Clone)]
pub(crate) struct Replica<S> {
    pub(crate) state: S,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// The state as the protocol and the readers share it. Locked for the time of one command or one read.
pub(crate) struct Shared<S>(Arc<RwLock<Replica<S>>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

const POISONED: &str = "the state machine panicked while it changed the state";

impl<S: StateMachine> Replica<S> {
    fn image(&self) -> Image {
        Image {
            applied: self.applied,
            membership: self.membership.clone(),
            state: self.state.encode().into(),
        }
    }
}

impl<S> Shared<S> {
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Replica<S>) -> R) -> R {
        look(&self.0.read().expect(POISONED))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Replica<S>) -> R) -> R {
        change(&mut self.0.write().expect(POISONED))
    }
}

/// What openraft drives.
pub(crate) struct Machine<S> {
    shared: Shared<S>,
    file: SnapshotFile,
    view: watch::Sender<View>,
}

impl<S: StateMachine> Machine<S> {
    /// The state of the latest snapshot, or `initial` if there is none yet. Every apply is told to `view`.
    pub(crate) fn open(
        file: SnapshotFile,
        initial: S,
        view: watch::Sender<View>,
    ) -> io::Result<Self> {
        let replica = match file.load()? {
            Some((image, _)) => restore(image)?,
            None => Replica {
                state: initial,
                applied: None,
                membership: StoredMembership::default(),
            },
        };
        let machine = Self {
            shared: Shared(Arc::new(RwLock::new(replica))),
            file,
            view,
        };
        machine.announce();
        Ok(machine)
    }

    pub(crate) fn shared(&self) -> Shared<S> {
        self.shared.clone()
    }

    /// Checks that what the log has dropped up to `purged` is in the state: without it openraft would begin anew with
    /// an empty one.
    pub(crate) fn reaches(&self, purged: Option<LogId>) -> Result<(), StartError> {
        let applied = self.shared.read(|replica| replica.applied);
        match purged {
            Some(purged) if applied.is_none_or(|applied| applied.index < purged.index) => {
                Err(StartError::SnapshotLost {
                    purged: purged.index,
                    found: applied.map_or("there is none".to_owned(), |applied| {
                        format!("it ends at entry {}", applied.index)
                    }),
                })
            }
            _ => Ok(()),
        }
    }

    /// All that is in the state.
    pub(crate) fn image(&self) -> Image {
        self.shared.read(Replica::image)
    }

    /// Applies one entry; gives the reply as a record.
    pub(crate) fn apply_one(&self, entry: Entry) -> io::Result<ReplyBytes> {
        let index = entry.log_id.index;
        let reply = match entry.payload {
            EntryPayload::Blank => {
                self.shared
                    .change(|replica| replica.applied = Some(entry.log_id));
                ReplyBytes(Bytes::new())
            }
            EntryPayload::Membership(membership) => {
                self.shared.change(|replica| {
                    replica.applied = Some(entry.log_id);
                    replica.membership = StoredMembership::new(Some(entry.log_id), membership);
                });
                ReplyBytes(Bytes::new())
            }
            EntryPayload::Normal(CommandBytes(bytes)) => {
                let command: S::Command = record::unseal(&bytes, MAX_ENTRY_BYTES).map_err(|error| {
                    tracing::error!(index, %error, "a committed command cannot be decoded: this peer needs a newer program");
                    io::Error::new(io::ErrorKind::InvalidData, error)
                })?;
                // A panic poisons the lock, so nobody reads a state that is changed by half.
                let applied = catch_unwind(AssertUnwindSafe(|| {
                    self.shared.change(|replica| {
                        replica.applied = Some(entry.log_id);
                        replica.state.apply(index, command)
                    })
                }));
                let reply = applied.map_err(|_| {
                    tracing::error!(index, "applying a command panicked: this peer stops");
                    io::Error::other("applying a command panicked")
                })?;
                // Empty bytes are no record, so the proposer learns that its reply could not be encoded.
                ReplyBytes(record::seal(&reply).unwrap_or_default().into())
            }
        };
        self.announce();
        Ok(reply)
    }

    fn announce(&self) {
        let applied = self
            .shared
            .read(|replica| replica.applied.map(|applied| applied.index));
        self.view.send_if_modified(|view| {
            let changed = view.applied_index != applied;
            view.applied_index = applied;
            changed
        });
    }
}

fn restore<S: StateMachine>(image: Image) -> io::Result<Replica<S>> {
    let state = S::decode(&image.state)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Replica {
        state,
        applied: image.applied,
        membership: image.membership,
    })
}

impl<S: StateMachine> RaftStateMachine<TypeConfig> for Machine<S> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder<S>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self
            .shared
            .read(|replica| (replica.applied, replica.membership.clone())))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> io::Result<()>
    where
        Entries: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, proposer)) = entries.try_next().await? {
            let reply = self.apply_one(entry)?;
            if let Some(proposer) = proposer {
                proposer.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<S> {
        Builder {
            replica: Arc::new(self.shared.read(Replica::clone)),
            file: self.file.clone(),
        }
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, bytes: Bytes) -> io::Result<()> {
        let file = self.file.clone();
        let replica = blocking(move || {
            let image = Image::decode(&bytes)?;
            let applied = image.applied;
            // Decoded before it is saved: a snapshot this program cannot read must not take the place of one it can.
            let replica = restore(image)?;
            // It is written: openraft installs none that is older than what is committed.
            file.save(applied, &bytes)?;
            Ok(replica)
        })
        .await?;
        self.shared.change(|current| *current = replica);
        self.announce();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let file = self.file.clone();
        blocking(move || file.current()).await
    }
}

/// Writes a snapshot of the state as it was when the builder was made.
pub(crate) struct Builder<S> {
    replica: Arc<Replica<S>>,
    file: SnapshotFile,
}

impl<S: StateMachine> RaftSnapshotBuilder<TypeConfig> for Builder<S> {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (replica, file) = (self.replica.clone(), self.file.clone());
        blocking(move || {
            let image = replica.image();
            let bytes = image.encode()?;
            file.save(image.applied, &bytes)?;
            // Also if a newer one was installed meanwhile and this one was not written, openraft is told of this one.
            // It noted the newer one when it began to install it, so it leaves all as it is: never may it drop more
            // of the log than is in the file.
            Ok(Snapshot {
                meta: image.meta(),
                snapshot: bytes,
            })
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::once::tests::Sum;

    fn log_id(index: u64) -> LogId {
        let leader = openraft::vote::leader_id_adv::LeaderId {
            term: 1,
            node_id: 1,
        };
        LogId::new(leader, index)
    }

    /// openraft does both at once, and drops the log up to what is installed.
    #[tokio::test]
    async fn a_snapshot_that_is_built_late_leaves_the_installed_one() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let file = SnapshotFile::new(folder.path());
            Machine::open(file, Sum::default(), watch::channel(View::FIRST).0).unwrap()
        };
        let mut machine = open();
        let first = Entry {
            log_id: log_id(1),
            payload: EntryPayload::Blank,
        };
        machine.apply_one(first).unwrap();
        let mut before = Some(log_id(1));
        for round in 1..=20 {
            let mut builder = machine.get_snapshot_builder().await;
            let image = Image {
                applied: Some(log_id(100 * round)),
                membership: StoredMembership::default(),
                state: Sum(round).encode().into(),
            };
            let (meta, bytes) = (image.meta(), image.encode().unwrap());
            let install = machine.install_snapshot(&meta, bytes);
            let built = if round == 1 {
                install.await.unwrap();
                builder.build_snapshot().await
            } else {
                let (built, installed) = tokio::join!(builder.build_snapshot(), install);
                installed.unwrap();
                built
            };
            // Were it more than was built, openraft could take what is still being installed for written.
            assert_eq!(built.unwrap().meta.last_log_id, before);
            let found = machine.get_current_snapshot().await.unwrap();
            assert_eq!(found.unwrap().meta, meta, "round {round}");
            before = image.applied;
        }
        let again = open();
        again.reaches(before).unwrap();
        assert_eq!(again.shared().read(|replica| replica.state.0), 20);
    }
}
