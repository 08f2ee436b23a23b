//! What an instance is: read-only or not, applying or not, primary or standby.

use tokio::time::sleep;

use super::call::Call;
use super::remote::{AGAIN, Postgres};
use super::session::Session;
use super::settings::{literal, needs, write};
use super::snapshot::Snapshot;
use crate::model::{Address, Position, Role};
use crate::provider::{Operation, Outcome, ProviderError, Result};

const READ_ONLY: &str = "default_transaction_read_only";
const SIGNAL: &str = "pg_signal_backend, or to be superuser where the session is a superuser's";

/// It must be a standby. Errors: `WrongRole`.
pub(super) fn must_be_standby(seen: &Snapshot) -> Result<()> {
    match seen.role() {
        Role::Standby | Role::Detached => Ok(()),
        found @ Role::Primary => Err(ProviderError::WrongRole { found }),
    }
}

impl Postgres {
    /// Looks what became of a change whose answer was lost; through a session of its own, within the deadline of the
    /// same call. The change is not made again.
    pub(super) async fn settled(
        &self,
        call: &Call,
        of: &Address,
        made: Result<Session>,
        is_so: impl FnMut(&Snapshot) -> Result<bool>,
    ) -> Result<(Session, Snapshot)> {
        let session = match made {
            Ok(session) => session,
            Err(error) if error.outcome_unknown() => {
                tracing::debug!(
                    instance = %of,
                    operation = call.operation(),
                    %error,
                    "the answer was lost; looking what became of it"
                );
                self.open(call, of).await.map_err(|_| call.late())?
            }
            Err(error) => return Err(error),
        };
        let seen = self.until(call, &session, is_so).await?;
        Ok((session, seen))
    }

    pub(super) async fn change_read_only(
        &self,
        by: &Operation,
        of: &Address,
        on: bool,
    ) -> Result<()> {
        self.epochs.admit(by)?;
        let call = Call::begin("set read-only", by.within);
        call.run(async {
            let (session, seen) = self.seen(&call, of).await?;
            if by.dry_run || seen.read_only_default == on {
                self.keep(of, session);
                return Ok(());
            }
            let session = self.read_only_in_force(&call, session, of, on).await?;
            self.keep(of, session);
            Ok(())
        })
        .await
    }

    async fn read_only_in_force(
        &self,
        call: &Call,
        session: Session,
        of: &Address,
        on: bool,
    ) -> Result<Session> {
        let value = if on { "on" } else { "off" };
        let written = write(call, &session, READ_ONLY, value).await;
        let made = written.map(|()| session);
        let is_so = |seen: &Snapshot| Ok(seen.read_only_default == on);
        let (session, _) = self.settled(call, of, made, is_so).await?;
        Ok(session)
    }

    pub(super) async fn resume(&self, by: &Operation, of: &Address) -> Result<()> {
        self.epochs.admit(by)?;
        let call = Call::begin("start replication", by.within);
        call.run(async {
            let (session, seen) = self.seen(&call, of).await?;
            if by.dry_run || !seen.in_recovery || seen.pause == "not paused" {
                self.keep(of, session);
                return Ok(());
            }
            call.changes();
            let asked = session.ask(&call, "SELECT pg_wal_replay_resume()").await;
            let asked = asked.map_err(needs("EXECUTE ON FUNCTION pg_wal_replay_resume()"));
            let is_so = |seen: &Snapshot| Ok(!seen.in_recovery || seen.pause == "not paused");
            let made = asked.map(|_| session);
            let (session, _) = self.settled(&call, of, made, is_so).await?;
            self.keep(of, session);
            Ok(())
        })
        .await
    }

    pub(super) async fn pause(&self, by: &Operation, of: &Address) -> Result<()> {
        self.epochs.admit(by)?;
        let call = Call::begin("stop replication", by.within);
        call.run(async {
            let (session, seen) = self.seen(&call, of).await?;
            must_be_standby(&seen)?;
            if by.dry_run || seen.pause == "paused" {
                self.keep(of, session);
                return Ok(());
            }
            call.changes();
            let asked = session.ask(&call, "SELECT pg_wal_replay_pause()").await;
            let asked = asked.map_err(needs("EXECUTE ON FUNCTION pg_wal_replay_pause()"));
            let is_so = |seen: &Snapshot| {
                must_be_standby(seen)?;
                Ok(seen.pause == "paused")
            };
            let made = asked.map(|_| session);
            let (session, _) = self.settled(&call, of, made, is_so).await?;
            self.keep(of, session);
            Ok(())
        })
        .await
    }

