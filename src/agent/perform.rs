//! One act of a duty, carried out. Each is idempotent; what is long (a clone, a rewind) may be dropped at any
//! moment, which kills its programs. A change of files goes on by itself when it is dropped, and the next one
//! waits for its turn. Everything else is run to its end, within a deadline; only the files that a clone, a
//! rewind or an initialisation touch around their programs have none. They hold up no answer to a newer command.

use std::sync::Arc;
use std::time::Duration;

use super::chain;
use super::hands::Hands;
use super::lane::{Hung, Lane};
use super::leash::LeashKeeper;
use crate::clock;
use crate::duty::{Act, How, Local, Outcome, confirm, shut_down};
use crate::gate::Admission;
use crate::provider::{LocalPostgres, LocalServer};
use crate::recovery::{Evidence, Promise};
use crate::security::Wire;

/// What an act needs.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Processes and files.
    pub hands: Arc<Hands>,
    /// SQL.
    pub provider: Arc<LocalPostgres>,
    /// The leash.
    pub leash: LeashKeeper,
    /// Changes of files, in their order.
    pub changes: Lane,
    /// How it speaks with other agents.
    pub wire: Wire,
}

/// Whether nobody has to wait for an act when a newer command comes: long work that is killed, and files that
/// change one after another.
pub fn is_droppable(act: &Act) -> bool {
    match act {
        Act::Clone { .. } | Act::Rewind { .. } | Act::Initialise { .. } | Act::Look => true,
        // It goes on in PostgreSQL, and hurts nobody there.
        Act::Checkpoint | Act::ProveSenders { .. } | Act::Commit => true,
        Act::EmptySources
        | Act::PointAt { .. }
        | Act::ConfigurePrimary { .. }
        | Act::Plant { .. }
        | Act::Settle { .. } => true,
        Act::TakeIn(_) | Act::ProveWaiting => false,
        Act::StopAll
        | Act::PauseReplay
        | Act::ResumeReplay
        | Act::TerminateReceivers
        | Act::ScanThenPromise
        | Act::Renew
        | Act::StartStandby { .. }
        | Act::AskPromotion
        | Act::ShutDown
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
            | Act::TakeIn(How::Stopped)
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
    let files = (hands, &tools.changes);
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
            // Who the postmaster is stands in a file; no change of files, so it takes no turn.
            let table = Arc::clone(hands);
            let end = move || table.end_receivers(&by);
            let ended = hands
                .table
                .run(within.files, end)
                .await
                .map_err(no_answer)?;
            ended.map_err(host)?;
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
            hands.start(&by, within.files).await?;
        }
        Act::PointAt { source } => {
            on_disk(files, within.files, move |hands| {
                hands.configure(&by, Some(&source), None)
            })
            .await?;
        }
        Act::TakeIn(how) => {
            take_in(tools, by, how, within).await?;
        }
        Act::Checkpoint => {
            let within = shut_down::CHECKPOINT_WITHIN;
            provider.checkpoint(within).await.map_err(sql)?;
        }
        Act::ShutDown => {
            let table = Arc::clone(hands);
            let until = clock::monotonic().after(within.files);
            let tell = move || table.shut_down(&by, until);
            let told = hands.table.run(within.files, tell).await;
            told.map_err(no_answer)?.map_err(host)?;
        }
        Act::ProveSenders {
            synchronous_standby_names: names,
        } => {
            let proven = provider.prove_senders(&names, within.sql).await;
            proven.map_err(sql)?;
        }
        Act::Commit => {
            let within = confirm::COMMITTED_WITHIN;
            provider.commit(&by, within).await.map_err(sql)?;
        }
        Act::ProveWaiting => provider.prove_waiting(&by, within.sql).await.map_err(sql)?,
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

/// The note of which filling it is comes last: until then nothing of it is ours.
async fn take_in(
    tools: &Tools,
    by: Arc<Admission>,
    how: How,
    within: Patience,
) -> Result<(), String> {
    let hands = &tools.hands;
    match &how {
        How::Standby { .. } => {}
        How::Primary { .. } => {
            let statements = hands.role_statements().map_err(|error| chain(&error))?;
            let made = tools.provider.make_roles(&by, &statements, within.sql);
            made.await.map_err(|error| chain(&error))?;
        }
        How::Stopped => {
            let made = hands.make_roles_at_rest(&by).await;
            made.map_err(|error| chain(&error))?;
        }
    }
    let files = (hands, &tools.changes);
    on_disk(files, within.files, move |hands| hands.take_in(&by, &how)).await
}

/// Work on files goes on when nobody waits for it any more; see [`Lane`].
async fn on_disk(
    (hands, changes): (&Arc<Hands>, &Lane),
    within: Duration,
    work: impl FnOnce(&Hands) -> crate::host::Result<()> + Send + 'static,
) -> Result<(), String> {
    let hands = Arc::clone(hands);
    let done = changes.run(within, move || work(&hands)).await;
    done.map_err(no_answer)?.map_err(|error| chain(&error))
}

fn no_answer(hung: Hung) -> String {
    format!("the disk of the data folder {hung}")
}

/// What cannot be scanned in time is fenced but does not count.
async fn promise(hands: &Arc<Hands>, local: &Local, within: Duration) -> Outcome {
    let session = local.session.clone();
    let running = local.is_running;
    let scanner = Arc::clone(hands);
    let scan = move || scanner.position(session.as_ref());
    let position = hands.scans.run(within, scan).await.unwrap_or_else(|hung| {
        tracing::warn!(instance = %hands.instance(), "{}", no_answer(hung));
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

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::time::timeout;

    use super::*;
    use crate::agent::example::{order, promise, tools};
    use crate::clock;
    use crate::duty::Data;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn receivers_are_ended_in_time_on_a_disk_that_hangs() {
        let root = tempfile::tempdir().unwrap();
        let tools = tools(root.path());
        let mut promise = promise(&tools).await;
        let by = Arc::new(promise.admit(order(2, 1)).await.unwrap());
        // Whoever opens it to read waits for one who writes.
        let lock = root.path().join("data/postmaster.pid");
        mknodat(CWD, &lock, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let local = Local {
            now: clock::boottime(),
            instance: tools.hands.instance().clone(),
            data: Data::Empty,
            is_running: true,
            has_postmaster: true,
            session: None,
            lease: None,
            is_armed: false,
            promotion_asked: false,
        };
        let within = Patience {
            sql: SHORT,
            files: SHORT,
            scan: SHORT,
        };
        for words in ["did not answer for 50 ms", "what was begun before"] {
            let act = perform(
                &tools,
                Arc::clone(&by),
                &Act::TerminateReceivers,
                &local,
                within,
            );
            let ended = timeout(Duration::from_secs(10), act).await;
            let why = ended.expect("it hangs").unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        // Lets the thread go, which the runtime would wait for.
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&lock)
            .unwrap();
    }
}
