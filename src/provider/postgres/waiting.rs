//! Whether commits wait for standbys.
//!
//! A backend asks one flag in shared memory (`sync_standbys_defined`, `syncrep.c`), which only the checkpointer sets, when it
//! has read the settings; it may be busy. Nothing shows the flag but a backend that waits: so a commit is made, and looked at
//! from another session. Where standbys are quick it is over before it is seen, so it is made again, with more to send: its
//! standby gets it only once the primary has flushed it.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::local::Endpoint;
use super::session::Session;
use crate::clock;
use crate::provider::{ProviderError, Result};

/// A commit that was not seen to wait is made again after this.
const AGAIN: Duration = Duration::from_millis(20);
/// Kept for the answer.
const MARGIN: Duration = Duration::from_millis(200);
/// How long a commit that was seen to wait may take to end by itself, before its session is ended.
const ENDS_WITHIN: Duration = Duration::from_millis(100);
/// How many bytes the first commit sends, and how many a later one at most.
const FIRST: u32 = 1 << 13;
const MOST: u32 = 1 << 20;

/// Makes a session whose commits wait if any do; the number of its process.
pub(super) async fn prepare(session: &Session) -> Result<String> {
    let rows = session
        .rows(
            "SET synchronous_commit = on; SET default_transaction_read_only = off; \
             SELECT pg_backend_pid()",
        )
        .await?;
    let pid = rows.first().and_then(|row| row.get(0)).unwrap_or("0");
    Ok(pid.to_owned())
}

/// Waits until a commit is seen to wait. Errors: `Precondition` if none is within that time.
pub(super) async fn run(endpoint: &Endpoint, within: Duration) -> Result<()> {
    let until = clock::monotonic().after(within.saturating_sub(MARGIN));
    let session = Session::beside(endpoint, None).await?;
    let watcher = Session::beside(endpoint, Some(within)).await?;
    let pid = prepare(&session).await?;
    let waits = format!("SELECT wait_event = 'SyncRep' FROM pg_stat_get_activity({pid})");
    let mut bytes = FIRST;
    loop {
        let seen = async {
            loop {
                let rows = watcher.rows(&waits).await?;
                if rows.first().and_then(|row| row.get(0)) == Some("t") {
                    break Ok::<_, ProviderError>(());
                }
            }
        };
        let statement =
            format!("SELECT pg_logical_emit_message(true, 'primacy', repeat('w', {bytes}))");
        let commit = session.rows(&statement);
        tokio::pin!(commit);
        tokio::select! {
            committed = &mut commit => committed.map(drop)?,
            seen = seen => {
                seen?;
                if timeout(ENDS_WITHIN, commit).await.is_err() {
                    let ended = format!("SELECT pg_terminate_backend({pid})");
                    watcher.rows(&ended).await?;
                }
                return Ok(());
            }
        }
        if clock::monotonic() >= until {
            let why = "commits do not wait for standbys yet".to_owned();
            return Err(ProviderError::Precondition(why));
        }
        bytes = (bytes * 2).min(MOST);
        sleep(AGAIN).await;
    }
}
