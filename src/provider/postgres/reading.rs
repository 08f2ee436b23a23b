//! The one statement that says what a session sees.

use std::sync::LazyLock;
use std::time::Duration;

use tokio_postgres::SimpleQueryRow;

use super::conninfo::{Conninfo, DEFAULT_PORT};
use super::session::Session as Connection;
use super::weak;
use crate::duty::{Replay, Session, SourceSeen};
use crate::model::{Address, Lsn, Timeline, WalPosition};
use crate::provider::{ProviderError, Reading, Result};

// Until something comes a receiver shows its own beginning for both times of the last message.
// `pg_stat_wal_receiver` hides a receiver that is connecting; `pg_stat_activity` shows it.
static STATEMENT: LazyLock<String> = LazyLock::new(|| WHOLE.replace("{weak}", weak::COLUMN));
const WHOLE: &str = r"
SELECT recovering,
       current_setting('primary_conninfo'),
       current_setting('restore_command'),
       current_setting('synchronous_standby_names'),
       current_setting('synchronous_commit'),
       current_setting('default_transaction_read_only'),
       (SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type = 'walreceiver'),
       (SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'),
       CASE WHEN recovering THEN pg_get_wal_replay_pause_state() END,
       CASE WHEN recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
       CASE WHEN NOT recovering THEN pg_walfile_name(pg_current_wal_insert_lsn()) END,
       r.status, r.conninfo, r.flushed_lsn, r.received_tli,
       (1000 * extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time))::bigint,
       CASE WHEN NOT recovering THEN {weak} END,
       CASE WHEN NOT recovering THEN (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep') END,
       CASE WHEN recovering THEN
           (1000 * extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))::bigint END,
       (SELECT wait_event = 'RecoveryWalStream' FROM pg_stat_activity WHERE backend_type = 'startup'),
       r.last_msg_send_time <> r.last_msg_receipt_time
  FROM (SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS state
  LEFT JOIN pg_stat_wal_receiver AS r ON true";

pub(super) async fn read(connection: &Connection) -> Result<Reading> {
    let rows = connection.rows(&STATEMENT).await?;
    let row = rows
        .first()
        .ok_or_else(|| ProviderError::Parse("no row".to_owned()))?;
    understand(row)
}

pub(super) fn lsn(text: Option<&str>) -> Result<Lsn> {
    let text = text.unwrap_or("0/0");
    text.parse()
        .map_err(|error| ProviderError::Parse(format!("{error}")))
}

/// What a `primary_conninfo` names; none if it is empty. One that PostgreSQL could not read either is a source without a
/// name, not none: a fence that emptied it has not been obeyed yet.
fn source(conninfo: &str) -> Option<SourceSeen> {
    if conninfo.trim().is_empty() {
        return None;
    }
    let read = Conninfo::parse(conninfo).ok();
    let address = read.and_then(|read| read.key().ok());
    Some(SourceSeen {
        address: address.unwrap_or(Address {
            host: String::new(),
            port: DEFAULT_PORT,
        }),
        application_name: name(conninfo),
    })
}

fn name(conninfo: &str) -> String {
    let read = Conninfo::parse(conninfo).ok();
    let name = read.as_ref().and_then(|read| read.get("application_name"));
    name.unwrap_or_default().to_owned()
}

fn understand(row: &SimpleQueryRow) -> Result<Reading> {
    let text = |column: usize| row.get(column).unwrap_or_default();
    let in_recovery = text(0) == "t";
    let timeline = if in_recovery {
        Timeline(text(14).parse().unwrap_or_default())
    } else {
        Timeline(
            text(10)
                .get(..8)
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| ProviderError::Parse("no timeline".to_owned()))?,
        )
    };
    let receiver_processes: Vec<i32> = text(6)
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    let silent = Duration::from_millis(text(15).parse::<i64>().unwrap_or(i64::MAX).max(0) as u64);
    let session = Session {
        in_recovery,
        source: source(text(1)),
        restores: !text(2).is_empty(),
        synchronous_standby_names: text(3).to_owned(),
        commits_wait: weak::waits(text(4)),
        read_only_default: text(5) == "on",
        receivers: receiver_processes.len(),
        streams: (text(11) == "streaming").then(|| (name(text(12)), silent)),
        has_received: text(20) == "t",
        replay: match text(8) {
            "paused" => Replay::Paused,
            "pause requested" => Replay::Requested,
            _ => Replay::Running,
        },
        position: WalPosition {
            timeline,
            lsn: lsn(row.get(9))?,
        },
    };
    // After a start the receiver counts from the beginning of a segment; what was replayed was on disk.
    let received = match row.get(13) {
        Some(flushed) => Some(WalPosition {
            timeline,
            lsn: lsn(Some(flushed))?.max(session.position.lsn),
        }),
        None => None,
    };
    let mut weak_commits = weak::understand(row.get(16));
    if !in_recovery && !session.commits_wait {
        weak_commits.push(weak::of_everybody(text(4)));
    }
    let position = session.position.lsn;
    let applied_age = row.get(18).and_then(|millis| millis.parse::<i64>().ok());
    Ok(Reading {
        session,
        // What was received may end in the middle of a record.
        has_applied_all: in_recovery
            && (received.is_none_or(|it| position >= it.lsn) || text(19) == "t"),
        commits_waiting: text(17).parse().unwrap_or_default(),
        applied_age: applied_age.map(|millis| Duration::from_millis(millis.max(0) as u64)),
        weak_commits,
        receiver_processes,
        startup_process: text(7).parse().ok(),
        received,
    })
}
