//! What an instance lacks for being looked after over SQL: right by right, setting by setting, and for each that may have to
//! stream from it one day; each with the line that mends it.

pub(crate) mod hba;
pub(crate) mod room;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};

use super::call::Call;
use super::conninfo::Conninfo;
use super::grants::RIGHTS;
use super::installations;
use super::remote::Postgres;
use super::session::Session;
use super::sources::NO_SECRET;
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

/// Somebody who may have to stream from an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// As which role.
    pub user: String,
    /// From where; none if that is not known.
    pub address: Option<IpAddr>,
    /// The slot that it would bring with it.
    pub slot: Option<String>,
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
    /// What is missing at an instance for the role that this provider signs in as, and for those who may have to stream from
    /// it; nothing if all is well. That it may sign in from here is seen by that it could. Without `receivers` those count
    /// who stream from it now, and of a standby whom it follows itself: after a change of primary that one follows it.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn preflight(
        &self,
        of: &Address,
        receivers: &[Receiver],
        within: Duration,
    ) -> Result<Vec<Lack>> {
        let call = Call::begin("preflight", within);
        call.run(async {
            let session = match self.take(of) {
                Some(kept) => kept,
                None => self.open(&call, of).await?,
            };
            let mut lacks = rights(&call, &session).await?;
            lacks.extend(version(&session)?);
            lacks.extend(secret(&call, &session).await?);
            let checks: Vec<_> = SETTINGS.iter().map(|it| it.check).collect();
            let found = answers(&call, &session, &checks).await?;
            let wrong = SETTINGS.iter().zip(found).filter(|(_, is_well)| !is_well);
            lacks.extend(wrong.map(|(setting, _)| Lack {
                what: setting.what.to_owned(),
                mend: setting.mend.to_owned(),
                is_needed: setting.is_needed,
            }));
            lacks.extend(of_receivers(&call, &session, receivers).await?);
            let own = self.application_name();
            let others = installations::others(&call, &session, own).await?;
            lacks.extend(others.iter().map(|it| installations::lack(it, own)));
            self.keep(of, session);
            Ok(lacks)
        })
        .await
    }
}

/// What those lack who stream from it, or would. What may not be read is left out: that the right is missing is said.
async fn of_receivers(call: &Call, session: &Session, others: &[Receiver]) -> Result<Vec<Lack>> {
    let seen: Seen = told(call, session, SEEN).await?.unwrap_or_default();
    let (places, receivers) = seen.expects(others);
    let mut lacks = room::missing(places);
    let may_read = answers(call, session, &[MAY_READ_LINES]).await?;
    if may_read != [true] {
        return Ok(lacks);
    }
    let statement = LINES.replace("{order}", session.version()?.hba_order());
    let lines: Vec<hba::Line> = told(call, session, &statement).await?.unwrap_or_default();
    let members: Vec<(String, String)> = told(call, session, MEMBERS).await?.unwrap_or_default();
    let groups = |user: &str| {
        let of = members.iter().filter(|(member, _)| member == user);
        of.map(|(_, group)| group.clone()).collect()
    };
    lacks.extend(hba::missing(&lines, &receivers, groups, &seen.file));
    Ok(lacks)
}

impl Seen {
    /// Which places are taken and wanted, and who is to be let in: `others`, or else those who stream now and whom a standby
    /// follows itself.
    pub(crate) fn expects(&self, others: &[Receiver]) -> (room::Places, Vec<Receiver>) {
        let is_receiver = |it: &&ReceiverSeen| !it.user.is_empty();
        let streaming = self.receivers.iter().filter(is_receiver);
        let now = streaming.map(|it| Receiver {
            user: it.user.clone(),
            address: it.address,
            slot: it.slot.clone(),
        });
        let source = Conninfo::parse(&self.conninfo).ok();
        let own = source.as_ref().and_then(|it| it.get("user"));
        // It is not known which slot the one that it follows would need.
        let former = own.map(|user| Receiver {
            user: user.to_owned(),
            address: self.source.parse().ok(),
            slot: None,
        });
        let to_come = match others {
            [] => usize::from(former.is_some()),
            others => others.len().saturating_sub(self.receivers.len()),
        };
        let slots = others.iter().filter_map(|it| it.slot.as_ref());
        let places = room::Places {
            senders: self.senders as usize,
            sending: self.sending as usize,
            slots: self.slots as usize,
            slots_made: self.slots_made.len(),
            to_come,
            slots_to_come: slots.filter(|it| !self.slots_made.contains(it)).count(),
        };
        let receivers = match others {
            [] => now.chain(former).collect(),
            others => others.to_vec(),
        };
        (places, receivers)
    }
}

