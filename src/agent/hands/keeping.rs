//! What is kept of data that is about to be replaced, and the note by which the record learns of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Done, Hands};
use crate::agent::chain;
use crate::clock;
use crate::host::kept_wal::{self, Asked, Kept};
use crate::host::wal_page::Wal;
use crate::host::{Error, control_file, durable, history};
use crate::model::{Lineage, WalPosition};
use crate::recovery::Source;
use crate::recovery::evidence::Apart;

/// In the state folder: what was kept of the data that was replaced, until that was told.
const KEPT: &str = "kept";

/// What was kept, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeptNote {
    /// In words.
    pub words: Vec<String>,
    /// The WAL that nobody else has.
    pub apart: Option<Apart>,
}

impl Hands {
    /// Copies the WAL aside that the source does not have, and notes that. Errors: it cannot be kept, so it must not be
    /// overwritten.
    pub(super) fn keep_wal(&self, source: &Source) -> Done {
        let Some((wal, from, to)) = self.parted(source)? else {
            return Ok(());
        };
        let kept = kept_wal::keep(Asked {
            wal: &wal,
            data: self.data_path(),
            instance: self.instance().as_str(),
            from,
            to,
            version: self.binaries.version,
            stamp: &clock::wall_stamp(),
            account: self.account(),
        })?;
        let Some(kept) = kept else { return Ok(()) };
        self.note_kept(in_words(&kept, from, to), apart(from, to))
    }

    /// Notes where the old data is. Where it parted from the source can be told only before it was put aside.
    pub(super) fn keep_data(&self, old: Option<&Path>, apart: Option<Apart>) -> Done {
        match old {
            Some(old) => {
                self.note_kept(format!("its old data is kept in {}", old.display()), apart)
            }
            None => Ok(()),
        }
    }

    /// The WAL that the source does not have, as far as the files tell.
    pub(super) fn apart(&self, source: &Source) -> Option<Apart> {
        let (_, from, to) = self.parted(source).ok()??;
        apart(from, to)
    }

    /// Where the source's history was left, and where the WAL ends if that is known. None if they have no branch in common.
    fn parted(&self, source: &Source) -> Done<Option<(Wal, WalPosition, Option<WalPosition>)>> {
        let control = control_file::read(self.data_path())?;
        let wal = Wal {
            folder: self.pg_wal(),
            segment_size: control.segment_size,
            system: control.system,
        };
        let to = self.position(None);
        let timeline = to.map_or(control.timeline, |to| to.timeline);
        let mut lineages = history::lineages(&wal.folder)?;
        let own = lineages.remove(&timeline).unwrap_or(Lineage {
            current: timeline,
            ..Lineage::default()
        });
        let end = to.unwrap_or(WalPosition {
            timeline,
            lsn: control.redo,
        });
        Ok(own.leaves(end, &source.lineage).map(|from| (wal, from, to)))
    }

    fn note_kept(&self, words: String, apart: Option<Apart>) -> Done {
        tracing::info!(instance = %self.instance(), words, "kept");
        // One that cannot be read never will be, and what it told is kept all the same.
        let mut note = match self.kept_note() {
            Err(Error::Malformed { .. }) => KeptNote::default(),
            note => note?.unwrap_or_default(),
        };
        note.words.push(words);
        note.apart = note.apart.or(apart);
        let text = serde_json::to_string(&note).expect("plain fields become JSON");
        durable::write(&self.config.folder.join(KEPT), text.as_bytes())
    }

    fn kept_note(&self) -> Done<Option<KeptNote>> {
        let path = self.config.folder.join(KEPT);
        let Some(text) = durable::read(&path)? else {
            return Ok(None);
        };
        let note = serde_json::from_str(&text).map_err(|error| Error::Malformed {
            path,
            reason: error.to_string(),
        })?;
        Ok(Some(note))
    }

    /// What was kept, once: a peer of an older build that does not understand it is told the plain word the next time.
    /// Blocks on the state folder.
    pub fn take_kept(&self) -> Option<KeptNote> {
        let taken = self.kept_note().and_then(|note| {
            durable::remove(&self.config.folder.join(KEPT))?;
            Ok(note)
        });
        taken.unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "what was kept of the old data cannot be told");
            None
        })
    }
}

fn apart(from: WalPosition, to: Option<WalPosition>) -> Option<Apart> {
    to.filter(|to| *to > from).map(|to| Apart { from, to })
}

fn in_words(kept: &Kept, from: WalPosition, to: Option<WalPosition>) -> String {
    let to = to.map_or("its end".to_owned(), |to| to.to_string());
    let mut words = format!(
        "its WAL from {from} to {to} is kept in {}",
        kept.folder.display()
    );
    if kept.left_out > 0 {
        words += &format!(
            ", but for the last {} bytes, which are more than {} and are gone",
            kept.left_out,
            kept_wal::BUDGET
        );
    }
    for removed in &kept.removed {
        words += &format!("; {} made way", removed.display());
    }
    words
}
