//! The one thread that puts the log on the platter.
//!
//! Whoever writes to the log then waits here, and everybody who waits when the thread is free shares one flush: a
//! slow disk means larger groups, not a longer queue. Waiters are answered in the order in which they came. A flush
//! that fails ends the process: the kernel may have dropped the pages, so nothing that follows could be trusted.
//!
//! Dropping purged entries is the work of idle moments, in small bites, so that nobody waits for it.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use openraft::storage::IOFlushed;
use tokio::sync::{oneshot, watch};

use crate::{identity::IdentityFile, sled_files::SledFiles, types::TypeConfig};

/// Waiters that fit in the queue. A full queue blocks who comes next until the disk has caught up.
const QUEUE: usize = 1024;

/// What the writer is asked for.
enum Work {
    /// Entries were written.
    Appended(IOFlushed<TypeConfig>),
    /// Something else was written.
    Written(oneshot::Sender<()>),
    /// Entries at or below this index are no longer needed.
    Purge(u64),
}

/// How often the writer has flushed, and for how many writes.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    pub(crate) flushes: AtomicU64,
    pub(crate) writes: AtomicU64,
}

/// Removes a bite of the entries at or below an index; true when none is left.
pub(crate) type RemoveSome = Box<dyn FnMut(u64) -> io::Result<bool> + Send>;

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
        remove_some: RemoveSome,
    ) -> io::Result<(Self, watch::Receiver<()>)> {
        let (queue, work) = sync_channel(QUEUE);
        let (ended, closed) = watch::channel(());
        let flushes = Arc::new(Flushes::default());
        let thread = Thread {
            files,
            identity,
            remove_some,
            flushes: flushes.clone(),
        };
        thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || {
                thread.run(&work);
                drop(ended);
            })?;
        Ok((Self { queue, flushes }, closed))
    }

    /// Completes `flushed` when all written so far is on the platter.
    pub(crate) fn flush_then(&self, flushed: IOFlushed<TypeConfig>) -> io::Result<()> {
        self.send(Work::Appended(flushed))
    }

    /// Returns when all written so far is on the platter. Dropping the future loses only the answer.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.send(Work::Written(done))?;
        answer.await.map_err(|_| ended())
    }

    /// Lets the entries at or below `index` go when there is time.
    pub(crate) fn purge(&self, index: u64) -> io::Result<()> {
        self.send(Work::Purge(index))
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
    remove_some: RemoveSome,
    flushes: Arc<Flushes>,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Work>) {
        let mut purge: Option<u64> = None;
        loop {
            let next = match purge {
                None => queue.recv().map_err(|_| TryRecvError::Disconnected),
                Some(_) => queue.try_recv(),
            };
            match next {
                Ok(first) => {
                    let group = std::iter::once(first)
                        .chain(queue.try_iter().take(QUEUE))
                        .collect();
                    purge = purge.max(self.flush(group));
                }
                // What is left to remove is removed at the next start.
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    let index = purge.expect("without work to do the queue is waited for");
                    if (self.remove_some)(index).unwrap_or_else(|error| die(&error)) {
                        purge = None;
                    }
                }
            }
        }
    }

    /// Flushes once for all of `group`, then answers; gives the highest index to purge.
    fn flush(&mut self, group: Vec<Work>) -> Option<u64> {
        let writes = group
            .iter()
            .filter(|work| !matches!(work, Work::Purge(_)))
            .count();
        if writes > 0 {
            let flushed = self.files.sync().and_then(|()| self.identity.note_data());
            flushed.unwrap_or_else(|error| die(&error));
            self.flushes.flushes.fetch_add(1, Relaxed);
            self.flushes.writes.fetch_add(writes as u64, Relaxed);
        }
        let mut purge = None;
        for work in group {
            match work {
                Work::Appended(flushed) => flushed.io_completed(Ok(())),
                // Who asked may have gone; the write is on the platter all the same.
                Work::Written(done) => drop(done.send(())),
                Work::Purge(index) => purge = purge.max(Some(index)),
            }
        }
        purge
    }
}

fn die(error: &io::Error) -> ! {
    tracing::error!(%error, "the log cannot be flushed; what is on the disk is unknown; the process ends");
    process::abort()
}
