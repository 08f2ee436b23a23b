//! What an instance of any engine shows of its replication, and what is asked of it over SQL.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster::Address;
use super::ids::SystemIdentifier;
use super::time::Timestamp;
use super::wal::{Lsn, Timeline, WalPosition};

/// A place in a history, as its engine counts. Two are compared by a provider alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// PostgreSQL.
    Wal(WalPosition),
    /// MySQL's set of transactions.
    MysqlGtid(String),
    /// MariaDB's set of transactions.
    MariadbGtid(String),
    /// A place in a file, where there are no sets.
    Binlog {
        /// The file.
        file: String,
        /// Bytes into it.
        offset: u64,
    },
}

/// How one position stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionOrder {
    /// The same.
    Equal,
    /// It holds all of the other and more.
    Ahead,
    /// The other holds all of it and more.
    Behind,
    /// Each holds something that the other has not.
    Diverged,
    /// It cannot be said: positions on two timelines, or of two engines.
    Incomparable,
}

/// How an instance replicates. The first five fields have the names and the meaning of the database provider abstraction
/// that others know; the rest is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationStatus {
    /// Whether replication is fully operational: it receives and applies. Never on a primary.
    #[serde(rename = "ReplicaRunning")]
    pub replica_running: bool,
    /// Whether what is received is applied.
    #[serde(rename = "SQLThreadRunning")]
    pub sql_thread_running: bool,
    /// Whether it receives from a source that was heard not long ago.
    #[serde(rename = "IOThreadRunning")]
    pub io_thread_running: bool,
    /// Where it stands, as text of its engine that nobody but its provider reads.
    #[serde(rename = "Position")]
    pub position: String,
    /// Seconds behind its source; -1 if unknown, 0 on a primary.
    #[serde(rename = "Lag")]
    pub lag: i64,
    /// The end of what it has received; a promotion would keep it up to the last whole record. None if unknown.
    pub received: Option<Position>,
    /// The end of what it has applied, or written on a primary. None if unknown.
    pub applied: Option<Position>,
    /// How long its source has been silent, in milliseconds; none without a connection to it.
    pub receiver_silent_for_ms: Option<u64>,
    /// Whether applying is paused, or asked to pause.
    pub apply_paused: bool,
    /// Whether all that was received is applied and the source was heard not long ago; none on a primary.
    pub caught_up: Option<bool>,
}

/// What an instance is, as a session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It accepts writes, if its settings do.
    Primary,
    /// It is in recovery and has a source, or waits for one.
    Standby,
    /// It is in recovery and was told to follow nobody, until it is reattached.
    Detached,
}

impl Role {
    /// Whether it is in recovery.
    pub fn is_in_recovery(self) -> bool {
        match self {
            Role::Primary => false,
            Role::Standby | Role::Detached => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "a primary",
            Role::Standby => "a standby",
            Role::Detached => "a detached standby",
        })
    }
}

/// What is known of an instance from asking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// Under which address it was asked.
    pub address: Address,
    /// The port that it says it listens on. Another than that of `address` behind a proxy.
    pub own_port: u16,
    /// When its postmaster started, in microseconds since 1970 on its own clock. With the port it tells one server that
    /// answers under two addresses from two servers.
    pub started: u64,
    /// Its database history.
    pub system: SystemIdentifier,
    /// The server's version as it says it, such as `15.18`.
    pub version: String,
    /// What it is.
    pub role: Role,
    /// The branch that it writes or receives; none if it cannot be known over SQL.
    pub timeline: Option<Timeline>,
    /// How it replicates.
    pub status: ReplicationStatus,
    /// Whom it follows; none on a primary and on a standby without a source.
    pub source: Option<SourceFacts>,
    /// Who receives from it.
    pub replicas: Vec<ReplicaFacts>,
    /// Whether new transactions are read-only unless they say otherwise. No fence.
    pub read_only_default: bool,
    /// What its commits wait for.
    pub sync: SyncState,
    /// Whether an old primary's data can be rewound: `wal_log_hints` or checksums are on.
    pub can_be_rewound: bool,
    /// How long a silent source is taken for a live one, as the server is configured; none if for ever.
    pub receiver_timeout: Option<Duration>,
    /// When the provider began to ask, on its own monotonic clock.
    pub observed_at: Timestamp,
}

impl InstanceFacts {
    /// Whether it is what `before` became while nothing happened but that WAL was written, sent and applied, and time passed.
    pub fn is_later_of(&self, before: &InstanceFacts) -> bool {
        let InstanceFacts {
            address,
            own_port,
            started,
            system,
            version,
            role,
            timeline,
            status,
            source,
            replicas,
            read_only_default,
            sync,
            can_be_rewound,
            receiver_timeout,
            observed_at: _,
        } = self;
        let same_replicas = || {
            let pairs = replicas.iter().zip(&before.replicas);
            replicas.len() == before.replicas.len()
                && pairs.into_iter().all(|(a, b)| a.is_later_of(b))
        };
        (address, own_port, started, system)
            == (
                &before.address,
                &before.own_port,
                &before.started,
                &before.system,
            )
            && (version, role, timeline, source)
                == (
                    &before.version,
                    &before.role,
                    &before.timeline,
                    &before.source,
                )
            && (read_only_default, can_be_rewound, receiver_timeout)
                == (
                    &before.read_only_default,
                    &before.can_be_rewound,
                    &before.receiver_timeout,
                )
            && status.is_later_of(&before.status)
            && sync.is_later_of(&before.sync)
            && same_replicas()
    }
}

