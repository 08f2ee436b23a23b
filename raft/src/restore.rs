//! A group begins anew from what one peer knew, with that peer alone.
//!
//! It is the last resort: when a majority of the peers is gone for good, or their folders are. What was acknowledged
//! without the peer that was saved is lost, and the others, should they come back, would go on as the old group. So
//! the new beginning has a number of its own, drawn at random, and peers of different beginnings refuse each other;
//! what else keeps the old group from doing harm is the state's to say, in the change that is made to it.
//!
//! The order of the files is the safety: all of them are made aside, then the log, the witness and the snapshot take
//! their names, and the mark that makes a folder out of them comes last. While the files aside are there, the folder
//! is refused.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use openraft::{BasicNode, Membership, storage::RaftLogStorage};
use rustix::fs::FlockOperation;

use crate::{
    GroupId, RecordError, Saved, SavedError, StartError, StateMachine, durable_file,
    identity::{self, IdentityFile},
    lease,
    log::{self, Log},
    saved::{closed, decoded, taken, write},
    snapshot_file::{self, Image, SnapshotFile},
    types::{LogId, StoredMembership, Vote},
    witness::{self, Witness},
};

/// Where the files are made.
const ASIDE: &str = "restored";
/// What a folder put aside is called, with the number of the new beginning behind it.
const BEFORE: &str = "before";
/// What was saved of it, in there.
const SAVED: &str = "saved";

/// Who begins the group anew.
#[derive(Debug, Clone)]
pub struct Restored<'a> {
    /// The group, as a check that it is the one that was saved.
    pub group: GroupId,
    /// Its folder.
    pub folder: &'a Path,
    /// The peer.
    pub id: u64,
    /// Where it will answer, `host:port`.
    pub address: &'a str,
}

/// Whether a restore into `folder` was not finished.
pub(crate) fn is_unfinished(folder: &Path) -> bool {
    folder.join(ASIDE).exists()
}

/// Entries and terms may have followed what was saved: what the new group writes stands above all of them, so that who
/// remembers an index or a term of the old group does not take the new one for older.
const ENTRIES: u64 = 1 << 32;
const TERMS: u64 = 1 << 20;
/// Half of what there is: the new group must have room, and the old one has not come this far in a lifetime.
const MOST: u64 = u64::MAX / 2;

