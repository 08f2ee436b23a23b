//! The one statement that says what an instance is, and what it means.

use std::time::Duration;

use super::call::Call;
use super::catalogue::Version;
use super::conninfo::Conninfo;
use super::lag;
use super::log_ends;
use super::replicas::{self, Others};
use super::session::Session;
use super::weak;
use crate::model::{
    Address, LogEnds, Lsn, Position, ReplicationStatus, Role, SourceFacts, SystemIdentifier,
    Timeline, WalPosition,
};
use crate::provider::{ProviderError, Result};

// What a standby without a receiver has received last is in a file whose name has the timeline: the highest of that
// segment, because a new timeline begins with a copy of the segment in which the old one ended. The control file may lag.
// A table's alias in front of a receiver's columns tells them from functions of the same names. Every column is a text,
// whichever way it is asked for.
const STATEMENT: &str = r"
SELECT state.recovering::text,
       (SELECT system_identifier FROM pg_control_system())::text,
       current_setting('port'),
       current_setting('primary_conninfo'),
       current_setting('primary_slot_name'),
       current_setting('synchronous_standby_names'),
       current_setting('synchronous_commit'),
       current_setting('default_transaction_read_only'),
       CASE WHEN state.recovering THEN {pause_state} END,
       CASE WHEN state.recovering THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), r.{flushed}) END::text,
       CASE WHEN state.recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
       CASE WHEN NOT state.recovering THEN pg_walfile_name(pg_current_wal_insert_lsn()) END,
       r.received_tli::text,
       CASE WHEN state.recovering AND r.received_tli IS NULL THEN (
           SELECT max(left(name, 8)) FROM pg_ls_waldir()
            WHERE name ~ '^[0-9A-F]{24}$'
              AND right(name, 16) = lpad(upper(to_hex(segment.number / segment.in_file)), 8, '0')
                                 || lpad(upper(to_hex(segment.number % segment.in_file)), 8, '0')) END,
       r.status, r.sender_host, r.sender_port::text, r.conninfo,
       (1000 * extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time))::bigint::text,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::bigint::text,
       (1000 * extract(epoch FROM current_setting('wal_receiver_timeout')::interval))::bigint::text,
       (current_setting('wal_log_hints') = 'on' OR current_setting('data_checksums') = 'on')::text,
       (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep')::text,
       current_setting('server_version'),
       (SELECT wait_event = '{waits_for_wal}' FROM pg_stat_activity WHERE backend_type = 'startup')::text,
       (1000000 * extract(epoch FROM pg_postmaster_start_time()))::bigint::text,
       CASE WHEN NOT state.recovering THEN concat_ws(' ', pg_current_wal_flush_lsn(), pg_current_wal_insert_lsn(), current_setting('wal_block_size'), pg_size_bytes(current_setting('wal_segment_size'))) END,
       CASE WHEN NOT state.recovering AND current_setting('synchronous_standby_names') <> '' THEN {weak} END{replicas}
  FROM (SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS state
  LEFT JOIN pg_stat_wal_receiver AS r ON true
 CROSS JOIN LATERAL (
       SELECT CASE WHEN state.recovering THEN
                  (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/1'::pg_lsn)::bigint / size END AS number,
              4294967296 / size AS in_file
         FROM (SELECT pg_size_bytes(current_setting('wal_segment_size')) AS size) AS sizes) AS segment";

/// The columns in which a look has who receives from it, and which slots nobody uses.
const REPLICAS: usize = 28;
const SLOTS: usize = 29;

/// What an instance is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub in_recovery: bool,
    pub system: SystemIdentifier,
    pub own_port: u16,
    /// When the postmaster started, in microseconds since 1970.
    pub started: u64,
    pub conninfo: String,
    pub slot: String,
    pub synchronous_standby_names: String,
    pub synchronous_commit: String,
    pub read_only_default: bool,
    /// `not paused`, `pause requested`, `paused`; empty on a primary.
    pub pause: String,
    /// On a standby.
    pub received: Option<Lsn>,
    /// Applied on a standby, written on a primary; none on a standby that has replayed nothing.
    pub applied: Option<Lsn>,
    pub timeline: Option<Timeline>,
    pub receiver: Option<ReceiverSeen>,
    /// How old the last transaction is that was replayed, in seconds; none without one.
    pub replayed_age: Option<i64>,
    /// `wal_receiver_timeout`; none if it is off.
    pub receiver_timeout: Option<Duration>,
    pub can_be_rewound: bool,
    pub waiting: u32,
    pub version: String,
    /// Whether its startup process has replayed every whole record and waits for more.
    pub waits_for_wal: bool,
    /// On a primary.
    pub log: Option<LogEnds>,
    /// Whose commits do not wait although standbys are named, each with the setting.
    pub weak: Vec<String>,
}

/// A row of `pg_stat_wal_receiver`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiverSeen {
    pub status: String,
    pub source: Address,
    pub conninfo: String,
    pub silent_for: Duration,
}

impl Snapshot {
    /// Asks. Errors: what a session can give.
    pub(super) async fn read(session: &Session, call: &Call) -> Result<Snapshot> {
        let statement = statement(session.version()?, "");
        let rows = match session.ask(call, &statement).await {
            Err(error) if recovery_ended(&error) => session.ask(call, &statement).await?,
            rows => rows?,
        };
        let row = rows.first().ok_or_else(no_row)?;
        understand(|column| row.get(column))
    }

    /// Asks what is asked time after time: the same, and who receives from it. Errors: what a session can give.
    pub(super) async fn look(session: &Session, call: &Call) -> Result<(Snapshot, Others)> {
        let version = session.version()?;
        let statement = || statement(version, &format!(",\n       {}", replicas::COLUMNS));
        let row = match session.look(call, statement).await {
            Err(error) if recovery_ended(&error) => session.look(call, statement).await?,
            row => row?,
        };
        let row = row.ok_or_else(no_row)?;
        let text = |column| row.try_get::<_, Option<&str>>(column).ok().flatten();
        let others = replicas::understand(text(REPLICAS), text(SLOTS))?;
        Ok((understand(text)?, others))
    }

    pub fn role(&self) -> Role {
        let detached = || Conninfo::parse(&self.conninfo).is_ok_and(|it| it.is_detached());
        match self.in_recovery {
            false => Role::Primary,
            true if detached() => Role::Detached,
            true => Role::Standby,
        }
    }

    /// Whether it receives from a source that was heard not long ago.
    pub fn hears_its_source(&self) -> bool {
        let limit = lag::heard_within(self.receiver_timeout);
        let receiver = self.receiver.as_ref();
        receiver.is_some_and(|it| it.status == "streaming" && it.silent_for <= limit)
    }

    /// Whether it has applied all that can be. What it received may end in the middle of a record: a primary that
    /// falls idle sends whole pages, and the rest of the record up to 15 s later.
    pub fn is_caught_up(&self) -> bool {
        let has_all = self.received <= self.applied || self.waits_for_wal;
        self.in_recovery && self.hears_its_source() && has_all
    }

    fn at(&self, lsn: Option<Lsn>) -> Option<Position> {
        let (timeline, lsn) = (self.timeline?, lsn?);
        Some(Position::Wal(WalPosition { timeline, lsn }))
    }

    pub fn received_at(&self) -> Option<Position> {
        self.at(self.received)
    }

    pub fn applied_at(&self) -> Option<Position> {
        self.at(self.applied)
    }

    /// As others see it. `caught_up_for` is how long ago it was last seen to have applied everything.
    pub fn status(&self, caught_up_for: Option<Duration>) -> ReplicationStatus {
        let hears = self.in_recovery && self.hears_its_source();
        let applies = self.in_recovery && self.pause == "not paused";
        let position = self.received.or(self.applied).unwrap_or_default();
        let silent = self.receiver.as_ref().map(|it| it.silent_for);
        ReplicationStatus {
            replica_running: hears && applies,
            sql_thread_running: applies,
            io_thread_running: hears,
            position: position.to_string(),
            lag: lag::seconds(self, caught_up_for),
            received: self.received_at(),
            applied: self.applied_at(),
            receiver_silent_for_ms: silent.map(|it| it.as_millis() as u64),
            apply_paused: self.in_recovery && !applies,
            caught_up: self.in_recovery.then(|| self.is_caught_up()),
        }
    }

    /// Whom it follows: by the connection that stands, else by what its settings name first.
    pub fn source(&self) -> Option<SourceFacts> {
        if self.role() != Role::Standby {
            return None;
        }
        let settings = Conninfo::parse(&self.conninfo).ok();
        let named = settings.as_ref().filter(|it| !it.is_empty());
        let connected = self.receiver.as_ref();
        let of_receiver = connected.and_then(|it| Conninfo::parse(&it.conninfo).ok());
        let address = match connected {
            Some(receiver) => receiver.source.clone(),
            None => named?.key().ok()?,
        };
        let option = |name: &str| {
            let read = of_receiver.as_ref().or(named);
            read.and_then(|it| it.get(name))
                .unwrap_or_default()
                .to_owned()
        };
        Some(SourceFacts {
            address,
            // A standby of `pg_basebackup -R` has none of its own: its server's name, or that of every receiver.
            application_name: Some(option("application_name"))
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| option("fallback_application_name")),
            user: option("user"),
            slot: Some(self.slot.clone()).filter(|slot| !slot.is_empty()),
        })
    }
}

