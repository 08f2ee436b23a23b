//! The writers: a client that follows the primary, and a prober that tries to write on every node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::clock;
use crate::history::acknowledgement::{Acknowledgement, Recorder, Writer};
use crate::session::{self, Inserted, Session, Target};

const CLIENT_EVERY: Duration = Duration::from_millis(5);
const PROBER_EVERY: Duration = Duration::from_millis(20);
/// Then the client drops its connection and looks for a primary again.
const STATEMENT_WITHIN: Duration = Duration::from_secs(1);
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);
/// How long tables may take to be created, and rows to be read.
pub const PREPARED_WITHIN: Duration = Duration::from_secs(20);
/// Ids of the prober on one node; the nodes' ranges never meet.
pub const IDS_OF_A_NODE: i64 = 1 << 40;

/// Whether the prober takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// On every node.
    On,
    /// Only the client writes.
    Off,
}

/// Running writers. They end with it.
#[derive(Debug)]
pub struct Load {
    /// What was acknowledged so far.
    pub recorder: Recorder,
    targets: Vec<Target>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// The rows found in the end.
#[derive(Debug, Default)]
pub struct Rows {
    /// Those of the client.
    pub client: Vec<i64>,
    /// Those of the prober.
    pub prober: Vec<i64>,
}

impl Rows {
    /// Those of one writer.
    pub fn of(&self, writer: Writer) -> &[i64] {
        match writer {
            Writer::Client => &self.client,
            Writer::Prober => &self.prober,
        }
    }
}

impl Load {
    /// Creates empty tables and starts the writers.
    ///
    /// # Errors
    /// No primary creates the tables within 20 s.
    pub async fn start(targets: Vec<Target>, probing: Probing) -> anyhow::Result<Load> {
        timeout(PREPARED_WITHIN, create_tables(&targets))
            .await
            .context("no primary creates the tables in time")??;
        let recorder = Recorder::default();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(until(
            stopped.clone(),
            write(targets.clone(), recorder.clone()),
        ));
        if probing == Probing::On {
            for (number, target) in (1..).zip(&targets) {
                let first = number * IDS_OF_A_NODE;
                let probe = probe(target.clone(), first, recorder.clone());
                tasks.spawn(until(stopped.clone(), probe));
            }
        }
        Ok(Load {
            recorder,
            targets,
            stop,
            tasks,
        })
    }

    /// Ends the writers and reads all rows from the primary. Statements under way are given up:
    /// their rows were acknowledged to nobody.
    ///
    /// # Errors
    /// No primary answers within 20 s.
    pub async fn finish(mut self) -> anyhow::Result<(Vec<Acknowledgement>, Rows)> {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        let rows = timeout(PREPARED_WITHIN, rows(&self.targets))
            .await
            .context("no primary shows the rows in time")?;
        Ok((self.recorder.all(), rows))
    }
}

/// Works until told to stop.
pub async fn until(mut stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = work => {}
    }
}

/// Creates empty tables, on whoever is primary; tried until one is.
///
/// # Errors
/// The primary refuses.
pub async fn create_tables(targets: &[Target]) -> anyhow::Result<()> {
    let (_, session) = loop {
        match session::primary(targets).await {
            Ok(found) => break found,
            Err(_) => sleep(BETWEEN_ROUNDS).await,
        }
    };
    session
        .client
        .batch_execute(
            "DROP TABLE IF EXISTS jepsen_client, jepsen_prober;
             CREATE TABLE jepsen_client (id bigint);
             CREATE TABLE jepsen_prober (id bigint);",
        )
        .await
        .context("create the tables")
}

/// All rows, from the primary; tried until it answers.
pub async fn rows(targets: &[Target]) -> Rows {
    loop {
        if let Ok((_, session)) = session::primary(targets).await
            && let Ok(client) = column(&session, "jepsen_client").await
            && let Ok(prober) = column(&session, "jepsen_prober").await
        {
            return Rows { client, prober };
        }
        sleep(BETWEEN_ROUNDS).await;
    }
}

async fn column(session: &Session, table: &str) -> Result<Vec<i64>, tokio_postgres::Error> {
    let found = session
        .client
        .query(&format!("SELECT id FROM {table}"), &[])
        .await?;
    found.iter().map(|row| row.try_get(0)).collect()
}

/// The client: one insert every 5 ms, on whichever node is writable.
pub async fn write(targets: Vec<Target>, recorder: Recorder) {
    let mut id = 0;
    loop {
        if let Ok((node, session)) = session::primary(&targets).await {
            write_to(&node, &session, &mut id, &recorder).await;
        } else {
            sleep(BETWEEN_ROUNDS).await;
        }
    }
}

/// Writes until something goes wrong.
async fn write_to(node: &Arc<str>, session: &Session, id: &mut i64, recorder: &Recorder) {
    let prepare = session
        .client
        .prepare("INSERT INTO jepsen_client (id) VALUES ($1)");
    let Ok(Ok(statement)) = timeout(STATEMENT_WITHIN, prepare).await else {
        return;
    };
    let mut ticks = interval(CLIENT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        *id += 1;
        let sent = clock::now();
        let insert = session.insert(&statement, *id);
        match timeout(STATEMENT_WITHIN, insert).await {
            Ok(Ok(Inserted::Acknowledged)) => recorder.add(Acknowledgement {
                writer: Writer::Client,
                node: Arc::clone(node),
                id: *id,
                sent,
                at: clock::now(),
            }),
            Ok(Ok(Inserted::Doubtful)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// The prober on one node: one attempt every 20 ms over a session that stays open. It has no deadline:
/// a statement under way on a frozen node stays under way, the worst case for a stale primary.
pub async fn probe(target: Target, first: i64, recorder: Recorder) {
    let mut ticks = interval(PROBER_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut id = first;
    loop {
        ticks.tick().await;
        let Ok(session) = Session::open(&target).await else {
            continue;
        };
        let Ok(statement) = session
            .client
            .prepare("INSERT INTO jepsen_prober (id) VALUES ($1)")
            .await
        else {
            continue;
        };
        // A standby refuses and the session stays open; only a lost connection ends it.
        while !session.client.is_closed() {
            ticks.tick().await;
            id += 1;
            let sent = clock::now();
            if let Ok(Inserted::Acknowledged) = session.insert(&statement, id).await {
                recorder.add(Acknowledgement {
                    writer: Writer::Prober,
                    node: Arc::clone(&target.node),
                    id,
                    sent,
                    at: clock::now(),
                });
            }
        }
    }
}
