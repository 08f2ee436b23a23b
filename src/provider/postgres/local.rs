//! PostgreSQL beside an agent, over its Unix socket.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::call::Call;
use super::session::Session;
use super::{reading, senders, waiting};
use crate::clock;
use crate::gate::Admission;
use crate::model::{Epoch, Lsn};
use crate::provider::{LocalServer, ProviderError, Reading, Result};

/// How long it may take to end the session of a commit that is not acknowledged: a moment, on the same host.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(1);

/// Where the local server answers.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The folder with its socket.
    pub socket_folder: PathBuf,
    /// Its port, a part of the socket's name.
    pub port: u16,
    /// The superuser.
    pub user: String,
}

/// A local PostgreSQL.
#[derive(Debug)]
pub struct LocalPostgres {
    endpoint: Endpoint,
    kept: Mutex<Option<Session>>,
}

impl LocalPostgres {
    /// Nothing is opened yet.
    pub fn new(endpoint: Endpoint) -> LocalPostgres {
        LocalPostgres {
            endpoint,
            kept: Mutex::new(None),
        }
    }

    fn take(&self) -> Option<Session> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().filter(|session| !session.is_closed())
    }

    fn keep(&self, session: Session) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    async fn run(&self, operation: &'static str, statement: &str, within: Duration) -> Result<()> {
        let call = Call::begin(operation, within);
        let work = async {
            let session = Session::beside(&self.endpoint, Some(within)).await?;
            call.changes();
            session.rows(statement).await.map(drop)
        };
        call.run(work).await
    }
}

impl LocalServer for LocalPostgres {
    async fn look(&self, within: Duration) -> Result<Reading> {
        let work = async {
            let session = Session::beside(&self.endpoint, Some(within)).await?;
            reading::read(&session).await
        };
        Call::begin("look", within).run(work).await
    }

    async fn glance(&self, within: Duration) -> Result<Reading> {
        let work = async {
            let session = match self.take() {
                Some(session) => session,
                None => Session::beside(&self.endpoint, Some(within)).await?,
            };
            let seen = reading::read(&session).await?;
            self.keep(session);
            Ok(seen)
        };
        Call::begin("look", within).run(work).await
    }

    async fn promote(&self, _by: &Admission, within: Duration) -> Result<()> {
        // Without waiting: `pg_promote(true)` polls every 100 ms.
        self.run("promote", "SELECT pg_promote(false)", within)
            .await
    }

    async fn pause_replay(&self, _by: &Admission, within: Duration) -> Result<()> {
        self.run("pause replay", "SELECT pg_wal_replay_pause()", within)
            .await
    }

    async fn resume_replay(&self, _by: &Admission, within: Duration) -> Result<()> {
        self.run("resume replay", "SELECT pg_wal_replay_resume()", within)
            .await
    }

    async fn keep_slots(&self, _by: &Admission, slots: &[String], within: Duration) -> Result<()> {
        // Slot names are `primacy_` and letters, digits and underscores: nothing to quote.
        let names: Vec<_> = slots.iter().map(|name| format!("'{name}'")).collect();
        let wanted = format!("ARRAY[{}]::text[]", names.join(", "));
        let statements = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE slot_type = 'physical' AND slot_name ~ '^primacy_' AND NOT active \
             AND (wal_status = 'lost' OR slot_name <> ALL ({wanted})); \
             SELECT pg_create_physical_replication_slot(name, true) FROM unnest({wanted}) AS name \
             WHERE name NOT IN (SELECT slot_name FROM pg_replication_slots)"
        );
        self.run("keep slots", &statements, within).await
    }

    async fn make_roles(&self, _by: &Admission, statements: &str, within: Duration) -> Result<()> {
        let quiet = "SET synchronous_commit = local; SET default_transaction_read_only = off; \
             SET log_statement = 'none'; SET log_min_duration_statement = -1; \
             SET log_min_error_statement = 'panic'; SET password_encryption = 'scram-sha-256';";
        let call = Call::begin("make roles", within);
        let work = async {
            let session = Session::beside(&self.endpoint, Some(within)).await?;
            // By themselves: settings count from the next message on.
            session.rows(quiet).await?;
            call.changes();
            session.rows(statements).await.map(drop)
        };
        call.run(work).await
    }

    async fn prove_waiting(&self, _by: &Admission, within: Duration) -> Result<()> {
        let work = waiting::run(&self.endpoint, within);
        Call::begin("prove waiting", within).run(work).await
    }

    async fn prove_senders(&self, names: &str, within: Duration) -> Result<()> {
        let work = async {
            let session = Session::beside(&self.endpoint, Some(within)).await?;
            senders::run(&session, names, within).await
        };
        Call::begin("prove senders", within).run(work).await
    }

    async fn commit(&self, _by: &Admission, within: Duration) -> Result<()> {
        let until = clock::monotonic().after(within);
        let opened = async {
            let session = Session::beside(&self.endpoint, None).await?;
            let pid = waiting::prepare(&session).await?;
            Ok((session, pid))
        };
        let (session, pid) = Call::begin("begin a commit", within).run(opened).await?;
        let within = until.since(clock::monotonic());
        let warned_before = session.warnings();
        let committed =
            session.rows("SELECT pg_logical_emit_message(true, 'primacy', 'durability')");
        match timeout(within, committed).await {
            Ok(committed) => committed.map(drop)?,
            Err(_) => {
                // Or it would wait on for as long as any commit, and one more after every try.
                let ended = format!("SELECT pg_terminate_backend({pid})");
                self.run("give a commit up", &ended, GIVEN_UP_WITHIN)
                    .await?;
                return Err(ProviderError::NotAcknowledged);
            }
        }
        match session.warnings() == warned_before {
            true => Ok(()),
            false => Err(ProviderError::NotAcknowledged),
        }
    }

    async fn checkpoint(&self, within: Duration) -> Result<()> {
        let work = async {
            let session = Session::beside(&self.endpoint, None).await?;
            session.rows("CHECKPOINT").await.map(drop)
        };
        Call::begin("checkpoint", within).run(work).await
    }

    // Waits as long as any commit would, and is never cancelled: its deadline is the end of the session.
    async fn barrier(&self, epoch: Epoch) -> Result<Lsn> {
        let session = Session::beside(&self.endpoint, None).await?;
        session
            .rows("SET synchronous_commit = on; SET default_transaction_read_only = off")
            .await?;
        // Counted from here: a warning before the commit came back says that the wait was cancelled.
        let warned_before = session.warnings();
        session
            .rows(&format!(
                "SELECT pg_logical_emit_message(true, 'primacy', 'epoch {epoch}')"
            ))
            .await?;
        if session.warnings() != warned_before {
            return Err(ProviderError::NotAcknowledged);
        }
        let rows = session.rows("SELECT pg_current_wal_flush_lsn()").await?;
        reading::lsn(rows.first().and_then(|row| row.get(0)))
    }
}