/// Whether recovery ended between two of the columns: some of its functions refuse then, and what it is now is read again.
fn recovery_ended(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Server { sqlstate, .. } if sqlstate == "55000")
}

fn no_row() -> ProviderError {
    ProviderError::Parse("no row".to_owned())
}

fn statement(version: Version, replicas: &str) -> String {
    STATEMENT
        .replace("{pause_state}", version.pause_state())
        .replace("{flushed}", version.flushed_column())
        .replace("{waits_for_wal}", version.waits_for_wal())
        .replace("{weak}", weak::COLUMN)
        .replace("{replicas}", replicas)
}

/// `column` has the text of a column; none if it is null.
pub(crate) fn understand<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Result<Snapshot> {
    let text = |at: usize| column(at).unwrap_or_default();
    let odd = |what: &str| ProviderError::Parse(format!("{what} of an instance"));
    let lsn = |at: usize| match column(at) {
        None => Ok(None),
        Some(text) => text.parse::<Lsn>().map(Some).map_err(|_| odd("position")),
    };
    let number = |at: usize| column(at).and_then(|it| it.parse::<i64>().ok());
    let millis = |at: usize| number(at).map(|it| Duration::from_millis(it.max(0) as u64));
    let in_recovery = match text(0) {
        "true" => true,
        "false" => false,
        _ => return Err(odd("recovery")),
    };
    let timeline = match (in_recovery, column(12)) {
        (true, Some(received)) => received.parse().ok(),
        (true, None) => hexadecimal(text(13)),
        (false, _) => hexadecimal(text(11)),
    };
    let receiver = column(14).map(|status| ReceiverSeen {
        status: status.to_owned(),
        source: Address {
            host: text(15).to_owned(),
            port: text(16).parse().unwrap_or_default(),
        },
        conninfo: text(17).to_owned(),
        silent_for: millis(18).unwrap_or(Duration::MAX),
    });
    Ok(Snapshot {
        in_recovery,
        system: SystemIdentifier(text(1).parse().map_err(|_| odd("system identifier"))?),
        own_port: text(2).parse().map_err(|_| odd("port"))?,
        started: text(25).parse().map_err(|_| odd("time of start"))?,
        conninfo: text(3).to_owned(),
        slot: text(4).to_owned(),
        synchronous_standby_names: text(5).to_owned(),
        synchronous_commit: text(6).to_owned(),
        read_only_default: text(7) == "on",
        pause: text(8).to_owned(),
        received: lsn(9)?,
        applied: lsn(10)?,
        timeline: timeline.map(Timeline),
        receiver,
        replayed_age: number(19),
        receiver_timeout: millis(20).filter(|it| !it.is_zero()),
        can_be_rewound: text(21) == "true",
        waiting: text(22).parse().unwrap_or_default(),
        version: text(23).to_owned(),
        waits_for_wal: text(24) == "true",
        log: match column(26) {
            None | Some("") => None,
            Some(text) => Some(log_ends::understand(text).ok_or_else(|| odd("log"))?),
        },
        weak: weak::understand(column(27)),
    })
}

