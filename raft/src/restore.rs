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
    fs, io,
    path::{Path, PathBuf},
};

use openraft::{BasicNode, Membership, storage::RaftLogStorage};

use crate::{
    GroupId, Saved, SavedError, StartError, StateMachine, durable_file,
    identity::{self, IdentityFile},
    log::Log,
    saved::{closed, decoded, taken, write},
    snapshot_file::{self, Image, SnapshotFile},
    types::{StoredMembership, Vote},
    witness::{self, Witness},
};

/// Where the files are made.
const ASIDE: &str = "restored";
/// What a folder put aside is called, with the number of the new beginning behind it.
const BEFORE: &str = "before";
/// What was saved of it, in there.
const SAVED: &str = "saved";
const LOG: &str = "log";

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

impl Restored<'_> {
    /// Begins the group anew from what was saved into `file`, after `change` was made to the state. The folder must hold
    /// no peer. Durable on return; nothing is started. Blocks its thread for a few flushes.
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
        if saved.group != self.group {
            let (found, expected) = (saved.group, self.group);
            return Err(SavedError::OtherGroup { found, expected });
        }
        let is_occupied = IdentityFile::exists(self.folder)
            || self.folder.join(LOG).exists()
            || is_unfinished(self.folder);
        if is_occupied {
            return Err(SavedError::Occupied);
        }
        durable_file::create_folder(self.folder).map_err(SavedError::File)?;
        self.begin(draw()?, saved, change).await
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
        if is_unfinished(self.folder) {
            return Err(SavedError::Occupied);
        }
        let content = taken(self.folder, initial)
            .await
            .map_err(SavedError::Folder)?;
        let (group, id) = (content.group, content.peer);
        let refusal = if group != self.group {
            let (found, expected) = (group, self.group);
            Some(StartError::OtherGroup { found, expected })
        } else if id != self.id {
            let (found, expected) = (id, self.id);
            Some(StartError::OtherPeer { found, expected })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(SavedError::Folder(refusal));
        }
        let beginning = draw()?;
        let before = self.folder.join(format!("{BEFORE}-{beginning:016x}"));
        durable_file::create_folder(&before).map_err(SavedError::File)?;
        let saved = write(&content, &before.join(SAVED))?;
        // The mark first: without it nobody takes the rest for a peer.
        for name in [identity::NAME, LOG, witness::NAME, snapshot_file::NAME] {
            if name == LOG {
                // From here on a folder without its log must not look new.
                self.note_unfinished().map_err(SavedError::File)?;
            }
            match fs::rename(self.folder.join(name), before.join(name)) {
                // A peer that is young has no snapshot yet.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(SavedError::File(error));
                }
                _ => {}
            }
        }
        for folder in [&before, self.folder] {
            durable_file::sync_folder(folder).map_err(SavedError::File)?;
        }
        let begun = self.begin(beginning, saved, change).await?;
        Ok((begun, before))
    }

    fn note_unfinished(&self) -> io::Result<()> {
        durable_file::create_folder(&self.folder.join(ASIDE))
    }

    async fn begin<S: StateMachine>(
        &self,
        beginning: u64,
        mut saved: Saved<S>,
        change: impl FnOnce(&mut S),
    ) -> Result<Saved<S>, SavedError> {
        change(&mut saved.state);
        self.note_unfinished().map_err(SavedError::File)?;
        let aside = self.folder.join(ASIDE);
        let nodes = BTreeMap::from([(self.id, BasicNode::new(self.address))]);
        let membership = Membership::new(vec![[self.id].into()], nodes)
            .map_err(|error| SavedError::File(io::Error::other(error)))?;
        let applied = saved.last;
        let image = Image {
            applied,
            membership: StoredMembership::new(applied, membership),
            state: saved.state.encode().into(),
        };
        let write_image = || SnapshotFile::new(&aside).save(&image.encode()?);
        write_image().map_err(SavedError::File)?;

        let identity = IdentityFile::open(&aside, saved.group, beginning, self.id)
            .map_err(SavedError::Folder)?;
        let witness = || Witness::open(&aside, false);
        let (mut log, watch) =
            Log::open(&aside.join(LOG), identity, witness).map_err(SavedError::Folder)?;
        let term = applied.map_or(0, |applied| applied.committed_leader_id().term);
        // Data of its own, so that a log that is lost later is noticed.
        let voted = log.save_vote(&Vote::new(term + 1, self.id)).await;
        drop(log);
        voted.map_err(SavedError::File)?;
        closed(watch).await;

        let place = || {
            for name in [LOG, witness::NAME, snapshot_file::NAME] {
                fs::rename(aside.join(name), self.folder.join(name))?;
            }
            durable_file::sync_folder(self.folder)?;
            fs::rename(aside.join(identity::NAME), self.folder.join(identity::NAME))?;
            durable_file::sync_folder(self.folder)?;
            fs::remove_dir_all(&aside)?;
            durable_file::sync_folder(self.folder)
        };
        place().map_err(SavedError::File)?;
        Ok(Saved {
            peer: self.id,
            members: BTreeMap::from([(self.id, self.address.to_owned())]),
            ..saved
        })
    }
}

fn draw() -> Result<u64, SavedError> {
    identity::draw().map_err(SavedError::File)
}
