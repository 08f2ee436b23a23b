//! Writes what clients do: one log for each, in JSON lines, so that no client waits for another and a
//! crash of the harness leaves what was seen.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{self, Moment};

use super::{
    Answerer, Event, History, Malformed, Operation, Phase, Process, SessionAge, events_of,
    json_line,
};

/// A folder of logs. Cheap to clone; all clones number clients and processes together.
#[derive(Debug, Clone)]
pub struct Recorder {
    folder: PathBuf,
    place: Option<Arc<str>>,
    next: Arc<Next>,
}

/// What one client recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Its workload.
    pub workload: String,
    /// Where it ran; empty if nobody said so.
    pub place: String,
    /// In the order in which they happened.
    pub events: Vec<Event>,
}

#[derive(Debug, Default)]
struct Next {
    log: AtomicU64,
    process: AtomicU64,
}

impl Recorder {
    /// Records into `folder`, which is created and must hold no logs yet.
    ///
    /// # Errors
    /// The folder cannot be created, or holds logs.
    pub fn create(folder: &Path) -> io::Result<Recorder> {
        fs::create_dir_all(folder)?;
        if !logs(folder)?.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the folder holds logs of another run",
            ));
        }
        Ok(Recorder {
            folder: folder.to_owned(),
            place: None,
            next: Arc::default(),
        })
    }

    /// The same recorder for clients at a place, which the names of their logs then tell.
    pub fn at(&self, place: &str) -> Recorder {
        Recorder {
            place: Some(place.into()),
            ..self.clone()
        }
    }

    /// The log of a new client, named after its workload.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn client(&self, workload: &str) -> io::Result<ClientLog> {
        let number = self.next.log.fetch_add(1, Ordering::Relaxed);
        let place = self.place.iter().map(|place| format!("@{place}"));
        let name = format!("{number:03}-{workload}{}.jsonl", place.collect::<String>());
        let file = File::create_new(self.folder.join(name))?;
        Ok(ClientLog {
            file,
            next: Arc::clone(&self.next),
            process: self.next.process.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// All logs as one history.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn history(&self) -> io::Result<History> {
        Recorder::read(&self.folder)
    }

    /// Each log by itself, in the order in which they were begun.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn logs(&self) -> io::Result<Vec<Log>> {
        logs(&self.folder)?.iter().map(|path| log(path)).collect()
    }

    /// How many operations of these workloads were acknowledged so far; clients may go on meanwhile.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn acknowledged(&self, workloads: &[&str]) -> io::Result<usize> {
        let mut count = 0;
        for path in logs(&self.folder)? {
            if workloads.contains(&names(&path).0) {
                // The last line may be half written: it is counted the next time.
                count += fs::read_to_string(&path)?.matches(ACKNOWLEDGED).count();
            }
        }
        Ok(count)
    }

    /// The logs of a folder as one history.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn read(folder: &Path) -> io::Result<History> {
        let logs = logs(folder)?;
        let events = logs.iter().map(|path| log(path).map(|log| log.events));
        Ok(History::merge(events.collect::<io::Result<Vec<_>>>()?))
    }
}

/// What no line but one with an `ok` holds: within a text its quotes would be escaped.
const ACKNOWLEDGED: &str = "\"type\":\"ok\"";

/// The workload and the place in the name of a log.
fn names(path: &Path) -> (&str, &str) {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let name = stem.unwrap_or_default();
    let name = name.split_once('-').map_or(name, |(_, name)| name);
    name.split_once('@').unwrap_or((name, ""))
}

fn log(path: &Path) -> io::Result<Log> {
    let events = events_of(&fs::read_to_string(path)?)
        .map_err(|error: Malformed| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let (workload, place) = names(path);
    Ok(Log {
        workload: workload.to_owned(),
        place: place.to_owned(),
        events,
    })
}

fn logs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "jsonl") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The log of one client. It may be moved to the thread of its client.
#[derive(Debug)]
pub struct ClientLog {
    file: File,
    next: Arc<Next>,
    process: u64,
}

impl ClientLog {
    /// Records that `operation` begins. Whoever drops what it answers leaves the outcome open.
    ///
    /// # Errors
    /// The log cannot be written: the run is worth nothing.
    pub fn invoke(&mut self, operation: Operation) -> io::Result<Pending<'_>> {
        let event = Event {
            index: 0,
            phase: Phase::Invoke,
            process: Process::Client(self.process),
            operation: operation.clone(),
            time: clock::now(),
            answerer: None,
            session: None,
            error: None,
        };
        self.write(&event)?;
        Ok(Pending {
            log: self,
            operation: Some(operation),
            answerer: None,
            session: None,
        })
    }

    /// Records something that is no operation of a client.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn remark(&mut self, by: Process, operation: Operation) -> io::Result<()> {
        self.remark_at(clock::now(), by, operation)
    }

    /// Records something that is known to have been so at `time`.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn remark_at(&mut self, time: Moment, by: Process, operation: Operation) -> io::Result<()> {
        self.write(&Event {
            index: 0,
            phase: Phase::Info,
            process: by,
            operation,
            time,
            answerer: None,
            session: None,
            error: None,
        })
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.file.write_all(json_line(event).as_bytes())
    }

    fn renew_process(&mut self) {
        self.process = self.next.process.fetch_add(1, Ordering::Relaxed);
    }
}

/// An operation under way.
#[derive(Debug)]
#[must_use = "an operation that is not ended is recorded as unknown"]
pub struct Pending<'a> {
    log: &'a mut ClientLog,
    operation: Option<Operation>,
    answerer: Option<Answerer>,
    session: Option<SessionAge>,
}

impl Pending<'_> {
    /// Over which session it runs.
    pub fn over(&mut self, session: SessionAge) {
        self.session = Some(session);
    }

    /// Who answers it.
    pub fn answered_by(&mut self, answerer: Answerer) {
        self.answerer = Some(answerer);
    }

    /// It took effect; `operation` holds what was read.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn ok(mut self, operation: Operation) -> io::Result<()> {
        self.operation = None;
        self.end(Phase::Ok, operation, None)
    }

    /// It took no effect and never will.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn fail(mut self, why: impl Into<String>) -> io::Result<()> {
        match self.operation.take() {
            Some(operation) => self.end(Phase::Fail, operation, Some(why.into())),
            None => Ok(()),
        }
    }

    /// Whether it took effect is not known.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn info(mut self, why: impl Into<String>) -> io::Result<()> {
        self.end_unknown(why.into())
    }

    fn end_unknown(&mut self, why: String) -> io::Result<()> {
        let Some(operation) = self.operation.take() else {
            return Ok(());
        };
        self.end(Phase::Info, operation, Some(why))?;
        self.log.renew_process();
        Ok(())
    }

    fn end(&mut self, phase: Phase, operation: Operation, error: Option<String>) -> io::Result<()> {
        let event = Event {
            index: 0,
            phase,
            process: Process::Client(self.log.process),
            operation,
            time: clock::now(),
            answerer: self.answerer.take(),
            session: self.session,
            error,
        };
        self.log.write(&event)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // If this cannot be written, merging ends the operation as unknown all the same.
        let _ = self.end_unknown("given up".to_owned());
    }
}