impl ReplicationStatus {
    /// The same of what is said of replication: positions, ages and what follows from them may differ.
    fn is_later_of(&self, before: &ReplicationStatus) -> bool {
        let ReplicationStatus {
            replica_running,
            sql_thread_running,
            io_thread_running,
            position: _,
            lag: _,
            received,
            applied,
            receiver_silent_for_ms,
            apply_paused,
            caught_up: _,
        } = self;
        (
            replica_running,
            sql_thread_running,
            io_thread_running,
            apply_paused,
        ) == (
            &before.replica_running,
            &before.sql_thread_running,
            &before.io_thread_running,
            &before.apply_paused,
        ) && received.is_some() == before.received.is_some()
            && applied.is_some() == before.applied.is_some()
            && receiver_silent_for_ms.is_some() == before.receiver_silent_for_ms.is_some()
    }
}

impl ReplicaFacts {
    fn is_later_of(&self, before: &ReplicaFacts) -> bool {
        let ReplicaFacts {
            application_name,
            host,
            state,
            sync_state,
            flushed: _,
            replayed: _,
        } = self;
        (application_name, host, state, sync_state)
            == (
                &before.application_name,
                &before.host,
                &before.state,
                &before.sync_state,
            )
    }
}

impl SyncState {
    fn is_later_of(&self, before: &SyncState) -> bool {
        let SyncState {
            policy,
            text,
            commits_wait,
            waiting: _,
        } = self;
        (policy, text, commits_wait) == (&before.policy, &before.text, &before.commits_wait)
    }
}

/// Whom a standby follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// Where: from the connection that stands, else the first place that the settings name.
    pub address: Address,
    /// Under which name.
    pub application_name: String,
    /// As which role.
    pub user: String,
    /// The slot that keeps WAL for it there.
    pub slot: Option<String>,
}

/// Somebody who receives from an instance, as that instance sees it. Where it listens is not to be seen there: the
/// port of its connection is not its port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFacts {
    /// How it calls itself.
    pub application_name: String,
    /// The host that it connects from; none over a Unix socket.
    pub host: Option<String>,
    /// `streaming`, `catchup`, `backup` ….
    pub state: String,
    /// `async`, `sync`, `quorum`, `potential`.
    pub sync_state: String,
    /// What it has flushed; none before it said so.
    pub flushed: Option<Lsn>,
    /// What it has replayed; none before it said so.
    pub replayed: Option<Lsn>,
}

/// What commits wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncPolicy {
    /// Nobody.
    Async,
    /// Any so many of these.
    Any {
        /// How many, at least one.
        n: u8,
        /// Names of standbys.
        of: BTreeSet<String>,
    },
    /// The first so many of these that are there.
    First {
        /// How many, at least one.
        n: u8,
        /// Names of standbys, the best first.
        of: Vec<String>,
    },
    /// MySQL's: so many, and after a time nobody.
    SemiSync {
        /// How many.
        wait_for: u8,
        /// Then it goes on without them.
        timeout: Duration,
    },
}

impl SyncPolicy {
    /// How many standbys a commit needs, and how many of these names count for it, compared without case; none where no
    /// standby is named.
    pub fn needs_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<(usize, usize)> {
        let (needed, of): (u8, Vec<&str>) = match self {
            SyncPolicy::Any { n, of } => (*n, of.iter().map(String::as_str).collect()),
            SyncPolicy::First { n, of } => (*n, of.iter().map(String::as_str).collect()),
            SyncPolicy::Async | SyncPolicy::SemiSync { .. } => return None,
        };
        let is_named = |name: &str| {
            of.iter()
                .any(|it| *it == "*" || it.eq_ignore_ascii_case(name))
        };
        let named = names.into_iter().filter(|name| is_named(name)).count();
        Some((usize::from(needed), named))
    }
}

/// What commits wait for, and whether they do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncState {
    /// As it is in force; none if it is written in a way that no policy is.
    pub policy: Option<SyncPolicy>,
    /// As the server has it.
    pub text: String,
    /// Whether sessions without a setting of their own wait until standbys have flushed.
    pub commits_wait: bool,
    /// How many sessions wait now.
    pub waiting: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_names_that_others_know() {
        let at = WalPosition {
            timeline: Timeline(2),
            lsn: Lsn(0x1_0000_00A0),
        };
        let status = ReplicationStatus {
            replica_running: true,
            sql_thread_running: true,
            io_thread_running: true,
            position: at.lsn.to_string(),
            lag: -1,
            received: Some(Position::Wal(at)),
            applied: None,
            receiver_silent_for_ms: Some(20),
            apply_paused: false,
            caught_up: Some(false),
        };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(
            text,
            r#"{"ReplicaRunning":true,"SQLThreadRunning":true,"IOThreadRunning":true,"Position":"1/A0","Lag":-1,"received":{"wal":{"timeline":2,"lsn":4294967456}},"applied":null,"receiver_silent_for_ms":20,"apply_paused":false,"caught_up":false}"#
        );
        assert_eq!(
            serde_json::from_str::<ReplicationStatus>(&text).unwrap(),
            status
        );
    }
}
