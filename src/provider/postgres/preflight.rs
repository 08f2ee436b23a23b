//! What an instance lacks for being looked after over SQL: right by right and setting by setting, each with the line that
//! mends it.

use std::time::Duration;

use super::call::Call;
use super::conninfo::Conninfo;
use super::grants::RIGHTS;
use super::remote::Postgres;
use super::session::Session;
use super::settings::{LOGS_NO_VALUES, REMEDY};
use crate::model::Address;
use crate::provider::{ProviderError, Result};

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What does not work without it.
    pub what: String,
    /// What to run or to write.
    pub mend: String,
    /// Whether something fails without it; else it is only slower or dearer.
    pub is_needed: bool,
}

/// A setting that should be otherwise.
struct Setting {
    what: &'static str,
    /// Whether it is as it should be.
    check: &'static str,
    mend: &'static str,
    is_needed: bool,
}

const SETTINGS: &[Setting] = &[
    Setting {
        what: "wal_level is minimal: nobody can replicate",
        check: "current_setting('wal_level') <> 'minimal'",
        mend: "ALTER SYSTEM SET wal_level = replica; -- and a restart",
        is_needed: true,
    },
    Setting {
        what: "max_wal_senders is 0: nobody can replicate",
        check: "current_setting('max_wal_senders')::int > 0",
        mend: "ALTER SYSTEM SET max_wal_senders = 10; -- and a restart",
        is_needed: true,
    },
    Setting {
        what: "max_replication_slots is 0: a standby's slot cannot be made at its new source",
        check: "current_setting('max_replication_slots')::int > 0",
        mend: "ALTER SYSTEM SET max_replication_slots = 10; -- and a restart",
        is_needed: true,
    },
    Setting {
        what: "hot_standby is off: a standby cannot be asked anything",
        check: "current_setting('hot_standby') = 'on'",
        mend: "ALTER SYSTEM SET hot_standby = on; -- and a restart",
        is_needed: true,
    },
    Setting {
        what: "wal_log_hints is off and there are no checksums: an old primary must be copied anew instead of rewound",
        check: "current_setting('wal_log_hints') = 'on' OR current_setting('data_checksums') = 'on'",
        mend: "ALTER SYSTEM SET wal_log_hints = on; -- and a restart",
        is_needed: false,
    },
    Setting {
        what: "wal_receiver_timeout is long: for so long a primary that hangs is taken for one that is idle",
        check: "current_setting('wal_receiver_timeout')::interval BETWEEN interval '1ms' AND interval '10s'",
        mend: "ALTER SYSTEM SET wal_receiver_timeout = '5s'; SELECT pg_reload_conf();",
        is_needed: false,
    },
    Setting {
        what: "synchronous_commit is weaker than on: commits are acknowledged before standbys have flushed them",
        check: "current_setting('synchronous_commit') IN ('on', 'remote_apply')",
        mend: "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
        is_needed: false,
    },
];

impl Postgres {
    /// What is missing at an instance for the role that this provider signs in as; nothing if all is well. That it may
    /// sign in from here is seen by that it could.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn preflight(&self, of: &Address, within: Duration) -> Result<Vec<Lack>> {
        let call = Call::begin("preflight", within);
        call.run(async {
            let session = self.open(&call, of).await?;
            let mut lacks = rights(&call, &session).await?;
            lacks.extend(secret(&call, &session).await?);
            let checks: Vec<_> = SETTINGS.iter().map(|it| it.check).collect();
            let found = answers(&call, &session, &checks).await?;
            let wrong = SETTINGS.iter().zip(found).filter(|(_, is_well)| !is_well);
            lacks.extend(wrong.map(|(setting, _)| Lack {
                what: setting.what.to_owned(),
                mend: setting.mend.to_owned(),
                is_needed: setting.is_needed,
            }));
            Ok(lacks)
        })
        .await
    }
}

async fn rights(call: &Call, session: &Session) -> Result<Vec<Lack>> {
    let rows = session.ask(call, "SELECT current_user").await?;
    let role = rows.first().and_then(|row| row.get(0)).unwrap_or_default();
    if !session.version()?.grants_settings() {
        let is_superuser = "current_setting('is_superuser') = 'on'";
        let found = answers(call, session, &[is_superuser]).await?;
        let lack = Lack {
            what: "before PostgreSQL 15 only a superuser changes settings".to_owned(),
            mend: format!("ALTER ROLE \"{}\" SUPERUSER;", role.replace('"', "\"\"")),
            is_needed: true,
        };
        return Ok(match found.as_slice() {
            [true] => vec![],
            _ => vec![lack],
        });
    }
    let checks: Vec<_> = RIGHTS.iter().map(|it| it.check).collect();
    let found = answers(call, session, &checks).await?;
    let missing = RIGHTS.iter().zip(found).filter(|(_, has)| !has);
    let lack = |(right, _): (&super::grants::Right, bool)| Lack {
        what: format!("{role} may not {}", right.why),
        mend: format!("{};", right.given_to(role)),
        is_needed: true,
    };
    Ok(missing.map(lack).collect())
}

/// A standby whose source could not be changed without its password coming into the log.
async fn secret(call: &Call, session: &Session) -> Result<Option<Lack>> {
    let statement = format!("SELECT current_setting('primary_conninfo', true), {LOGS_NO_VALUES}");
    let rows = match session.ask(call, &statement).await {
        Ok(rows) => rows,
        // Then `pg_monitor` is missing, which is said already.
        Err(ProviderError::PermissionDenied { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let source = Conninfo::parse(row.get(0).unwrap_or_default());
    let is_told = row.get(1) != Some("t");
    let has_secret = source.is_ok_and(|it| it.has_secret());
    Ok((has_secret && is_told).then(|| Lack {
        what: "primary_conninfo holds a password, which reparent and detach would write to the server's log".to_owned(),
        mend: format!("{REMEDY}, and name that with passfile= in primary_conninfo"),
        is_needed: true,
    }))
}

/// The answer to each question, in one round trip.
async fn answers(call: &Call, session: &Session, questions: &[&str]) -> Result<Vec<bool>> {
    let columns: Vec<_> = questions.iter().map(|it| format!("({it})")).collect();
    let rows = session
        .ask(call, &format!("SELECT {}", columns.join(", ")))
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| ProviderError::Parse("no row".to_owned()))?;
    let answer = |column| row.get(column) == Some("t");
    Ok((0..questions.len()).map(answer).collect())
}
