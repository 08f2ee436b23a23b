//! One act of a duty, carried out. Each is idempotent and bounded; what is long (a clone, a rewind)
//! may be dropped at any moment, which kills its programs. A change of files goes on by itself when it is
//! dropped, and the next one waits for its turn. Everything else is run to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::chain;
use super::hands::Hands;
use super::leash::LeashKeeper;
use super::observe::blocking;
use super::turns::Turns;
use crate::duty::{Act, Local, Outcome};
use crate::gate::Admission;
use crate::provider::{DatabaseProvider, Postgres};
use crate::recovery::{Evidence, Promise};

/// What an act needs.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Processes and files.
    pub hands: Arc<Hands>,
    /// SQL.
    pub provider: Arc<Postgres>,
    /// The leash.
    pub leash: LeashKeeper,
    /// Changes of files, in their order.
    pub turns: Arc<Turns>,
}

/// Whether nobody has to wait for an act when a newer command comes: long work that is killed, and files that
/// change one after another.
pub fn is_droppable(act: &Act) -> bool {
    match act {
        Act::Clone { .. } | Act::Rewind { .. } | Act::Initialise { .. } | Act::Look => true,
        Act::EmptySources
        | Act::PointAt { .. }
        | Act::ConfigurePrimary { .. }
        | Act::Plant { .. }
        | Act::Settle { .. } => true,
        Act::StopAll
        | Act::PauseReplay
        | Act::ResumeReplay
        | Act::TerminateReceivers
        | Act::ScanThenPromise
        | Act::Renew
        | Act::StartStandby { .. }
        | Act::AskPromotion
        | Act::Finish(_) => false,
    }
}

/// Whether processes without a postmaster or without a lease are the act's own.
pub fn runs_processes(act: &Act) -> bool {
    matches!(
        act,
        Act::Clone { .. }
            | Act::Rewind { .. }
            | Act::Initialise { .. }
            | Act::Settle { .. }
            | Act::StartStandby { .. }
    )
}

/// How long an act may wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For PostgreSQL's answer.
    pub sql: Duration,
    /// For small files of the data folder.
    pub files: Duration,
    /// For the scan of the WAL since the last checkpoint.
    pub scan: Duration,
}

/// Carries out an act that was decided on `local`. An outcome ends the duty.
/// Errors: in words for the operator.
pub async fn perform(
    tools: &Tools,
    by: Arc<Admission>,
    act: &Act,
    local: &Local,
    within: Patience,
) -> Result<Option<Outcome>, String> {
    let hands = &tools.hands;
    let files = (hands, &tools.turns);
    let provider = &tools.provider;
    let host = |error: crate::host::Error| chain(&error);
    let sql = |error: crate::provider::ProviderError| chain(&error);
    match act.clone() {
        Act::StopAll => hands.stop_all().await.map_err(host)?,
        Act::EmptySources => {
            on_disk(files, within.files, move |hands| {
                hands.configure(&by, None, None)
            })
            .await?;
        }
        Act::PauseReplay => provider.pause_replay(&by, within.sql).await.map_err(sql)?,
        Act::ResumeReplay => provider.resume_replay(&by, within.sql).await.map_err(sql)?,
        Act::TerminateReceivers => {
            let hands = Arc::clone(hands);
            blocking(move || hands.end_receivers(&by))
                .await
                .map_err(host)?;
        }
        Act::ScanThenPromise => return Ok(Some(promise(hands, local, within.scan).await)),
        Act::Plant { below } => {
            on_disk(files, within.files, move |hands| hands.plant(&by, below)).await?
        }
        Act::ConfigurePrimary {
            synchronous_standby_names: names,
            ..
        } => {
            on_disk(files, within.files, move |hands| {
                hands.configure(&by, None, Some(&names))
            })
            .await?;
        }
        Act::StartStandby { source } => {
            if local.lease.is_none() {
                // Or the end of an old lease would kill the standby.
                tools.leash.disarm().await?;
            }
            let ordered = Arc::clone(&by);
            let prepare = move |hands: &Hands| hands.prepare_standby(&ordered, source.as_ref());
            on_disk(files, within.files, prepare).await?;
            hands.start(&by).await.map_err(host)?;
        }
        Act::PointAt { source } => {
            on_disk(files, within.files, move |hands| {
                hands.configure(&by, Some(&source), None)
            })
            .await?;
        }
        // That a promotion was asked for is on disk by now.
        Act::AskPromotion => provider.promote(&by, within.sql).await.map_err(sql)?,
        Act::Initialise { incarnation } => {
            hands.initialise(&by, incarnation).await.map_err(host)?
        }
        Act::Rewind { source } => hands.rewind(&by, &source).await.map_err(host)?,
        Act::Clone { source } => hands.clone_source(&by, &source).await.map_err(host)?,
        Act::Settle {
            incarnation,
            source,
        } => {
            on_disk(files, within.files, move |hands| {
                hands.settle(&by, incarnation, &source)
            })
            .await?
        }
        // The worker's own.
        Act::Look | Act::Renew | Act::Finish(_) => {}
    }
    Ok(None)
}

/// Work on files goes on when nobody waits for it any more; see [`Turns`].
async fn on_disk(
    (hands, turns): (&Arc<Hands>, &Arc<Turns>),
    within: Duration,
    work: impl FnOnce(&Hands) -> crate::host::Result<()> + Send + 'static,
) -> Result<(), String> {
    let hands = Arc::clone(hands);
    let turns = Arc::clone(turns);
    let number = turns.begin();
    let change = move || turns.take(number, || work(&hands));
    let done = timeout(within, blocking(change)).await;
    match done.map_err(|_| no_answer(within))? {
        Some(done) => done.map_err(|error| chain(&error)),
        None => Err("a newer change of files took its place".to_owned()),
    }
}

fn no_answer(within: Duration) -> String {
    format!(
        "the disk of the data folder did not answer for {} ms",
        within.as_millis()
    )
}

/// What cannot be scanned in time is fenced but does not count.
async fn promise(hands: &Arc<Hands>, local: &Local, within: Duration) -> Outcome {
    let session = local.session.clone();
    let running = local.is_running;
    let scanner = Arc::clone(hands);
    let scanned = timeout(within, blocking(move || scanner.position(session.as_ref())));
    let position = scanned.await.unwrap_or_else(|_| {
        tracing::warn!(instance = %hands.instance(), "{}", no_answer(within));
        None
    });
    Outcome::Evidence(Evidence::Promised {
        instance: hands.instance().clone(),
        promise: Promise {
            incarnation: local.incarnation(),
            position,
            running,
        },
    })
}
