//! One act of a duty, carried out. Each is idempotent and bounded; what is long (a clone, a rewind)
//! may be dropped at any moment, which kills its programs. Everything else is run to its end.

use std::sync::Arc;
use std::time::Duration;

use super::chain;
use super::hands::Hands;
use super::leash::LeashKeeper;
use super::observe::blocking;
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
}

/// Whether an act may be dropped in the middle.
pub fn is_droppable(act: &Act) -> bool {
    matches!(
        act,
        Act::Clone { .. } | Act::Rewind { .. } | Act::Initialise { .. } | Act::Look
    )
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

/// Carries out an act that was decided on `local`. An outcome ends the duty.
/// Errors: in words for the operator.
pub async fn perform(
    tools: &Tools,
    by: &Admission,
    act: &Act,
    local: &Local,
    sql_within: Duration,
) -> Result<Option<Outcome>, String> {
    let hands = &tools.hands;
    let provider = &tools.provider;
    let host = |error: crate::host::Error| chain(&error);
    let sql = |error: crate::provider::ProviderError| chain(&error);
    let by = *by;
    match act.clone() {
        Act::StopAll => hands.stop_all().await.map_err(host)?,
        Act::EmptySources => {
            on_disk(hands, move |hands| hands.configure(&by, None, None)).await?;
        }
        Act::PauseReplay => provider.pause_replay(&by, sql_within).await.map_err(sql)?,
        Act::ResumeReplay => provider.resume_replay(&by, sql_within).await.map_err(sql)?,
        Act::TerminateReceivers => on_disk(hands, move |hands| hands.end_receivers(&by)).await?,
        Act::ScanThenPromise => return Ok(Some(promise(hands, local).await)),
        Act::Plant { below } => on_disk(hands, move |hands| hands.plant(&by, below)).await?,
        Act::ConfigurePrimary {
            synchronous_standby_names: names,
            ..
        } => {
            on_disk(hands, move |hands| hands.configure(&by, None, Some(&names))).await?;
        }
        Act::StartStandby { source } => {
            if local.lease.is_none() {
                // Or the end of an old lease would kill the standby.
                tools.leash.disarm().await?;
            }
            let prepare = move |hands: &Hands| hands.prepare_standby(&by, source.as_ref());
            on_disk(hands, prepare).await?;
            hands.start(&by).await.map_err(host)?;
        }
        Act::PointAt { source } => {
            on_disk(hands, move |hands| {
                hands.configure(&by, Some(&source), None)
            })
            .await?;
        }
        // That a promotion was asked for is on disk by now.
        Act::AskPromotion => provider.promote(&by, sql_within).await.map_err(sql)?,
        Act::Initialise { incarnation } => {
            hands.initialise(&by, incarnation).await.map_err(host)?
        }
        Act::Rewind { source } => hands.rewind(&by, &source).await.map_err(host)?,
        Act::Clone { source } => hands.clone_source(&by, &source).await.map_err(host)?,
        Act::Settle {
            incarnation,
            source,
        } => on_disk(hands, move |hands| hands.settle(&by, incarnation, &source)).await?,
        // The worker's own.
        Act::Look | Act::Renew | Act::Finish(_) => {}
    }
    Ok(None)
}

async fn on_disk(
    hands: &Arc<Hands>,
    work: impl FnOnce(&Hands) -> crate::host::Result<()> + Send + 'static,
) -> Result<(), String> {
    let hands = Arc::clone(hands);
    let done = blocking(move || work(&hands)).await;
    done.map_err(|error| chain(&error))
}

async fn promise(hands: &Arc<Hands>, local: &Local) -> Outcome {
    let session = local.session.clone();
    let running = local.is_running;
    let scanner = Arc::clone(hands);
    let position = blocking(move || scanner.position(session.as_ref())).await;
    Outcome::Evidence(Evidence::Promised {
        instance: hands.instance().clone(),
        promise: Promise {
            incarnation: local.incarnation(),
            position,
            running,
        },
    })
}
