//! Insert-only: unique values into a table without a unique key, so that a value that is written twice is
//! there twice; in the end all of them are read from every node.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::types::Type;

use crate::history::{Answerer, Operation, Recorder};
use crate::session::{Session, Target};

use super::client::{Client, Done, Habit, Names, Way, on_primary};
use super::sql::{self, ANSWERER, Trouble, TroubleKind};
use super::{Pace, Values, WorkloadError};

const CAUGHT_UP_WITHIN: u32 = 1500;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Creates an empty table.
///
/// # Errors
/// No primary does so in time.
pub async fn prepare(targets: &[Target]) -> Result<(), WorkloadError> {
    on_primary(targets, "create the set", async |_, session| {
        let create = "DROP TABLE IF EXISTS jepsen_set; CREATE TABLE jepsen_set (value bigint)";
        sql::run(session, create).await
    })
    .await
}

/// One client.
///
/// # Errors
/// The history cannot be written.
pub async fn run(
    targets: Vec<Target>,
    habit: Habit,
    values: Values,
    recorder: &Recorder,
    pace: Pace,
) -> Result<(), WorkloadError> {
    let names = Names::new(&targets);
    let client = Client::new(Way::Primary(targets), habit);
    let next = || Operation::Add(values.next());
    let perform = async |session: &Session, operation: &Operation| -> Result<Done, Trouble> {
        let Operation::Add(value) = operation else {
            return Err(Trouble::new(TroubleKind::Refused, "not an add"));
        };
        let answerer = sql::insert(session, "jepsen_set", *value, &names).await?;
        Ok((operation.clone(), answerer))
    };
    client
        .work(recorder.client("set")?, pace, next, perform)
        .await
}

/// Reads all values from the primary, then from every other node once it has replayed as much.
///
/// # Errors
/// No primary answers, a node does not catch up or cannot be read in time, or the history cannot be written.
pub async fn read(targets: &[Target], recorder: &Recorder) -> Result<(), WorkloadError> {
    let mut log = recorder.client("set-read")?;
    let names = Names::new(targets);
    let (primary, position) = {
        let mut pending = log.invoke(Operation::Read(None))?;
        let look = async |_: &str, session: &Session| {
            let values = values(session).await?;
            let query = format!("SELECT {ANSWERER}, pg_current_wal_flush_lsn()::text");
            let rows = sql::rows(session, &query, &[]).await?;
            let row = rows
                .first()
                .ok_or_else(|| Trouble::new(TroubleKind::Refused, "no row"))?;
            let answerer = sql::answerer(row, 0, &names)?;
            Ok((values, answerer, sql::column::<String>(row, 2)?))
        };
        let found = on_primary(targets, "read the set", look).await?;
        let (values, answerer, position) = found;
        let primary = answerer.node.clone();
        pending.answered_by(answerer);
        pending.ok(Operation::Read(Some(values)))?;
        (primary, position)
    };
    for target in targets.iter().filter(|target| *target.node != *primary) {
        let late = |last| WorkloadError::Late {
            what: "read the set of a standby",
            last,
        };
        let session = caught_up(target, &position).await.map_err(late)?;
        let mut pending = log.invoke(Operation::Read(None))?;
        pending.answered_by(Answerer {
            node: target.node.to_string(),
            timeline: None,
        });
        match values(&session).await {
            Ok(values) => pending.ok(Operation::Read(Some(values)))?,
            Err(trouble) => {
                pending.fail(&trouble.why)?;
                return Err(late(trouble.why));
            }
        }
    }
    Ok(())
}

async fn values(session: &Session) -> Result<Vec<i64>, Trouble> {
    let rows = sql::rows(session, "SELECT value FROM jepsen_set", &[]).await?;
    rows.iter().map(|row| sql::column(row, 0)).collect()
}

/// A session with a standby that has replayed up to a position.
async fn caught_up(target: &Target, position: &str) -> Result<Session, String> {
    let query = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
    let mut last = String::new();
    for _ in 0..CAUGHT_UP_WITHIN {
        match Session::open(target).await {
            Err(error) => last = format!("{error:#}"),
            Ok(session) => match sql::rows(&session, query, &[(&position, Type::TEXT)]).await {
                Ok(rows) if rows.iter().any(|row| sql::column(row, 0) == Ok(true)) => {
                    return Ok(session);
                }
                Ok(_) => last = format!("{} is not at {position}", target.node),
                Err(trouble) => last = trouble.why,
            },
        }
        sleep(LOOK_EVERY).await;
    }
    Err(last)
}
