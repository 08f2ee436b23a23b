//! One look at the host: processes without SQL, SQL with a deadline, then the data folder.
//!
//! The folder is read after SQL: an instance that was seen out of recovery has written its history file
//! before. A disk that does not answer costs a deadline and leaves the folder as it was last seen; until it
//! answers, later looks do not ask it again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::chain;
use super::hands::{Hands, Processes};
use crate::clock;
use crate::duty::{Data, Local};
use crate::model::{Epoch, Timeline, Timestamp};
use crate::provider::{LocalPostgres, LocalServer, Reading};

/// How long a look waits for the process table; it takes a millisecond or two.
const PROCESSES_WITHIN: Duration = Duration::from_millis(500);
/// How long a look waits for the data disk.
const DISK_WITHIN: Duration = Duration::from_millis(500);
/// How long it waits while nothing runs: the WAL since the last checkpoint is read then.
const SCAN_WITHIN: Duration = Duration::from_secs(60);

/// How to look.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Counts looks; a duty believes only those that began after its last act.
    pub number: u64,
    /// Whether a new session is needed, which alone shows settings in force.
    pub new_session: bool,
    /// How long SQL may take.
    pub sql_within: Duration,
    /// Whether the process table must show who receives WAL, too, as a fence needs it.
    pub counts_receivers: bool,
    /// The Raft group whose data the folder may hold; any without one.
    pub group: Option<String>,
    /// What was seen of the folder before; none to read it again.
    pub data: Option<Data>,
    /// The highest timeline that this postmaster was seen to replay.
    pub timeline: Timeline,
    /// The postmaster that was seen last: it is looked at first.
    pub postmaster: Option<i32>,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// The number of the look.
    pub number: u64,
    /// When it began.
    pub began: Timestamp,
    /// Whether SQL was asked through a new session.
    pub new_session: bool,
    /// The processes.
    pub processes: Processes,
    /// What SQL said; none if it did not answer.
    pub reading: Option<Reading>,
    /// Whether the server says that it takes no sessions yet.
    pub is_starting: bool,
    /// Whether the server said anything at all, a refusal included.
    pub has_answered: bool,
    /// The folder; or why it could not be read.
    pub data: Result<Data, String>,
}

/// Looks once. Takes no longer than the deadlines of processes, of SQL and of the disk.
/// Errors: it could not be seen whether anything runs, so nothing may be concluded.
pub async fn look(
    hands: Arc<Hands>,
    provider: Arc<LocalPostgres>,
    ask: Ask,
) -> Result<Seen, String> {
    let began = clock::boottime();
    let processes = {
        let (table, known) = (Arc::clone(&hands), ask.postmaster);
        let look = move || table.processes(known);
        let looked = hands.table.run(PROCESSES_WITHIN, look).await;
        let looked = looked.map_err(|hung| format!("the process table {hung}"))?;
        looked.map_err(|error| chain(&error))?
    };
    let mut seen = Seen {
        number: ask.number,
        began,
        new_session: ask.new_session,
        processes,
        reading: None,
        is_starting: false,
        has_answered: false,
        data: Err("the data folder was not looked at".to_owned()),
    };
    if seen.processes.postmaster.is_some() {
        let read = if ask.new_session {
            provider.look(ask.sql_within).await
        } else {
            provider.glance(ask.sql_within).await
        };
        match read {
            Ok(mut reading) => {
                if reading.timeline().is_none() {
                    let (folder, startup) = (Arc::clone(&hands), reading.startup_process);
                    let look = move || folder.replayed_timeline(startup);
                    // A disk that does not answer is told below.
                    let replayed = hands.looks.run(DISK_WITHIN, look).await;
                    let replayed = replayed.unwrap_or_default();
                    reading.session.position.timeline = replayed.max(ask.timeline);
                }
                if ask.counts_receivers && reading.session.in_recovery {
                    count_receivers(&hands, seen.processes.postmaster, &mut reading).await?;
                }
                seen.reading = Some(reading);
                seen.has_answered = true;
            }
            Err(error) => {
                seen.has_answered = error.is_answer();
                seen.is_starting = error.is_not_now() || error.nobody_listens();
                tracing::debug!(%error, "no answer over SQL");
            }
        }
    }
    seen.data = match ask.data {
        _ if hands.start_hangs() => {
            Err("a start that was given up has not ended: the data disk hangs".to_owned())
        }
        Some(data) => Ok(data),
        None => {
            let stopped = !seen.processes.is_running;
            let folder = Arc::clone(&hands);
            let read = move || folder.data(stopped, ask.group.as_deref());
            let within = if stopped { SCAN_WITHIN } else { DISK_WITHIN };
            match hands.looks.run(within, read).await {
                Ok(read) => read.map_err(|error| chain(&error)),
                Err(hung) => Err(format!("the data disk {hung}")),
            }
        }
    };
    Ok(seen)
}

/// Counts whoever `pg_stat_activity` or, after it, the process table shows: a receiver is in the table before
/// it is in the view, and a child without a title may become one.
async fn count_receivers(
    hands: &Arc<Hands>,
    postmaster: Option<i32>,
    reading: &mut Reading,
) -> Result<(), String> {
    let Some(postmaster) = postmaster else {
        return Ok(());
    };
    let table = Arc::clone(hands);
    let look = move || table.receivers(postmaster);
    let looked = hands.table.run(PROCESSES_WITHIN, look).await;
    let looked = looked.map_err(|hung| format!("the process table {hung}"))?;
    let mut receivers: BTreeSet<i32> = looked.map_err(|error| chain(&error))?.into_iter().collect();
    receivers.extend(&reading.receiver_processes);
    reading.session.receivers = receivers.len();
    Ok(())
}

impl Seen {
    /// What duties look at.
    pub fn local(
        &self,
        hands: &Hands,
        data: Data,
        lease: Option<Epoch>,
        promotion_asked: bool,
    ) -> Local {
        Local {
            now: clock::boottime(),
            instance: hands.instance().clone(),
            data,
            is_running: self.processes.is_running,
            has_postmaster: self.processes.postmaster.is_some(),
            session: self.reading.as_ref().map(|reading| reading.session.clone()),
            lease,
            is_armed: false,
            promotion_asked,
        }
    }
}

/// Runs blocking work on its own thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}
