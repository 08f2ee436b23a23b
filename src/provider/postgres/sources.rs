//! Whom a standby follows: somebody else, nobody, and whom it did before.
//!
//! `primary_conninfo` is changed in host and port and in nothing else. PostgreSQL hands the change to the startup process,
//! which ends the receiver and begins another; while replay is paused it does neither, so that a change would look like one
//! and be none. One that holds a password is never changed.

use super::call::Call;
use super::catalogue::Version;
use super::conninfo::Conninfo;
use super::remote::Postgres;
use super::roles::must_be_standby;
use super::session::Session;
use super::settings::{literal, needs, write};
use super::snapshot::Snapshot;
use crate::model::{Address, Role};
use crate::provider::{Operation, ProviderError, Result};

const SOURCE: &str = "primary_conninfo";

impl Postgres {
    pub(super) async fn point_at(&self, by: &Operation, of: &Address, to: &Address) -> Result<()> {
        self.epochs.admit(by)?;
        let call = Call::begin("reparent", by.within);
        call.run(async {
            let (session, seen) = self.seen(&call, of).await?;
            let conninfo = changeable(&session, &seen)?;
            if conninfo.is_empty() {
                return Err(ProviderError::Precondition(
                    "it has no primary_conninfo, so there is no user and no secret to keep"
                        .to_owned(),
                ));
            }
            self.check_source(&call, by, (of, &seen), to).await?;
            let wanted = conninfo.redirected(to);
            if by.dry_run || wanted == seen.conninfo {
                self.keep(of, session);
                return Ok(());
            }
            let session = self.source_in_force(&call, session, of, &wanted).await?;
            self.keep(of, session);
            Ok(())
        })
        .await
    }

    pub(super) async fn point_nowhere(&self, by: &Operation, of: &Address) -> Result<()> {
        self.epochs.admit(by)?;
        let call = Call::begin("detach", by.within);
        call.run(async {
            let (mut session, seen) = self.seen(&call, of).await?;
            let conninfo = changeable(&session, &seen)?;
            if by.dry_run {
                self.keep(of, session);
                return Ok(());
            }
            if !conninfo.is_detached() {
                let wanted = conninfo.detached();
                session = self.source_in_force(&call, session, of, &wanted).await?;
            }
            let without_a_receiver = |seen: &Snapshot| {
                must_be_standby(seen)?;
                Ok(seen.receiver.is_none())
            };
            self.until(&call, &session, without_a_receiver).await?;
            self.keep(of, session);
            Ok(())
        })
        .await
    }

    pub(super) async fn point_back(&self, by: &Operation, of: &Address) -> Result<()> {
        self.epochs.admit(by)?;
        let call = Call::begin("reattach", by.within);
        call.run(async {
            let (session, seen) = self.seen(&call, of).await?;
            let conninfo = changeable(&session, &seen)?;
            if by.dry_run || !conninfo.is_detached() {
                self.keep(of, session);
                return Ok(());
            }
            let wanted = conninfo.reattached();
            let session = self.source_in_force(&call, session, of, &wanted).await?;
            self.keep(of, session);
            Ok(())
        })
        .await
    }

    /// Writes `primary_conninfo` and returns once a session shows it.
    async fn source_in_force(
        &self,
        call: &Call,
        session: Session,
        of: &Address,
        wanted: &str,
    ) -> Result<Session> {
        let written = write_source(call, &session, wanted).await;
        let made = written.map(|()| session);
        let is_so = |seen: &Snapshot| {
            must_be_standby(seen)?;
            Ok(seen.conninfo == wanted)
        };
        let (session, _) = self.settled(call, of, made, is_so).await?;
        Ok(session)
    }

    /// Whether `to` can be followed, and its slot there. Errors: `Precondition`, before anything is changed at `of`.
    async fn check_source(
        &self,
        call: &Call,
        by: &Operation,
        (of, seen): (&Address, &Snapshot),
        to: &Address,
    ) -> Result<()> {
        let wrong = |why: String| Err(ProviderError::Precondition(why));
        if of == to {
            return wrong("it cannot follow itself".to_owned());
        }
        let (session, source) = match self.seen(call, to).await {
            Ok(found) => found,
            Err(error) => return wrong(format!("the new source {to} does not answer: {error}")),
        };
        if source.system != seen.system {
            return wrong(format!("{to} is of another database history"));
        }
        if source.source().is_some_and(|it| it.address == *of) {
            return wrong(format!("{to} follows {of} itself"));
        }
        if let (Some(theirs), Some(ours)) = (source.timeline, seen.timeline)
            && theirs < ours
        {
            return wrong(format!(
                "{to} is on timeline {theirs}, older than its own {ours}"
            ));
        }
        if !seen.slot.is_empty() && !by.dry_run {
            let name = literal(&seen.slot);
            let made = session
                .ask(
                    call,
                    &format!(
                        "SELECT pg_create_physical_replication_slot({name}, true) \
                         WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {name})"
                    ),
                )
                .await;
            made.map_err(needs(&format!(
                "REPLICATION, to make slot {} at {to}",
                seen.slot
            )))?;
        }
        self.keep(to, session);
        Ok(())
    }
}

/// Writes `primary_conninfo` and has the server read it. Errors: `Precondition` if it holds a password, before anything is
/// written: `ALTER SYSTEM` would put it into `postgresql.auto.conf`, which copies take with them, and PostgreSQL writes each
/// setting that a reload changes to its log, from which no session can keep it.
pub(super) async fn write_source(call: &Call, session: &Session, wanted: &str) -> Result<()> {
    match Conninfo::parse(wanted).is_ok_and(|it| !it.has_secret()) {
        true => write(call, session, SOURCE, wanted).await,
        false => Err(ProviderError::Precondition(format!(
            "{SOURCE} holds a password, which a change would copy to postgresql.auto.conf and to the server's log; {NO_SECRET}"
        ))),
    }
}

/// What to do where a password stands in `primary_conninfo`.
pub(super) const NO_SECRET: &str =
    "move it to a passfile on its host, and name that there with passfile=";

/// What is in force and can be changed now. Errors: `WrongRole`, `AgentRequired`, `Precondition`, `Parse`.
fn changeable(session: &Session, seen: &Snapshot) -> Result<Conninfo> {
    must_be_standby(seen)?;
    check_version(session.version()?)?;
    if seen.pause != "not paused" && seen.role() == Role::Standby && seen.receiver.is_some() {
        return Err(ProviderError::Precondition(
            "its replay is paused, and until it goes on its receiver would not notice; start replication first"
                .to_owned(),
        ));
    }
    conninfo(seen)
}

/// Whom it follows by its settings.
pub(super) fn conninfo(seen: &Snapshot) -> Result<Conninfo> {
    Conninfo::parse(&seen.conninfo)
        .map_err(|error| ProviderError::Parse(format!("{SOURCE}: {error}")))
}

pub(super) fn check_version(version: Version) -> Result<()> {
    match version.reloads_source() {
        true => Ok(()),
        false => Err(ProviderError::AgentRequired {
            operation: "another source for PostgreSQL 12, which must be restarted for it,",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_12_needs_a_restart() {
        assert!(matches!(
            check_version(Version(12)),
            Err(ProviderError::AgentRequired { .. })
        ));
        assert!(check_version(Version(13)).is_ok());
    }
}
