//! Tries a raw commit on one node, again and again: over a session that stays open, or over a new one each
//! time. Only the primary may acknowledge it.

use crate::history::{Operation, Recorder};
use crate::session::{Session, Target};

use super::client::{Client, Done, Habit, Names, Way, on_primary};
use super::sql::{self, Trouble, TroubleKind};
use super::{Pace, Values, WorkloadError};

/// Creates an empty table.
///
/// # Errors
/// No primary does so in time.
pub async fn prepare(targets: &[Target]) -> Result<(), WorkloadError> {
    on_primary(targets, "create the probe", async |_, session| {
        let create = "DROP TABLE IF EXISTS jepsen_probe; CREATE TABLE jepsen_probe (value bigint)";
        sql::run(session, create).await
    })
    .await
}

/// One prober of one node: run it with [`Habit::Keep`] and with [`Habit::Fresh`] on every node, every 200 ms.
///
/// # Errors
/// The history cannot be written.
pub async fn run(
    target: Target,
    habit: Habit,
    values: Values,
    recorder: &Recorder,
    pace: Pace,
) -> Result<(), WorkloadError> {
    let names = Names::new(std::slice::from_ref(&target));
    let client = Client::new(Way::Node(Box::new(target)), habit);
    let next = || Operation::Probe(values.next());
    let perform = async |session: &Session, operation: &Operation| -> Result<Done, Trouble> {
        let Operation::Probe(value) = operation else {
            return Err(Trouble::new(TroubleKind::Refused, "not a probe"));
        };
        let answerer = sql::insert(session, "jepsen_probe", *value, &names).await?;
        Ok((operation.clone(), answerer))
    };
    client
        .work(recorder.client("probe")?, pace, next, perform)
        .await
}