    pub(super) async fn make_primary(&self, by: &Operation, of: &Address) -> Result<Position> {
        self.epochs.admit(by)?;
        let call = Call::begin("promote", by.within);
        call.run(async {
            let (mut session, seen) = self.seen(&call, of).await?;
            must_be_standby(&seen)?;
            if by.dry_run {
                self.keep(of, session);
                let at = seen.received_at();
                return at.ok_or_else(|| ProviderError::Parse("no timeline".to_owned()));
            }
            // A copy of a primary that was asked to be quiet would come up as quiet.
            if seen.read_only_default {
                session = self.read_only_in_force(&call, session, of, false).await?;
            }
            call.changes();
            // Without waiting: `pg_promote(true)` looks every 100 ms.
            let asked = session.ask(&call, "SELECT pg_promote(false)").await;
            let asked = asked.map_err(needs("EXECUTE ON FUNCTION pg_promote(boolean, integer)"));
            let made = match asked {
                Ok(rows) if rows.first().and_then(|row| row.get(0)) == Some("t") => Ok(session),
                Ok(_) => {
                    return Err(ProviderError::Precondition(
                        "the server could not pass the request to promote on".to_owned(),
                    ));
                }
                Err(error) => Err(error),
            };
            // One that is paused looks whether it was told to promote once in a second, unless it is woken. What it answers
            // to that means nothing: it may have looked.
            if let (Ok(session), true) = (&made, seen.pause != "not paused") {
                let woken = session.ask(&call, "SELECT pg_wal_replay_resume()").await;
                tracing::debug!(instance = %of, is_woken = woken.is_ok(), "told to promote while paused");
            }
            let is_so = |seen: &Snapshot| Ok(!seen.in_recovery);
            let (session, seen) = self.settled(&call, of, made, is_so).await?;
            self.keep(of, session);
            let at = seen.applied_at();
            at.ok_or_else(|| ProviderError::Parse("no timeline".to_owned()))
        })
        .await
    }

    pub(super) async fn make_standby(
        &self,
        by: &Operation,
        of: &Address,
        to: &Address,
    ) -> Result<()> {
        self.epochs.admit(by)?;
        let call = Call::begin("demote", by.within);
        let role = call
            .run(async {
                let (session, seen) = self.seen(&call, of).await?;
                self.keep(of, session);
                Ok(seen.role())
            })
            .await?;
        match role {
            Role::Primary => Err(ProviderError::AgentRequired {
                operation: "demoting a primary",
            }),
            Role::Standby | Role::Detached => {
                let rest = Operation {
                    within: call.remaining(),
                    ..by.clone()
                };
                self.point_at(&rest, of, to).await
            }
        }
    }

    pub(super) async fn ask_for_quiet(&self, by: &Operation, of: &Address) -> Result<Outcome> {
        self.epochs.admit(by)?;
        let call = Call::begin("fence", by.within);
        call.run(async {
            let (mut session, seen) = self.seen(&call, of).await?;
            if seen.in_recovery {
                return Err(ProviderError::WrongRole { found: seen.role() });
            }
            if by.dry_run {
                self.keep(of, session);
                return Ok(Outcome::NotApplied);
            }
            if !seen.read_only_default {
                session = self.read_only_in_force(&call, session, of, true).await?;
            }
            let since = session.ask(&call, "SELECT clock_timestamp()").await?;
            let since = since.first().and_then(|row| row.get(0));
            let since = since.unwrap_or("now").to_owned();
            end_sessions(&call, &session, &since).await?;
            all_is_written(&call, &session).await?;
            self.keep(of, session);
            Ok(Outcome::Applied)
        })
        .await
    }
}

/// Waits until all that was acknowledged is on the disk: with `synchronous_commit = off` it was before it is, and is sent to
/// nobody until then. In front of the first record of a page there is a header of up to 40 bytes, which nobody writes alone.
async fn all_is_written(call: &Call, session: &Session) -> Result<()> {
    let inserted = session
        .ask(call, "SELECT pg_current_wal_insert_lsn()")
        .await?;
    let inserted = inserted.first().and_then(|row| row.get(0)).unwrap_or("0/0");
    let statement = format!(
        "SELECT missing <= 0 OR missing <= 40 AND flushed % current_setting('wal_block_size')::int = 0 \
           FROM (SELECT {}::pg_lsn - pg_current_wal_flush_lsn() AS missing, \
                        pg_current_wal_flush_lsn() - '0/0'::pg_lsn AS flushed) AS wal",
        literal(inserted)
    );
    loop {
        let rows = session.ask(call, &statement).await?;
        if rows.first().and_then(|row| row.get(0)) == Some("t") {
            return Ok(());
        }
        sleep(AGAIN).await;
    }
}

/// Ends every session of a client that began before `since`, until none is left. Errors: `PermissionDenied` if what is
/// left are superusers' and we are none.
async fn end_sessions(call: &Call, session: &Session, since: &str) -> Result<()> {
    let statement = format!(
        "SELECT rolsuper AND current_setting('is_superuser') = 'off', \
                CASE WHEN NOT rolsuper OR current_setting('is_superuser') = 'on' THEN pg_terminate_backend(pid) END \
           FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid \
          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
            AND backend_start <= {}::timestamptz",
        literal(since)
    );
    loop {
        let left = session.ask(call, &statement).await.map_err(needs(SIGNAL))?;
        if left.is_empty() {
            return Ok(());
        }
        if left.iter().all(|row| row.get(0) == Some("t")) {
            return Err(ProviderError::PermissionDenied {
                needs: SIGNAL.to_owned(),
            });
        }
        sleep(AGAIN).await;
    }
}
