//! Logs go to stderr; `RUST_LOG` says how much.
//!
//! Nobody need read them. One thread writes the lines, and those that it cannot write yet wait in a short
//! queue; once that is full, further ones are lost and counted. So neither a closed pipe nor a reader that
//! hangs stops a lease from being renewed: a lost log line is no reason to lose the database. Only the last words of a
//! peer that ends itself ([`raft::LAST_WORDS`]) are waited for.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written: some hundred kB at most. When full, further ones are lost.
const QUEUE: usize = 1024;
/// How long the end of the process waits for its last lines; a reader that hangs would have it wait for ever.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(500);

/// What is logged where `RUST_LOG` does not say. openraft warns of every heartbeat that a dead peer does not answer.
const DEFAULT: &str = "info,openraft=error";

enum Entry {
    Line(Vec<u8>),
    /// Everything before it was written.
    Mark(SyncSender<()>),
}

/// The log of this process. Dropping it waits a moment for its last lines.
#[must_use]
pub struct Log {
    queue: SyncSender<Entry>,
}

/// Where events are written to.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// Where one event is written to.
struct Line {
    to: Lines,
    /// How long it is waited for until it is written.
    patience: Option<Duration>,
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line {
            to: self.clone(),
            patience: None,
        }
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> Line {
        Line {
            to: self.clone(),
            patience: (event.target() == raft::LAST_WORDS).then_some(LAST_LINES_WITHIN),
        }
    }
}

impl Write for Line {
    /// An event comes whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Lines { queue, lost } = &self.to;
        if let Err(TrySendError::Full(_)) = queue.try_send(Entry::Line(line.to_vec())) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(patience) = self.patience {
            wait_until_written(queue, patience);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        wait_until_written(&self.queue, LAST_LINES_WITHIN);
    }
}

fn wait_until_written(queue: &SyncSender<Entry>, patience: Duration) {
    let (sender, written) = sync_channel(1);
    // A full queue has no reader.
    if queue.try_send(Entry::Mark(sender)).is_ok() {
        let _ = written.recv_timeout(patience);
    }
}

/// Installs the log writer. `RUST_LOG` says what is logged; without it, everything that changes a state.
pub fn start() -> Log {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let (queue, entries) = sync_channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let log = Log {
        queue: queue.clone(),
    };
    let counted = lost.clone();
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_all(&mut io::stderr(), &entries, &counted))
        .expect("a process that starts can start a thread");
    // A second start, in a test, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines { queue, lost })
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    log
}

/// Writes what comes until nobody is left who could send. What cannot be written is lost.
fn write_all(to: &mut impl Write, entries: &Receiver<Entry>, lost: &AtomicU64) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let _ = to.write_all(&line);
            }
            Entry::Mark(written) => {
                let _ = written.send(());
            }
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(
                to,
                "{missing} log lines were lost: nobody read them in time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_lines_and_says_so() {
        let (queue, entries) = sync_channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Lines {
            queue,
            lost: lost.clone(),
        };
        let mut line = lines.make_writer();
        for number in 1..=5 {
            line.write_all(format!("line {number}\n").as_bytes())
                .unwrap();
        }
        drop((line, lines));
        let mut written = Vec::new();
        write_all(&mut written, &entries, &lost);
        let text = String::from_utf8(written).unwrap();
        let expected = "line 1\n3 log lines were lost: nobody read them in time\nline 2\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn last_words_are_written_before_the_process_ends() {
        let (queue, entries) = sync_channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let (reader, writer) = io::pipe().unwrap();
        let log = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            write_all(&mut &writer, &entries, &counted);
        });
        let mut line = Line {
            to: Lines { queue, lost },
            patience: Some(Duration::from_secs(30)),
        };
        line.write_all(b"why\n").unwrap();
        assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), 4);
        drop(line);
        log.join().unwrap();
    }

    #[test]
    fn openraft_tells_errors_alone() {
        let written = Arc::new(std::sync::Mutex::new(Vec::new()));
        struct To(Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for To {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(line);
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let to = written.clone();
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(DEFAULT))
            .with_writer(move || To(to.clone()))
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::warn!(target: "openraft::core::heartbeat::worker", "every 100 ms");
            tracing::error!(target: "openraft::core", "storage failed");
            tracing::info!(target: "primacy", "peer serves");
            tracing::debug!(target: "primacy", "details");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let expected = "ERROR openraft::core: storage failed\n INFO primacy: peer serves\n";
        assert_eq!(text, expected);
    }
}
