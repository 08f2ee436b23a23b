//! Whether every process of a primary goes by what commits are to wait for.
//!
//! Each reads the settings for itself. A session of a client waits once the checkpointer has read that somebody is to be
//! waited for at all; and whoever sends WAL counts its own standby by the names that it read. So: a session that began
//! afterwards sees the names, which the postmaster lets one do only after it told every process; the checkpointer is seen to
//! sleep, which it does only after it has read them; a commit is made and acknowledged; and everybody who sends has sent it
//! and heard that it came, which it looks at only after it has read what it was told: so much says even a program that
//! archives WAL, if only every ten seconds. Then all that was
//! acknowledged before that commit is where the commit is, and all that comes waits as long.

use std::time::Duration;

use tokio::time::sleep;

use super::call::Call;
use super::remote::{AGAIN, Postgres};
use super::session::Session;
use super::settings::literal;
use super::snapshot::Snapshot;
use super::synchronous;
use crate::model::{Address, Role, SyncPolicy};
use crate::provider::{ProviderError, Result};

/// A checkpointer that sleeps is woken to read its settings at once; so long it may take where processors are busy.
const SETTLES: Duration = Duration::from_secs(1);

const CHECKPOINTER_SLEEPS: &str = "SELECT wait_event IN ('CheckpointerMain', 'CheckpointWriteDelay') \
                                     FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
const COMMIT: &str = "BEGIN READ WRITE; SET LOCAL synchronous_commit = on; SET LOCAL client_min_messages = warning; \
                      SELECT pg_logical_emit_message(true, 'primacy', ''); COMMIT";
const FLUSHED: &str = "SELECT pg_current_wal_flush_lsn()";

impl Postgres {
    pub(super) async fn acknowledge(
        &self,
        of: &Address,
        policy: &SyncPolicy,
        within: Duration,
    ) -> Result<()> {
        let call = Call::begin("prove what commits wait for", within);
        call.run(async {
            let session = self.open(&call, of).await?;
            in_force(&call, &session, policy).await?;
            sleep(SETTLES).await;
            until(&call, &session, CHECKPOINTER_SLEEPS).await?;
            let warnings = session.warnings();
            session.ask(&call, COMMIT).await?;
            if session.warnings() != warnings {
                // It was made without them.
                return Err(call.late());
            }
            let flushed = session.ask(&call, FLUSHED).await?;
            let flushed = flushed.first().and_then(|row| row.get(0)).unwrap_or("0/0");
            let everywhere = format!(
                "SELECT coalesce(bool_and(coalesce(write_lsn >= {}::pg_lsn, false)), true) \
                   FROM pg_stat_replication AS sender WHERE state = 'streaming' \
                    AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE active_pid = sender.pid AND slot_type = 'logical')",
                literal(flushed)
            );
            until(&call, &session, &everywhere).await?;
            in_force(&call, &session, policy).await
        })
        .await
    }
}

async fn in_force(call: &Call, session: &Session, policy: &SyncPolicy) -> Result<()> {
    let seen = Snapshot::read(session, call).await?;
    match seen.role() {
        Role::Primary => {}
        found @ (Role::Standby | Role::Detached) => return Err(ProviderError::WrongRole { found }),
    }
    match synchronous::parse(&seen.synchronous_standby_names).as_ref() == Some(policy) {
        true => Ok(()),
        false => Err(ProviderError::Precondition(
            "what commits wait for has changed meanwhile".to_owned(),
        )),
    }
}

/// Asks until it is so.
async fn until(call: &Call, session: &Session, statement: &str) -> Result<()> {
    loop {
        let rows = session.ask(call, statement).await?;
        if rows.first().and_then(|row| row.get(0)) == Some("t") {
            return Ok(());
        }
        if call.remaining() < AGAIN {
            return Err(call.late());
        }
        sleep(AGAIN).await;
    }
}
