//! The one thread that puts the log on the platter.
//!
//! Whoever writes to the log then waits here, and everybody who waits when the thread is free shares one flush: a
//! slow disk means larger groups, not a longer queue. Waiters are answered in the order in which they came. A flush
//! that fails ends the process: the kernel may have dropped the pages, so nothing that follows could be trusted.
//! What is on the platter is noted in the [`Witness`] before anybody is told.
//!
//! Dropping purged entries is the work of idle moments, in small bites, so that nobody waits for it.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use openraft::storage::IOFlushed;
use tokio::sync::{oneshot, watch};

use crate::{
    identity::IdentityFile,
    sled_files::SledFiles,
    types::{LogId, TypeConfig, Vote},
    witness::{self, Testimony, Witness},
};

/// Waiters that fit in the queue. A full queue blocks who comes next until the disk has caught up.
const QUEUE: usize = 1024;

/// What the writer is asked for.
enum Work {
    /// Entries were written, the last of them under this id, if there was any.
    Appended(Option<LogId>, IOFlushed<TypeConfig>),
    /// A vote was written.
    Voted(Vote, oneshot::Sender<()>),
    /// Entries after this one are about to be removed.
    Truncate(Option<LogId>, oneshot::Sender<()>),
    /// Those entries are removed.
    Truncated(oneshot::Sender<()>),
    /// Entries up to this one are no longer needed; the mark of their purge was written.
    Purge(LogId),
}

/// How often the writer has flushed, and for how many writes.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    pub(crate) flushes: AtomicU64,
    pub(crate) writes: AtomicU64,
}

/// Removes a bite of the entries at or below an index; true when none is left.
pub(crate) type RemoveSome = Box<dyn FnMut(u64) -> io::Result<bool> + Send>;

/// The target of the one event that comes before the process ends itself. Who writes lines later than they are logged
/// waits for this one, or nobody is told why.
pub const LAST_WORDS: &str = "raft::last_words";

/// A handle on the thread. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct LogWriter {
    queue: SyncSender<Work>,
    pub(crate) flushes: Arc<Flushes>,
}

impl LogWriter {
    /// Starts the thread. The receiver that comes with the handle closes when the thread has ended and its files
    /// are closed.
    pub(crate) fn start(
        files: SledFiles,
        identity: IdentityFile,
        witness: Witness,
        remove_some: RemoveSome,
    ) -> io::Result<(Self, watch::Receiver<()>)> {
        let (queue, work) = sync_channel(QUEUE);
        let (ended, closed) = watch::channel(());
        let flushes = Arc::new(Flushes::default());
        let mut thread = Thread {
            files,
            identity,
            testimony: witness.testimony(),
            witness,
            witness_due: None,
            remove_some,
            flushes: flushes.clone(),
        };
        thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || {
                let ran = catch_unwind(AssertUnwindSafe(|| thread.run(&work)));
                let result = ran.unwrap_or_else(|_| Err(io::Error::other("sled panicked")));
                result.unwrap_or_else(|error| die(&error));
                drop(thread);
                drop(ended);
            })?;
        Ok((Self { queue, flushes }, closed))
    }

    /// Completes `flushed` when the entries up to `last`, which were written before, are on the platter.
    pub(crate) fn appended(
        &self,
        last: Option<LogId>,
        flushed: IOFlushed<TypeConfig>,
    ) -> io::Result<()> {
        self.send(Work::Appended(last, flushed))
    }

    /// Returns when `vote`, which was written before, is on the platter. Dropping the future loses only the answer.
    pub(crate) async fn voted(&self, vote: Vote) -> io::Result<()> {
        self.ask(|done| Work::Voted(vote, done)).await
    }

    /// Returns when the witness no longer expects entries after `last`: only then they may be removed.
    pub(crate) async fn truncate(&self, last: Option<LogId>) -> io::Result<()> {
        self.ask(|done| Work::Truncate(last, done)).await
    }

    /// Returns when the entries that were removed before are gone from the platter too.
    pub(crate) async fn truncated(&self) -> io::Result<()> {
        self.ask(Work::Truncated).await
    }

    /// Lets the entries up to `last` go when there is time.
    pub(crate) fn purge(&self, last: LogId) -> io::Result<()> {
        self.send(Work::Purge(last))
    }

    async fn ask(&self, work: impl FnOnce(oneshot::Sender<()>) -> Work) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.send(work(done))?;
        answer.await.map_err(|_| ended())
    }

    fn send(&self, work: Work) -> io::Result<()> {
        self.queue.send(work).map_err(|_| ended())
    }
}

fn ended() -> io::Error {
    io::Error::other("the log writer has ended")
}

struct Thread {
    files: SledFiles,
    identity: IdentityFile,
    /// What the log will hold when all that was asked for so far is on the platter.
    testimony: Testimony,
    witness: Witness,
    /// When the latest note has to be on the platter.
    witness_due: Option<Instant>,
    remove_some: RemoveSome,
    flushes: Arc<Flushes>,
}