/// The timeline at the beginning of the name of a WAL file.
fn hexadecimal(name: &str) -> Option<u32> {
    u32::from_str_radix(name.get(..8)?, 16).ok()
}

#[cfg(test)]
pub(super) mod example {
    use super::*;

    /// A standby that streams and has applied all of it.
    pub fn standby() -> Snapshot {
        Snapshot {
            in_recovery: true,
            system: SystemIdentifier(7),
            own_port: 5433,
            started: 1,
            conninfo: "host=a port=5432 user=r application_name=s1".to_owned(),
            slot: "s1".to_owned(),
            synchronous_standby_names: String::new(),
            synchronous_commit: "on".to_owned(),
            read_only_default: false,
            pause: "not paused".to_owned(),
            received: Some(Lsn(100)),
            applied: Some(Lsn(100)),
            timeline: Some(Timeline(1)),
            receiver: Some(ReceiverSeen {
                status: "streaming".to_owned(),
                source: Address {
                    host: "a".to_owned(),
                    port: 5432,
                },
                conninfo: "user=r application_name=s1 host=a port=5432".to_owned(),
                silent_for: Duration::ZERO,
            }),
            replayed_age: Some(4),
            receiver_timeout: Some(Duration::from_secs(60)),
            can_be_rewound: true,
            waiting: 0,
            version: "15.18".to_owned(),
            waits_for_wal: false,
            log: None,
            weak: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_the_source_is_found_however_it_is_written() {
        let mut seen = example::standby();
        seen.receiver = None;
        for (conninfo, expected) in [
            ("host='a b' passfile='/x'", Some("a b:5432")),
            ("postgresql://r@[::1]:7/?x=y", Some("::1:7")),
            ("user=r passfile='' host=c,d port=1,2", Some("c:1")),
            ("hostaddr=10.0.0.1", Some("10.0.0.1:5432")),
            ("", None),
            ("host", None),
        ] {
            seen.conninfo = conninfo.to_owned();
            let found = seen.source().map(|it| it.address.to_string());
            assert_eq!(found.as_deref(), expected, "{conninfo}");
        }
    }

    #[test]
    fn each_version_is_asked_what_it_knows() {
        let asked = |version| statement(Version(version), "");
        assert!(
            asked(12).contains("r.received_lsn") && asked(12).contains("pg_is_wal_replay_paused")
        );
        assert!(
            asked(13).contains("r.flushed_lsn") && asked(13).contains("pg_is_wal_replay_paused")
        );
        assert!(asked(14).contains("pg_get_wal_replay_pause_state"));
        assert!(
            (12..18).all(
                |version| !asked(version).contains("{pause") && !asked(version).contains("{fl")
            )
        );
    }
}
