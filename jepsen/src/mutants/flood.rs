//! A client that never lets its server wait: so many statements are under way on one session that the backend always
//! finds the next one in its buffer.
//!
//! A backend learns that its postmaster is dead only when it waits. This is the session that goes on acknowledging
//! when somebody kills the postmaster alone.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::types::Type;

use jepsen::history::{ClientLog, Event, History, Operation, Process, Recorder};
use jepsen::session::{Session, Target, primary};
use jepsen::workload::Values;
use jepsen::workload::client::Names;
use jepsen::workload::sql::{self, ANSWERER};

use crate::net::namespace::{Namespace, in_namespace, joined};

/// Statements under way at a time.
const LANES: usize = 64;
/// Makes each statement long enough for the client to keep ahead.
const WORK: &str = "(SELECT count(*) FROM generate_series(1, 5000))";
/// Above the numbers of all other clients of a round.
const FIRST_PROCESS: u64 = 1_000_000;

/// A flood under way. Dropping it ends it.
#[derive(Debug)]
pub struct Flood {
    recorder: Recorder,
    stop: watch::Sender<bool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Flood {
    /// Floods whoever is primary now, from a host; ends with its session.
    ///
    /// # Errors
    /// The folder cannot be written, or the system has no thread left.
    pub fn start(
        namespace: &Namespace,
        targets: Vec<Target>,
        folder: &Path,
    ) -> anyhow::Result<Flood> {
        let recorder = Recorder::create(folder)?;
        let (stop, stopped) = watch::channel(false);
        let own = recorder.clone();
        let thread = in_namespace(namespace, move || flood(targets, own, stopped))?;
        Ok(Flood {
            recorder,
            stop,
            thread,
        })
    }

    /// Ends it; answers the history with what the flood saw.
    ///
    /// # Errors
    /// It could not begin, or its logs cannot be read.
    pub fn join(self, history: &History) -> anyhow::Result<History> {
        let _ = self.stop.send(true);
        joined(self.thread).context("flood the primary")?;
        let own = self.recorder.history()?;
        let own = own.events().iter().map(renumbered).collect();
        Ok(History::merge([history.events().to_vec(), own]))
    }
}

fn renumbered(event: &Event) -> Event {
    let process = match &event.process {
        Process::Client(number) => Process::Client(FIRST_PROCESS + number),
        Process::Named(name) => Process::Named(name.clone()),
    };
    Event {
        process,
        ..event.clone()
    }
}

async fn flood(
    targets: Vec<Target>,
    recorder: Recorder,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let (_, session) = primary(&targets).await?;
    let create = "DROP TABLE IF EXISTS jepsen_flood; CREATE TABLE jepsen_flood (value bigint)";
    session.client.batch_execute(create).await?;
    let (session, names) = (Arc::new(session), Arc::new(Names::new(&targets)));
    let values = Values::default();
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let lane = Lane {
            session: Arc::clone(&session),
            names: Arc::clone(&names),
            values: values.clone(),
            stopped: stopped.clone(),
        };
        lanes.spawn(lane.run(recorder.client("flood")?));
    }
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    Ok(())
}

/// One statement after the other, beside many more on the same session.
struct Lane {
    session: Arc<Session>,
    names: Arc<Names>,
    values: Values,
    stopped: watch::Receiver<bool>,
}

impl Lane {
    async fn run(self, mut log: ClientLog) -> anyhow::Result<()> {
        let insert =
            format!("INSERT INTO jepsen_flood SELECT $1 + 0 * {WORK} RETURNING {ANSWERER}");
        while !*self.stopped.borrow() && !self.session.client.is_closed() {
            let value = self.values.next();
            let mut pending = log.invoke(Operation::Probe(value))?;
            let done = sql::rows(&self.session, &insert, &[(&value, Type::INT8)]).await;
            let answerer = done.and_then(|rows| match rows.first() {
                Some(row) => sql::answerer(row, 0, &self.names).map(Some),
                None => Ok(None),
            });
            match answerer {
                Ok(answerer) => {
                    if let Some(answerer) = answerer {
                        pending.answered_by(answerer);
                    }
                    pending.ok(Operation::Probe(value))?;
                }
                Err(trouble) => pending.info(trouble.why)?,
            }
        }
        Ok(())
    }
}
