//! A standby that receives nothing more, proven, and where its WAL ends.
//!
//! An emptied `primary_conninfo` proves nothing by itself: with replay paused, delayed or in a recovery conflict the startup
//! process does not read it, and the receiver streams and acknowledges on; and one that is just connecting is not shown in
//! `pg_stat_wal_receiver`. So the order is: written; seen in a session that began afterwards, when the startup process had
//! its signal; every receiver ended; replay paused, which the startup process confirms only after it has read the file;
//! and no receiver's process left then. What an earlier try of the same epoch has made is read and left as it is.

use tokio::time::sleep;

use super::call::Call;
use super::remote::{AGAIN, Postgres};
use super::roles::must_be_standby;
use super::session::Session;
use super::settings::needs;
use super::snapshot::Snapshot;
use super::sources::{check_version, conninfo, write_source};
use crate::model::{Address, Position};
use crate::provider::{Operation, ProviderError, Result};

const PAUSE: &str = "EXECUTE ON FUNCTION pg_wal_replay_pause()";
const RESUME: &str = "EXECUTE ON FUNCTION pg_wal_replay_resume()";

impl Postgres {
    pub(super) async fn take_back(&self, by: &Operation, of: &Address) -> Result<Option<Position>> {
        self.epochs.admit(by)?;
        let call = Call::begin("revoke", by.within);
        call.run(async {
            let (session, seen) = self.seen(&call, of).await?;
            must_be_standby(&seen)?;
            check_version(session.version()?)?;
            let source = conninfo(&seen)?;
            if by.dry_run {
                self.keep(of, session);
                return Ok(seen.received_at());
            }
            let wanted = match source.is_empty() {
                true => seen.conninfo.clone(),
                false => source.detached(),
            };
            match wanted == seen.conninfo {
                // An earlier try wrote it, and whatever becomes of this one, something was changed.
                true => call.changes(),
                // Whether its answer is lost or not, what counts is seen next.
                false => match write_source(&call, &session, &wanted).await {
                    Err(error) if !error.outcome_unknown() => return Err(error),
                    Ok(()) | Err(_) => {}
                },
            }
            drop(session);
            let session = self.open(&call, of).await?;
            let seen = self
                .until(&call, &session, |seen| {
                    must_be_standby(seen)?;
                    Ok(seen.conninfo == wanted)
                })
                .await?;
            let was_revoking = self.was_revoking(of, by.epoch);
            if was_revoking && is_revoked(&call, &session, &seen).await? {
                self.keep(of, session);
                return Ok(seen.received_at());
            }
            // While it is paused, the startup process ends no receiver.
            if seen.pause != "not paused" {
                ask(&call, &session, "SELECT pg_wal_replay_resume()", RESUME).await?;
            }
            without_receivers(&call, &session).await?;
            if !is_exact(&call, &session).await? {
                // Paused here it would never come to the end of it.
                return Err(ProviderError::Precondition(
                    "it still replays what is on its disk, and where that ends is not known yet"
                        .to_owned(),
                ));
            }
            self.note_revoking(of, by.epoch);
            ask(&call, &session, "SELECT pg_wal_replay_pause()", PAUSE).await?;
            let is_paused = |seen: &Snapshot| {
                must_be_standby(seen)?;
                Ok(seen.pause == "paused")
            };
            self.until(&call, &session, is_paused).await?;
            without_receivers(&call, &session).await?;
            let seen = Snapshot::read(&session, &call).await?;
            if !is_paused(&seen)? || seen.conninfo != wanted {
                return Err(ProviderError::Precondition(
                    "somebody else changes whom it follows".to_owned(),
                ));
            }
            self.keep(of, session);
            Ok(seen.received_at())
        })
        .await
    }
}

/// Whether all of it is so already, after an earlier try of the same epoch that had come as far as the pause: paused, where the
/// startup process begins no receiver, and none is there; and where its WAL ends can be told. `seen` is of a session that
/// began after the source was taken away.
async fn is_revoked(call: &Call, session: &Session, seen: &Snapshot) -> Result<bool> {
    if seen.pause != "paused" || !is_exact(call, session).await? {
        return Ok(false);
    }
    let receivers = "SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver'";
    if !session.ask(call, receivers).await?.is_empty() {
        return Ok(false);
    }
    // It was paused before the receivers were looked for, and is so still.
    let now = Snapshot::read(session, call).await?;
    Ok(now.pause == "paused" && now.conninfo == seen.conninfo && now.received == seen.received)
}

async fn ask(call: &Call, session: &Session, statement: &str, right: &str) -> Result<()> {
    call.changes();
    let asked = session.ask(call, statement).await;
    asked.map(drop).map_err(needs(right))
}

/// Waits until no process receives, and none is about to. A superuser ends them; without that right they end by
/// themselves once the startup process asks for WAL, which one that is far behind in replay does late.
async fn without_receivers(call: &Call, session: &Session) -> Result<()> {
    let statement = "SELECT CASE WHEN current_setting('is_superuser') = 'on' THEN pg_terminate_backend(pid) END \
                       FROM pg_stat_activity WHERE backend_type = 'walreceiver'";
    while !session.ask(call, statement).await?.is_empty() {
        if call.remaining() < AGAIN {
            return Err(call.late());
        }
        sleep(AGAIN).await;
    }
    Ok(())
}

/// Whether the end of what it has can be told: it has streamed since it started, which begins behind all that is on its
/// disk, or it has replayed all that is there and waits for more.
async fn is_exact(call: &Call, session: &Session) -> Result<bool> {
    let statement = "SELECT pg_last_wal_receive_lsn() IS NOT NULL OR wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval') \
                       FROM pg_stat_activity WHERE backend_type = 'startup'";
    let rows = session.ask(call, statement).await?;
    Ok(rows.first().and_then(|row| row.get(0)) == Some("t"))
}
