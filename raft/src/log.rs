//! The log and the vote of a peer, in sled.
//!
//! Every write here is complete in sled's memory when it returns and durable when the [`LogWriter`] says so. sled
//! recovers a prefix of what was written, over all trees, so the order of the writes is the guarantee: entries go
//! in from low to high and come out from high to low, and the mark of a purge goes in before entries go out. A
//! crash can then shorten the tail, never leave a hole. What this module must never do is read past damage: opening
//! checks the whole log, and every later read checks what it reads.
//!
//! Reads and writes block for microseconds at most: they touch memory or the page cache. Only flushes wait for the
//! disk, and they do so on the thread of the writer.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
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
    log_parts::{self, Joiner},
    log_writer::{Flushes, LogWriter},
    record,
    sled_files::SledFiles,
    types::{Entry, LogId, TypeConfig, Vote},
    wire::MAX_ENTRY_BYTES,
};

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
/// Most bytes of one of the marks above.
const MARK_LIMIT: usize = 1024;
/// Parts removed in one bite when purging: about a millisecond of work.
const PURGE_BITE: usize = 256;

/// The durable log and vote of a peer. Clones share one store.
#[derive(Clone)]
pub(crate) struct Log {
    entries: sled::Tree,
    marks: sled::Tree,
    /// First index that has not been purged.
    first: Arc<AtomicU64>,
    /// Dropped after the trees, so that the files are closed when the writer has ended.
    writer: LogWriter,
}

impl Log {
    /// Opens the log in `folder` and checks every entry in it. The receiver closes when the log is closed again.
    ///
    /// # Errors
    /// [`StartError::InUse`], [`StartError::LogLost`] if `identity` knows of data and there is none, or
    /// [`StartError::Log`] if the log is damaged.
    pub(crate) fn open(
        folder: &Path,
        identity: IdentityFile,
    ) -> Result<(Self, watch::Receiver<()>), StartError> {
        let files = SledFiles::open(folder).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => StartError::InUse,
            _ => StartError::Log(error),
        })?;
        let entries = files.tree("entries").map_err(StartError::Log)?;
        let marks = files.tree("marks").map_err(StartError::Log)?;
        if entries.is_empty() && marks.is_empty() && identity.holds_data() {
            return Err(StartError::LogLost);
        }
        let purged: Option<LogId> = read_mark(&marks, PURGED).map_err(StartError::Log)?;
        let first = purged.map_or(0, |purged| purged.index + 1);
        repair(&entries, first).map_err(StartError::Log)?;
        check(&entries, first).map_err(StartError::Log)?;

        let purged_from = entries.clone();
        let remove_some = Box::new(move |index| remove_some(&purged_from, index + 1));
        let (writer, closed) =
            LogWriter::start(files, identity, remove_some).map_err(StartError::Log)?;
        Ok((
            Self {
                entries,
                marks,
                first: Arc::new(AtomicU64::new(first)),
                writer,
            },
            closed,
        ))
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

    fn read(&self, indexes: std::ops::Range<u64>) -> io::Result<Vec<Entry>> {
        let start = indexes.start.max(self.first.load(Relaxed));
        if start >= indexes.end {
            return Ok(Vec::new());
        }
        let mut joiner = Joiner::default();
        let mut entries = Vec::new();
        for part in self
            .entries
            .range(log_parts::first_key(start)..log_parts::first_key(indexes.end))
        {
            let (key, value) = part?;
            if let Some((index, record)) = joiner.push(&key, &value)? {
                entries.push(decode_entry(index, &record)?);
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
}

fn decode_entry(index: u64, bytes: &[u8]) -> io::Result<Entry> {
    let entry: Entry = record::unseal(bytes, MAX_ENTRY_BYTES).map_err(damaged)?;
    if entry.log_id.index != index {
        let found = entry.log_id.index;
        return Err(damaged(format!(
            "log entry {found} stands at index {index}"
        )));
    }
    Ok(entry)
}

fn read_mark<T: DeserializeOwned>(marks: &sled::Tree, name: &str) -> io::Result<Option<T>> {
    let Some(bytes) = marks.get(name)? else {
        return Ok(None);
    };
    record::unseal(&bytes, MARK_LIMIT)
        .map(Some)
        .map_err(damaged)
}

/// Finishes what a crash interrupted: a purge, and the writing of the last entry, which nobody was told of.
fn repair(entries: &sled::Tree, first: u64) -> io::Result<()> {
    while !remove_some(entries, first)? {}
    let Some((key, _)) = entries.last()? else {
        return Ok(());
    };
    let last = log_parts::index_of(&key)?;
    let mut joiner = Joiner::default();
    for part in entries.range(log_parts::first_key(last)..) {
        let (key, value) = part?;
        joiner.push(&key, &value)?;
    }
    if joiner.unfinished().is_some() {
        remove_from(entries, last)?;
    }
    Ok(())
}

/// Reads the whole log once: every entry from `first` on is there, and is what was written.
fn check(entries: &sled::Tree, first: u64) -> io::Result<()> {
    let mut expected = first;
    let mut joiner = Joiner::default();
    for part in entries {
        let (key, value) = part?;
        if let Some((index, record)) = joiner.push(&key, &value)? {
            decode_entry(index, &record)?;
            if index != expected {
                return Err(damaged(format!(
                    "log has entry {index} where {expected} is due"
                )));
            }
            expected += 1;
        }
    }
    Ok(())
}

/// Removes some of the parts below index `end`, lowest first; true when none is left.
fn remove_some(entries: &sled::Tree, end: u64) -> io::Result<bool> {
    let range = entries.range(..log_parts::first_key(end));
    let keys: Vec<_> = range.keys().take(PURGE_BITE).collect::<Result<_, _>>()?;
    for key in &keys {
        entries.remove(key)?;
    }
    Ok(keys.len() < PURGE_BITE)
}

/// Removes the entries at `index` and above, highest part first.
fn remove_from(entries: &sled::Tree, index: u64) -> io::Result<()> {
    let range = entries.range(log_parts::first_key(index)..);
    let keys: Vec<_> = range.keys().rev().collect::<Result<_, _>>()?;
    for key in keys {
        entries.remove(key)?;
    }
    Ok(())
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
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
        let last_purged_log_id: Option<LogId> = read_mark(&self.marks, PURGED)?;
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
        self.writer.flush().await
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
        for entry in entries {
            let record = record::seal(&entry).map_err(damaged)?;
            if record.len() > MAX_ENTRY_BYTES {
                return Err(damaged(format!(
                    "log entry of {} bytes is over the limit",
                    record.len()
                )));
            }
            for (key, part) in log_parts::cut(entry.log_id.index, &record) {
                self.entries.insert(key, part)?;
            }
        }
        self.writer.flush_then(flushed)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        remove_from(&self.entries, last.map_or(0, |last| last.index + 1))
    }

    async fn purge(&mut self, last: LogId) -> io::Result<()> {
        self.write_mark(PURGED, &last)?;
        self.first.store(last.index + 1, Relaxed);
        self.writer.purge(last.index)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
