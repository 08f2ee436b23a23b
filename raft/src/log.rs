//! The log and the vote of a peer, in sled.
//!
//! Every write here is complete in sled's memory when it returns and durable when the [`LogWriter`] says so. sled
//! recovers a prefix of what was written, over all trees, so the order of the writes is the guarantee: entries go
//! in from low to high and come out from high to low, and the mark of a purge goes in before entries go out. A
//! crash can then shorten the tail, never leave a hole. What this module must never do is read past damage: opening
//! checks the whole log, and that it holds what the [`Witness`] knows it acknowledged, because a flipped bit can
//! shorten the tail as well; every later read checks what it reads.
//!
//! Reads and writes block for microseconds at most: they touch memory or the page cache. Only flushes wait for the
//! disk, and they do so on the thread of the writer.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use crate::{
    error::StartError,
    identity::IdentityFile,
    log_check,
    log_entry::{self, Link, damaged},
    log_parts::{self, Joiner},
    log_writer::{Flushes, LogWriter},
    record,
    sled_files::SledFiles,
    types::{Entry, LogId, TypeConfig, Vote},
    witness::{Testimony, Witness},
};

/// Its name in the folder.
pub(crate) const NAME: &str = "log";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
/// Most bytes of one of the marks above.
pub(crate) const MARK_LIMIT: usize = 1024;
/// Most characters of a panic of sled that are repeated: some print whole keys.
const SAID_LIMIT: usize = 100;

/// The durable log and vote of a peer. Clones share one store.
#[derive(Clone)]
pub(crate) struct Log {
    entries: sled::Tree,
    marks: sled::Tree,
    /// First index that has not been purged.
    first: Arc<AtomicU64>,
    /// The link of the last entry.
    link: Arc<AtomicU32>,
    /// Held for writing while entries are removed, so that no reader sees half of it.
    removal: Arc<RwLock<()>>,
    /// Dropped after the trees, so that the files are closed when the writer has ended.
    writer: LogWriter,
}

impl Log {
    /// Opens the log in `folder` and checks every entry in it. The receiver closes when the log is closed again.
    ///
    /// # Errors
    /// [`StartError::InUse`], [`StartError::LogLost`] if `identity` knows of data and there is none,
    /// [`StartError::LogShortened`] if `witness` knows of more than there is, or [`StartError::Log`] if the log is
    /// damaged.
    pub(crate) fn open(
        folder: &Path,
        identity: IdentityFile,
        witness: impl FnOnce() -> io::Result<Witness>,
    ) -> Result<(Self, watch::Receiver<()>), StartError> {
        // sled asserts where it could complain: over a damaged file it panics as often as it gives an error.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Self::open_checked(folder, identity, witness)
        }));
        opened.unwrap_or_else(|panic| {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(panic.downcast_ref::<&str>().copied())
                .unwrap_or("nothing");
            let said: String = said.chars().take(SAID_LIMIT).collect();
            let text =
                format!("sled cannot make sense of its files (it panicked and said: {said})");
            Err(StartError::Log(damaged(text)))
        })
    }

    fn open_checked(
        folder: &Path,
        identity: IdentityFile,
        witness: impl FnOnce() -> io::Result<Witness>,
    ) -> Result<(Self, watch::Receiver<()>), StartError> {
        let files = SledFiles::open(folder).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => StartError::InUse,
            _ => StartError::Log(error),
        })?;
        // Not before: whoever held the files until now may have noted on.
        let mut witness = witness().map_err(StartError::Witness)?;
        let entries = files.tree("entries").map_err(StartError::Log)?;
        let marks = files.tree("marks").map_err(StartError::Log)?;
        if entries.is_empty() && marks.is_empty() && identity.holds_data() {
            return Err(StartError::LogLost);
        }
        let purged: Option<LogId> = read_mark(&marks, PURGED).map_err(StartError::Log)?;
        let vote = read_mark(&marks, VOTE).map_err(StartError::Log)?;
        read_mark::<Option<LogId>>(&marks, COMMITTED).map_err(StartError::Log)?;
        let first = purged.map_or(0, |purged| purged.index + 1);
        log_check::repair(&entries, first).map_err(StartError::Log)?;
        let testimony = witness.testimony();
        let (mut at_last, mut last) = (None, purged);
        let link = log_check::check(&entries, first, |id| {
            if testimony.last.is_some_and(|last| id.index <= last.index) {
                at_last = Some(id);
            }
            last = Some(id);
        })
        .map_err(StartError::Log)?;
        if let Some(what) = log_check::forgotten(&testimony, vote, purged, at_last) {
            return Err(StartError::LogShortened { what });
        }
        // A power cut may have taken back the latest note, or the process may have died before it was written.
        let noted = witness.note(Testimony { vote, last });
        noted
            .and_then(|()| witness.sync())
            .map_err(StartError::Witness)?;

        let removal = Arc::new(RwLock::new(()));
        let (purged_from, held) = (entries.clone(), removal.clone());
        let remove_some = Box::new(move |index| {
            let _held = held.write().unwrap_or_else(PoisonError::into_inner);
            log_check::remove_some(&purged_from, index + 1)
        });
        let (writer, closed) =
            LogWriter::start(files, identity, witness, remove_some).map_err(StartError::Log)?;
        Ok((
            Self {
                entries,
                marks,
                first: Arc::new(AtomicU64::new(first)),
                link: Arc::new(AtomicU32::new(link.unwrap_or_default())),
                removal,
                writer,
            },
            closed,
        ))
    }

    /// The last entry that was purged.
    pub(crate) fn purged(&self) -> io::Result<Option<LogId>> {
        read_mark(&self.marks, PURGED)
    }

    /// How often this log has been flushed, and for how many writes.
    pub(crate) fn flushes(&self) -> Arc<Flushes> {
        self.writer.flushes.clone()
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_fresh(&self) -> bool {
        self.entries.is_empty() && self.marks.is_empty()
    }

    fn write_mark<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        self.marks
            .insert(name, record::seal(value).map_err(damaged)?)?;
        Ok(())
    }

    /// The entries at `indexes` that there are.
    pub(crate) fn read(&self, indexes: std::ops::Range<u64>) -> io::Result<Vec<Entry>> {
        let _held = self.removal.read().unwrap_or_else(PoisonError::into_inner);
        let start = indexes.start.max(self.first.load(Relaxed));
        if start >= indexes.end {
            return Ok(Vec::new());
        }
        let mut joiner = Joiner::default();
        let mut entries = Vec::new();
        let mut link = None;
        let range = log_parts::first_key(start)..log_parts::first_key(indexes.end);
        for part in self.entries.range(range) {
            let (key, value) = part?;
            if let Some((index, stored)) = joiner.push(&key, &value)? {
                // Only openraft's own suite begins a log with another entry than 0.
                if entries.is_empty() && index != start && start > 0 {
                    return Err(damaged(format!("log lacks entry {start}")));
                }
                let (entry, next) = log_entry::load(index, &stored, link)?;
                entries.push(entry);
                link = Some(next);
            }
        }
        Ok(entries)
    }

    fn last_index(&self) -> io::Result<Option<u64>> {
        self.entries
            .last()?
            .map(|(key, _)| log_parts::index_of(&key))
            .transpose()
    }

    /// The link of the entry at `index`.
    fn link_at(&self, index: u64) -> io::Result<Link> {
        let mut joiner = Joiner::default();
        for part in self.entries.range(log_parts::first_key(index)..) {
            let (key, value) = part?;
            if let Some((index, stored)) = joiner.push(&key, &value)? {
                return Ok(log_entry::load(index, &stored, None)?.1);
            }
        }
        Err(damaged(format!("log lacks entry {index}")))
    }
}

