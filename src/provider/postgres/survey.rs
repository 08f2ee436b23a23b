//! What a server beside an agent is, before it is looked after: read once, through one session, changing nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::SimpleQueryRow;

use super::call::Call;
use super::local::{Endpoint, LocalPostgres};
use super::session::Session;
use super::settings::literal;
use crate::model::{SystemIdentifier, Timeline};
use crate::provider::{ProviderError, Result};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its history.
    pub system: SystemIdentifier,
    /// Whether it is in recovery.
    pub is_standby: bool,
    /// The branch that it writes or receives; none on a standby that receives nothing.
    pub timeline: Option<Timeline>,
    /// Where it streams from and how that goes, in words; none if it streams from nobody.
    pub source: Option<String>,
    /// Whether the session is a superuser's.
    pub is_superuser: bool,
    /// Who streams from it: name, where, how.
    pub clients: Vec<String>,
    /// The slots of others that keep WAL on it.
    pub slots: Vec<String>,
    /// How many base backups are being taken from it.
    pub backups: u32,
    /// The names of tablespaces outside the data folder.
    pub tablespaces: Vec<String>,
    /// The settings that were asked for, by name, those that it does not know left out.
    pub settings: BTreeMap<String, Setting>,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As `SHOW` shows it.
    pub value: String,
    /// Whether only a start of the server changes it.
    pub needs_start: bool,
    /// Where it comes from, in PostgreSQL's words, such as `configuration file` or `command line`.
    pub source: String,
}

const FACTS: &str = r"
SELECT (SELECT system_identifier FROM pg_control_system()),
       pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli::text FROM pg_stat_wal_receiver)
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int::text END,
       (SELECT concat(sender_host, ':', sender_port) FROM pg_stat_wal_receiver WHERE status = 'streaming'),
       current_setting('is_superuser') = 'on',
       (SELECT count(*) FROM pg_stat_replication WHERE state = 'backup')";
const CLIENTS: &str = "SELECT concat(application_name, ' at ', coalesce(host(client_addr), 'this host'), ', ', state) \
    FROM pg_stat_replication ORDER BY 1";
const SLOTS: &str = "SELECT concat(slot_name, ' (', slot_type, ')') FROM pg_replication_slots \
    WHERE NOT temporary AND slot_name !~ '^primacy_' ORDER BY 1";
const TABLESPACES: &str =
    "SELECT spcname FROM pg_tablespace WHERE pg_tablespace_location(oid) <> '' ORDER BY 1";

impl LocalPostgres {
    /// Looks at a server that is not looked after yet, and at these settings of it.
    pub async fn survey(endpoint: &Endpoint, names: &[&str], within: Duration) -> Result<Survey> {
        let listed: Vec<_> = names.iter().map(|name| literal(name)).collect();
        let settings = format!(
            "SELECT name, current_setting(name), context = 'postmaster', source FROM pg_settings WHERE name IN ({})",
            listed.join(", ")
        );
        let work = async {
            let session = Session::beside(endpoint, Some(within)).await?;
            let facts = session.rows(FACTS).await?;
            let facts = facts.first().ok_or_else(|| missing("a row of facts"))?;
            let column = async |statement| -> Result<Vec<String>> {
                let rows = session.rows(statement).await?;
                Ok(rows.iter().map(|row| text(row, 0)).collect())
            };
            let rows = session.rows(&settings).await?;
            let setting = |row: &SimpleQueryRow| {
                let setting = Setting {
                    value: text(row, 1),
                    needs_start: row.get(2) == Some("t"),
                    source: text(row, 3),
                };
                (text(row, 0), setting)
            };
            Ok(Survey {
                system: SystemIdentifier(
                    number(facts, 0).ok_or_else(|| missing("its system identifier"))?,
                ),
                is_standby: facts.get(1) == Some("t"),
                timeline: number(facts, 2).map(Timeline),
                source: facts.get(3).map(str::to_owned),
                is_superuser: facts.get(4) == Some("t"),
                backups: number(facts, 5).unwrap_or_default(),
                clients: column(CLIENTS).await?,
                slots: column(SLOTS).await?,
                tablespaces: column(TABLESPACES).await?,
                settings: rows.iter().map(setting).collect(),
            })
        };
        Call::begin("survey", within).run(work).await
    }
}

fn text(row: &SimpleQueryRow, column: usize) -> String {
    row.get(column).unwrap_or_default().to_owned()
}

fn number<T: std::str::FromStr>(row: &SimpleQueryRow, column: usize) -> Option<T> {
    row.get(column)?.parse().ok()
}

fn missing(what: &str) -> ProviderError {
    ProviderError::Precondition(format!("the server does not say {what}"))
}
