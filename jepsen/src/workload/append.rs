//! List-append: serializable transactions of one to four appends and reads on a few hot keys that move on
//! every few seconds; in the end every key is read, because a loss that nobody could see is no proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{self, Moment};
use crate::history::{MicroOperation, Operation, Recorder};
use crate::random::Random;
use crate::session::{Session, Target};

use super::client::{Client, Done, Habit, Names, Way, on_primary};
use super::sql::{self, Trouble, TroubleKind};
use super::{Pace, Values, WorkloadError};

const ROTATE_EVERY: Duration = Duration::from_secs(3);
/// Written by the final reads alone.
const FINAL_KEY: i64 = -1;

/// The keys in use, shared by all clients of a run.
#[derive(Debug, Clone)]
pub struct Keys {
    began: Moment,
    hot: i64,
    /// The first key that was not used yet.
    end: Arc<AtomicI64>,
}

impl Keys {
    /// So many hot keys at a time, from now on.
    pub fn new(hot: u8) -> Keys {
        Keys {
            began: clock::now(),
            hot: i64::from(hot.max(1)),
            end: Arc::default(),
        }
    }

    fn choose(&self, random: &mut Random, now: Moment) -> i64 {
        // One hot key at a time makes room for a new one.
        let turns = now.since(self.began).as_millis() / ROTATE_EVERY.as_millis();
        let first = i64::try_from(turns).unwrap_or(i64::MAX / 2);
        let chosen = random.below(self.hot.unsigned_abs());
        let key = first + i64::try_from(chosen).unwrap_or(0);
        self.end.fetch_max(key + 1, Ordering::Relaxed);
        key
    }

    fn all(&self) -> std::ops::Range<i64> {
        0..self.end.load(Ordering::Relaxed)
    }
}

/// Creates an empty table.
///
/// # Errors
/// No primary does so in time.
pub async fn prepare(targets: &[Target]) -> Result<(), WorkloadError> {
    on_primary(targets, "create the lists", async |_, session| {
        let create = "DROP TABLE IF EXISTS jepsen_append;
             CREATE TABLE jepsen_append (key bigint PRIMARY KEY, list bigint[] NOT NULL)";
        sql::run(session, create).await
    })
    .await
}

/// One client. Its choices follow from `seed` and the time.
///
/// # Errors
/// The history cannot be written.
pub async fn run(
    targets: Vec<Target>,
    habit: Habit,
    (keys, values): (Keys, Values),
    seed: u64,
    recorder: &Recorder,
    pace: Pace,
) -> Result<(), WorkloadError> {
    let names = Names::new(&targets);
    let client = Client::new(Way::Primary(targets), habit);
    let mut random = Random::new(seed);
    let next = || {
        let count = 1 + random.below(4);
        let now = clock::now();
        let micro = (0..count).map(|_| {
            let key = keys.choose(&mut random, now);
            if random.one_in(2) {
                MicroOperation::Read { key, list: None }
            } else {
                let element = values.next();
                MicroOperation::Append { key, element }
            }
        });
        Operation::Transaction(micro.collect())
    };
    let perform =
        async |session: &Session, operation: &Operation| perform(session, operation, &names).await;
    client
        .work(recorder.client("append")?, pace, next, perform)
        .await
}

/// Reads every key that was used, each in a transaction that also writes to a key of its own: only what is
/// committed proves that it read from the primary.
///
/// # Errors
/// No primary answers in time, or the history cannot be written.
pub async fn read(
    targets: &[Target],
    (keys, values): (&Keys, &Values),
    recorder: &Recorder,
) -> Result<(), WorkloadError> {
    const WHAT: &str = "read the lists";
    let mut log = recorder.client("append-read")?;
    let names = Names::new(targets);
    let mut client = Client::new(Way::Primary(targets.to_vec()), Habit::Rediscover);
    let perform =
        async |session: &Session, operation: &Operation| perform(session, operation, &names).await;
    let read = |key| MicroOperation::Read { key, list: None };
    for key in keys.all() {
        let next = || {
            let mark = MicroOperation::Append {
                key: FINAL_KEY,
                element: values.next(),
            };
            Operation::Transaction(vec![mark, read(key)])
        };
        client.insist(&mut log, WHAT, next, &perform).await?;
    }
    let last = || Operation::Transaction(vec![read(FINAL_KEY)]);
    client.insist(&mut log, WHAT, last, &perform).await
}

async fn perform(session: &Session, operation: &Operation, names: &Names) -> Result<Done, Trouble> {
    let Operation::Transaction(micro) = operation else {
        return Err(Trouble::new(TroubleKind::Refused, "not a transaction"));
    };
    sql::transaction(session, async {
        let mut done = vec![];
        for micro in micro {
            done.push(one(session, micro).await?);
        }
        let answerer = match operation.is_write() {
            true => sql::ask_answerer(session, names).await?,
            false => None,
        };
        Ok((Operation::Transaction(done), answerer))
    })
    .await
}

async fn one(session: &Session, micro: &MicroOperation) -> Result<MicroOperation, Trouble> {
    match micro {
        MicroOperation::Append { key, element } => {
            let append = "INSERT INTO jepsen_append (key, list) VALUES ($1, ARRAY[$2]) \
                 ON CONFLICT (key) DO UPDATE SET list = jepsen_append.list || $2";
            sql::rows(session, append, &sql::numbers([key, element])).await?;
            Ok(micro.clone())
        }
        MicroOperation::Read { key, .. } => {
            let read = "SELECT list FROM jepsen_append WHERE key = $1";
            let rows = sql::rows(session, read, &sql::numbers([key])).await?;
            let list = rows.first().map(|row| sql::column(row, 0));
            Ok(MicroOperation::Read {
                key: *key,
                list: Some(list.transpose()?.unwrap_or_default()),
            })
        }
    }
}