impl Restored<'_> {
    /// Begins the group anew from what was saved into `file`, after `change` was made to the state. The folder must be
    /// there and hold no peer; what an unfinished restore left there is put aside. Durable on return; nothing is started.
    /// Blocks its thread for a few flushes.
    ///
    /// # Errors
    /// [`SavedError`]; [`SavedError::Occupied`] if the folder holds a peer.
    pub async fn from_file<S: StateMachine>(
        &self,
        file: &Path,
        change: impl FnOnce(&mut S),
    ) -> Result<Saved<S>, SavedError> {
        let bytes = durable_file::read_whole(file).map_err(SavedError::File)?;
        let saved: Saved<S> = decoded(&bytes)?;
        self.check(&saved)?;
        let is_unfinished = is_unfinished(self.folder);
        let is_occupied = IdentityFile::exists(self.folder) || self.folder.join(log::NAME).exists();
        if is_occupied && !is_unfinished {
            return Err(SavedError::Occupied);
        }
        let beginning = draw()?;
        if is_unfinished {
            self.put_aside(&self.before(beginning))?;
        }
        self.begin(beginning, saved, change).await
    }

    /// The same from what the stopped peer in the folder knows. Its files are put aside, into the folder that is given
    /// back, together with what was saved of them.
    ///
    /// # Errors
    /// [`SavedError`].
    pub async fn from_own_folder<S: StateMachine>(
        &self,
        initial: S,
        change: impl FnOnce(&mut S),
    ) -> Result<(Saved<S>, PathBuf), SavedError> {
        let content = taken(self.folder, initial)
            .await
            .map_err(SavedError::Folder)?;
        if content.peer != self.id {
            let (found, expected) = (content.peer, self.id);
            let refused = StartError::OtherPeer { found, expected };
            return Err(SavedError::Folder(refused));
        }
        // Whoever was faster and runs in it now would go on as the old group.
        let _held = held(&self.folder.join(log::NAME)).map_err(SavedError::Folder)?;
        let beginning = draw()?;
        let before = self.before(beginning);
        durable_file::create_folder(&before).map_err(SavedError::Write)?;
        let saved = write(&content, &before.join(SAVED))?;
        self.check(&saved)?;
        self.put_aside(&before)?;
        let begun = self.begin(beginning, saved, change).await?;
        Ok((begun, before))
    }

    /// What is saved must be of this group, and of a time when this peer was a member of it.
    fn check<S>(&self, saved: &Saved<S>) -> Result<(), SavedError> {
        if saved.group != self.group {
            let (found, expected) = (saved.group, self.group);
            return Err(SavedError::OtherGroup { found, expected });
        }
        if !saved.members.contains_key(&self.id) {
            return Err(SavedError::NoMember { id: self.id });
        }
        self.above(saved).map(drop)
    }

    /// The entry and the term after which the new group writes. A file may say anything: what guards it is only a
    /// checksum.
    fn above<S>(&self, saved: &Saved<S>) -> Result<(LogId, u64), SavedError> {
        // A group with a member has written an entry.
        let last = saved.last.ok_or(SavedError::NoMember { id: self.id })?;
        let leader = *last.committed_leader_id();
        let raised = |number: u64, by| number.checked_add(by).filter(|sum| *sum <= MOST);
        match (raised(last.index, ENTRIES), raised(leader.term, TERMS)) {
            (Some(index), Some(term)) => Ok((LogId::new(leader, index), term)),
            _ => {
                let text = format!(
                    "no group comes as far as entry {} of term {}; take another copy",
                    last.index, leader.term
                );
                let damage = RecordError::Body(serde::de::Error::custom(text));
                Err(SavedError::Damaged(damage))
            }
        }
    }

    fn before(&self, beginning: u64) -> PathBuf {
        self.folder.join(format!("{BEFORE}-{beginning:016x}"))
    }

    /// Moves the files of a peer, whichever are there, into the folder `before`. From the first moment on no start takes
    /// what is left for a peer, or for a new one.
    fn put_aside(&self, before: &Path) -> Result<(), SavedError> {
        let moved = || {
            durable_file::create_folder(&self.folder.join(ASIDE))?;
            durable_file::create_folder(before)?;
            for name in [
                identity::NAME,
                log::NAME,
                witness::NAME,
                snapshot_file::NAME,
                lease::NAME,
            ] {
                match fs::rename(self.folder.join(name), before.join(name)) {
                    // A peer that is young has no snapshot yet, and an old one no note of its leases.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            durable_file::sync_folder(before)?;
            durable_file::sync_folder(self.folder)
        };
        moved().map_err(SavedError::Write)
    }

    async fn begin<S: StateMachine>(
        &self,
        beginning: u64,
        mut saved: Saved<S>,
        change: impl FnOnce(&mut S),
    ) -> Result<Saved<S>, SavedError> {
        let (last, term) = self.above(&saved)?;
        change(&mut saved.state);
        let aside = self.folder.join(ASIDE);
        let made_anew = || {
            if aside.exists() {
                fs::remove_dir_all(&aside)?;
            }
            durable_file::create_folder(&aside)
        };
        made_anew().map_err(SavedError::Write)?;
        let nodes = BTreeMap::from([(self.id, BasicNode::new(self.address))]);
        let membership = Membership::new(vec![[self.id].into()], nodes)
            .map_err(|error| SavedError::Write(io::Error::other(error)))?;
        let applied = Some(last);
        let image = Image {
            applied,
            membership: StoredMembership::new(applied, membership),
            state: saved.state.encode().into(),
        };
        let bytes = image.encode().map_err(SavedError::Write)?;
        let written = SnapshotFile::new(&aside).save(applied, &bytes);
        written.map_err(SavedError::Write)?;

        let identity = IdentityFile::open(&aside, saved.group, beginning, self.id)
            .map_err(SavedError::Folder)?;
        let witness = || Witness::open(&aside, false);
        let (mut log, watch) =
            Log::open(&aside.join(log::NAME), identity, witness).map_err(SavedError::Folder)?;
        // Data of its own, so that a log that is lost later is noticed.
        let voted = log.save_vote(&Vote::new(term, self.id)).await;
        drop(log);
        voted.map_err(SavedError::Write)?;
        closed(watch).await.map_err(SavedError::Write)?;

        let place = || {
            for name in [log::NAME, witness::NAME, snapshot_file::NAME] {
                fs::rename(aside.join(name), self.folder.join(name))?;
            }
            durable_file::sync_folder(self.folder)?;
            fs::rename(aside.join(identity::NAME), self.folder.join(identity::NAME))?;
            durable_file::sync_folder(self.folder)?;
            fs::remove_dir_all(&aside)?;
            durable_file::sync_folder(self.folder)
        };
        place().map_err(SavedError::Write)?;
        Ok(Saved {
            members: BTreeMap::from([(self.id, self.address.to_owned())]),
            ..saved
        })
    }
}

fn draw() -> Result<u64, SavedError> {
    identity::draw().map_err(SavedError::Write)
}

/// The lock that sled takes on its files, for as long as the handle lives.
fn held(log: &Path) -> Result<File, StartError> {
    let file = File::open(log.join("db")).map_err(StartError::Log)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::InUse),
        Err(error) => Err(StartError::Log(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{once::tests::Sum, saved::SavedFile};

    #[tokio::test]
    async fn a_saved_file_that_leaves_no_room_for_a_new_group_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (file, folder) = (place.path().join("saved"), place.path().join("peer"));
        fs::create_dir(&folder).unwrap();
        let restored = Restored {
            group: GroupId::from_bytes([1; 16]),
            folder: &folder,
            id: 1,
            address: "h:1",
        };
        let craft = |term, index| {
            let nodes = BTreeMap::from([(1, BasicNode::new("h:1"))]);
            let membership = Membership::new(vec![[1].into()], nodes).unwrap();
            let leader = openraft::vote::leader_id_adv::LeaderId { term, node_id: 1 };
            let applied = Some(LogId::new(leader, index));
            let content = SavedFile {
                group: restored.group,
                peer: 1,
                image: Image {
                    applied,
                    membership: StoredMembership::new(applied, membership),
                    state: Sum(5).encode().into(),
                },
            };
            write::<Sum>(&content, &file).unwrap();
        };
        for (term, index) in [
            (3, u64::MAX),
            (u64::MAX, 7),
            (3, MOST - ENTRIES + 1),
            (MOST - TERMS + 1, 7),
        ] {
            craft(term, index);
            let refused = restored.from_file(&file, |_: &mut Sum| {}).await;
            let refused = refused.unwrap_err();
            assert!(matches!(refused, SavedError::Damaged(_)), "{refused:?}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        }
        craft(MOST - TERMS, MOST - ENTRIES);
        let begun = restored.from_file(&file, |_: &mut Sum| {}).await;
        assert_eq!(begun.unwrap().state, Sum(5));
    }
}