impl Thread {
    /// Works until the last handle is gone. After an error nothing is known about what is on the disk.
    fn run(&mut self, queue: &Receiver<Work>) -> io::Result<()> {
        let mut purge: Option<u64> = None;
        loop {
            let next = match (purge, self.witness_due) {
                (Some(_), _) => queue.recv_timeout(Duration::ZERO),
                (None, Some(due)) => queue.recv_timeout(due.saturating_duration_since(now())),
                (None, None) => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(first) => {
                    let group = std::iter::once(first)
                        .chain(queue.try_iter().take(QUEUE))
                        .collect();
                    purge = purge.max(self.flush(group)?);
                }
                // What is left to remove is removed at the next start.
                Err(RecvTimeoutError::Disconnected) => return self.witness.sync(),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(index) = purge
                        && (self.remove_some)(index)?
                    {
                        purge = None;
                    }
                }
            }
            if self.witness_due.is_some_and(|due| due <= now()) {
                self.witness.sync()?;
                self.witness_due = None;
            }
        }
    }

    /// Flushes once for all of `group`, then answers; gives the highest index to purge.
    fn flush(&mut self, group: Vec<Work>) -> io::Result<Option<u64>> {
        let mut writes = 0;
        let mut is_witness_urgent = false;
        for work in &group {
            match work {
                Work::Appended(last, _) => self.testimony.last = last.or(self.testimony.last),
                Work::Voted(vote, _) => self.testimony.vote = Some(*vote),
                Work::Truncate(last, _) => self.testimony.last = *last,
                Work::Truncated(_) => {}
                Work::Purge(last) => self.testimony.last = self.testimony.last.max(Some(*last)),
            }
            writes += u64::from(!matches!(work, Work::Purge(_)));
            is_witness_urgent |= matches!(work, Work::Voted(..) | Work::Truncate(..));
        }
        if writes > 0 {
            self.files.sync()?;
            self.identity.note_data()?;
            self.note(is_witness_urgent)?;
            self.flushes.flushes.fetch_add(1, Relaxed);
            self.flushes.writes.fetch_add(writes, Relaxed);
        }
        let mut purge = None;
        for work in group {
            match work {
                Work::Appended(_, flushed) => flushed.io_completed(Ok(())),
                // Who asked may have gone; the write is on the platter all the same.
                Work::Voted(_, done) | Work::Truncate(_, done) | Work::Truncated(done) => {
                    let _ = done.send(());
                }
                Work::Purge(last) => purge = purge.max(Some(last.index)),
            }
        }
        Ok(purge)
    }

    /// Notes what has just been flushed, before anybody is told of it.
    fn note(&mut self, is_urgent: bool) -> io::Result<()> {
        self.witness.note(self.testimony)?;
        if is_urgent {
            self.witness.sync()?;
        }
        self.witness_due = match self.witness.is_synced() {
            true => None,
            false => self.witness_due.or_else(|| Some(now() + witness::LAG)),
        };
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread that paces its own flushes; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

fn die(error: &io::Error) -> ! {
    tracing::error!(target: LAST_WORDS, %error, "the log cannot be flushed; what is on the disk is unknown; the process ends");
    process::abort()
}

#[cfg(test)]
mod tests {
    use openraft::type_config::TypeConfigExt;

    use super::*;
    use crate::GroupId;

    /// A vote given twice makes two leaders, and what is to be removed must not be missed after a power cut: both are
    /// noted on the platter at once. Entries may wait for a moment, so that they cost one flush and not two.
    #[test]
    fn the_witness_is_flushed_at_once_where_it_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let witness = Witness::open(folder, false).unwrap();
        let mut thread = Thread {
            files: SledFiles::open(&folder.join("log")).unwrap(),
            identity: IdentityFile::open(folder, GroupId::from_bytes([1; 16]), 0, 1).unwrap(),
            testimony: witness.testimony(),
            witness,
            witness_due: None,
            remove_some: Box::new(|_| Ok(true)),
            flushes: Arc::default(),
        };
        let vote = Vote::new(1, 1);
        let leader = openraft::vote::leader_id_adv::LeaderId {
            term: 1,
            node_id: 1,
        };
        let last = LogId::new(leader, 7);
        let flushed = || IOFlushed::signal(TypeConfig::oneshot().0);
        let answer = || oneshot::channel().0;

        thread.flush(vec![Work::Voted(vote, answer())]).unwrap();
        assert_eq!(thread.witness.testimony().vote, Some(vote));
        assert!(thread.witness.is_synced() && thread.witness_due.is_none());

        thread
            .flush(vec![Work::Appended(Some(last), flushed())])
            .unwrap();
        assert_eq!(thread.witness.testimony().last, Some(last));
        assert!(!thread.witness.is_synced() && thread.witness_due.is_some());

        thread.flush(vec![Work::Truncate(None, answer())]).unwrap();
        assert_eq!(thread.witness.testimony().last, None);
        assert!(thread.witness.is_synced() && thread.witness_due.is_none());

        // The mark of a purge is not flushed by itself, so the witness does not yet count on it.
        thread.flush(vec![Work::Purge(last)]).unwrap();
        assert_eq!(thread.witness.testimony().last, None);
        thread.flush(vec![Work::Voted(vote, answer())]).unwrap();
        assert_eq!(thread.witness.testimony().last, Some(last));
    }
}