fn read_mark<T: DeserializeOwned>(marks: &sled::Tree, name: &str) -> io::Result<Option<T>> {
    let Some(bytes) = marks.get(name)? else {
        return Ok(None);
    };
    record::unseal(&bytes, MARK_LIMIT)
        .map(Some)
        .map_err(damaged)
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start..end)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        read_mark(&self.marks, VOTE)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let last_purged_log_id = self.purged()?;
        let first = self.first.load(Relaxed);
        // Entries below `first` may still lie there, waiting for an idle moment of the writer.
        let last_index = self.last_index()?.filter(|index| *index >= first);
        let last_entry = match last_index {
            Some(index) => self.read(index..index + 1)?.pop(),
            None => None,
        };
        let last_log_id = last_entry.map(|entry| entry.log_id).or(last_purged_log_id);
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write_mark(VOTE, vote)?;
        #[cfg(test)]
        if tests::VOTES_ARE_ANSWERED_FIRST.get() {
            return Ok(());
        }
        self.writer.voted(*vote).await
    }

    /// Not flushed by itself: it only spares a restarted peer some waiting, and a restarted leader stands for
    /// election again in any case.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.write_mark(COMMITTED, &committed)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(read_mark::<Option<LogId>>(&self.marks, COMMITTED)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut last = None;
        for entry in entries {
            let (stored, link) = log_entry::store(&entry, self.link.load(Relaxed))?;
            for (key, part) in log_parts::cut(entry.log_id.index, &stored) {
                self.entries.insert(key, part)?;
            }
            self.link.store(link, Relaxed);
            last = Some(entry.log_id);
        }
        // Without an entry too: the answers keep their order.
        self.writer.appended(last, flushed)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.writer.truncate(last).await?;
        {
            let _held = self.removal.write().unwrap_or_else(PoisonError::into_inner);
            log_check::remove_from(&self.entries, last.map_or(0, |last| last.index + 1))?;
            let link = match self.last_index()? {
                Some(index) => self.link_at(index)?,
                None => Link::default(),
            };
            self.link.store(link, Relaxed);
        }
        // A snapshot that takes the place of what is gone may follow, and is on the platter at once.
        self.writer.truncated().await
    }

    async fn purge(&mut self, last: LogId) -> io::Result<()> {
        self.write_mark(PURGED, &last)?;
        self.first.store(last.index + 1, Relaxed);
        self.writer.purge(last)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
