//! What an instance of any engine shows of its replication, and what is asked of it over SQL.

mod copy;
mod sync;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster::Address;
use super::ids::SystemIdentifier;
use super::time::Timestamp;
use super::wal::{Lsn, Timeline, WalPosition};

pub use copy::CopyMark;
pub use sync::{SyncPolicy, SyncState};

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
    /// Which copy of its data it holds; none if the right to see that is missing.
    pub copy: Option<CopyMark>,
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
    /// Slots of standbys that keep WAL here and that nobody uses now.
    pub unused_slots: Vec<String>,
    /// Whether new transactions are read-only unless they say otherwise. No fence.
    pub read_only_default: bool,
    /// What its commits wait for.
    pub sync: SyncState,
    /// Whether an old primary's data can be rewound: `wal_log_hints` or checksums are on.
    pub can_be_rewound: bool,
    /// How long a silent source is taken for a live one, as the server is configured; none if for ever.
    pub receiver_timeout: Option<Duration>,
    /// How far it has written its log; none in recovery, and where the engine does not tell.
    pub log: Option<LogEnds>,
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
            copy,
            system,
            version,
            role,
            timeline,
            status,
            source,
            replicas,
            unused_slots,
            read_only_default,
            sync,
            can_be_rewound,
            receiver_timeout,
            log: _,
            observed_at: _,
        } = self;
        let same_replicas = || {
            let pairs = replicas.iter().zip(&before.replicas);
            replicas.len() == before.replicas.len()
                && pairs.into_iter().all(|(a, b)| a.is_later_of(b))
        };
        (address, own_port, started, copy, system)
            == (
                &before.address,
                &before.own_port,
                &before.started,
                &before.copy,
                &before.system,
            )
            && (version, role, timeline, source)
                == (
                    &before.version,
                    &before.role,
                    &before.timeline,
                    &before.source,
                )
            && (
                unused_slots,
                read_only_default,
                can_be_rewound,
                receiver_timeout,
            ) == (
                &before.unused_slots,
                &before.read_only_default,
                &before.can_be_rewound,
                &before.receiver_timeout,
            )
            && status.is_later_of(&before.status)
            && sync.is_later_of(&before.sync)
            && same_replicas()
    }
}

impl InstanceFacts {
    /// The end of what a primary's disk has confirmed; none in recovery, and where that cannot be told.
    pub fn flushed(&self) -> Option<WalPosition> {
        let lsn = self.log?.flushed;
        let timeline = self.timeline?;
        Some(WalPosition { timeline, lsn })
    }

    /// Whether it is the same server as `before`, and so over the same copy, and on the same side of recovery.
    pub fn is_same_server(&self, before: &InstanceFacts) -> bool {
        let of = |it: &InstanceFacts| (it.started, it.role.is_in_recovery());
        of(self) == of(before)
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

/// How far a primary has come with its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnds {
    /// The end of what its sessions have handed over.
    pub inserted: Lsn,
    /// The end of what its disk has confirmed.
    pub flushed: Lsn,
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

#[cfg(test)]
mod tests;