/// What a server tells of itself as a text of JSON.
async fn told<T: DeserializeOwned>(
    call: &Call,
    session: &Session,
    statement: &str,
) -> Result<Option<T>> {
    let rows = session.ask(call, statement).await?;
    let text = rows.first().and_then(|row| row.get(0));
    let told = text.map(serde_json::from_str).transpose();
    told.map_err(|error| ProviderError::Parse(format!("an answer of a preflight: {error}")))
}

/// What [`SEEN`] asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Seen {
    senders: u32,
    sending: u32,
    slots: u32,
    slots_made: Vec<String>,
    receivers: Vec<ReceiverSeen>,
    conninfo: String,
    source: String,
    file: String,
}

/// Without the right to see it, all of it is missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReceiverSeen {
    user: String,
    address: Option<IpAddr>,
    slot: Option<String>,
}

const SEEN: &str = "SELECT json_strip_nulls(json_build_object(
    'senders', current_setting('max_wal_senders')::int,
    'sending', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
    'slots', current_setting('max_replication_slots')::int,
    'slots_made', (SELECT json_agg(slot_name) FROM pg_replication_slots),
    'receivers', (SELECT json_agg(json_build_object('user', usename, 'address', host(client_addr), 'slot', slot_name))
                    FROM pg_stat_replication LEFT JOIN pg_replication_slots ON active_pid = pid
                   WHERE slot_type IS DISTINCT FROM 'logical' AND state <> 'backup'),
    'conninfo', CASE WHEN may_read AND pg_is_in_recovery() THEN current_setting('primary_conninfo') END,
    'source', (SELECT sender_host FROM pg_stat_wal_receiver),
    'file', CASE WHEN may_read THEN current_setting('hba_file') ELSE 'pg_hba.conf' END))
  FROM (SELECT pg_has_role('pg_read_all_settings', 'USAGE') AS may_read OFFSET 0) AS rights";

const MAY_READ_LINES: &str = "has_table_privilege('pg_hba_file_rules', 'SELECT') AND has_function_privilege('pg_hba_file_rules()', 'EXECUTE')";

const LINES: &str = "SELECT json_strip_nulls(json_agg(json_build_object(
    'number', line_number, 'kind', type, 'databases', database, 'users', user_name, 'address', address,
    'netmask', netmask, 'method', auth_method, 'error', error) ORDER BY {order})) FROM pg_hba_file_rules";

/// A superuser is a member of what it was made one of, for this file.
const MEMBERS: &str = "SELECT json_agg(json_build_array(member.rolname, role.rolname))
  FROM pg_roles AS member JOIN pg_roles AS role ON pg_has_role(member.oid, role.oid, 'MEMBER')
 WHERE member.rolreplication AND NOT member.rolsuper";

/// A server whose source cannot be changed while it runs.
fn version(session: &Session) -> Result<Option<Lack>> {
    let reloads = session.version()?.reloads_source();
    Ok((!reloads).then(|| Lack {
        what: "PostgreSQL 12 must be restarted for another source: over SQL no standby of it is revoked or repointed"
            .to_owned(),
        mend: "upgrade to 13 or later, or run an agent on its host".to_owned(),
        is_needed: true,
    }))
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
        is_needed: right.is_needed,
    };
    Ok(missing.map(lack).collect())
}

/// A standby whose source could not be changed without its password coming where it should not be.
async fn secret(call: &Call, session: &Session) -> Result<Option<Lack>> {
    let statement = "SELECT current_setting('primary_conninfo', true)";
    let rows = match session.ask(call, statement).await {
        Ok(rows) => rows,
        // Then `pg_monitor` is missing, which is said already.
        Err(ProviderError::PermissionDenied { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let setting = rows.first().and_then(|row| row.get(0));
    let source = Conninfo::parse(setting.unwrap_or_default());
    let has_secret = source.is_ok_and(|it| it.has_secret());
    Ok(has_secret.then(|| Lack {
        what: "primary_conninfo holds a password: Primacy neither takes its source away nor gives it another one, because \
               that would copy the password to postgresql.auto.conf and to the server's log"
            .to_owned(),
        mend: NO_SECRET.to_owned(),
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
