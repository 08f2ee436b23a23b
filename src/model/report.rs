//! What an agent says about itself and its instance: one timed reading, never replicated.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, Incarnation, Order, SystemIdentifier};
use super::wal::{Lsn, WalPosition};

/// One reading by an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The highest order that the agent has fsynced; none if it has no readable promise.
    pub promised: Option<Order>,
    /// The filling of the data folder; none if the folder is empty or was copied from another instance.
    pub incarnation: Option<Incarnation>,
    /// The database history in the data folder; none if there is no data.
    pub identity: Option<SystemIdentifier>,
    /// What PostgreSQL does.
    pub database: Database,
    /// The primary lease that the agent holds, if any.
    pub lease: Option<LeaseReport>,
    /// Whether it or its PostgreSQL listens beyond the machine, although nothing is authenticated yet.
    pub insecure: bool,
}

/// A primary lease as its holder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// The epoch under which it was granted.
    pub epoch: Epoch,
    /// How long it still lasts on the agent's clock.
    pub remaining: Duration,
}

/// What PostgreSQL does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Database {
    /// There is no data.
    Absent,
    /// No process runs.
    Stopped(Stopped),
    /// Processes run and do not answer SQL yet.
    Starting,
    /// It ran and answered, and no longer answers.
    Unresponsive,
    /// Out of recovery: it can accept writes.
    Primary {
        /// The end of the flushed WAL.
        position: WalPosition,
        /// `synchronous_standby_names` as a new session sees it.
        synchronous_standby_names: String,
        /// Where this epoch's first commit, acknowledged under the recorded rule, ends.
        first_commit: Option<(Epoch, Lsn)>,
    },
    /// In recovery.
    Standby {
        /// The end of the WAL flushed while streaming, for display and for admission. Never used to elect.
        flushed: WalPosition,
        /// The end of the WAL replayed.
        replayed: Lsn,
        /// Who it streams from.
        receiver: Receiver,
    },
}

/// Why PostgreSQL does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// The agent found it so.
    Found,
    /// The agent stopped it for a command.
    Ordered,
    /// The postmaster ended by itself or was killed.
    Died,
    /// The primary lease ended.
    LeaseEnded,
}

/// The connection through which a standby receives WAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// No connection is wanted or none is there.
    None,
    /// Streaming, or about to.
    Streaming {
        /// The `application_name` it uses.
        application_name: String,
        /// How long the source has been silent.
        silent_for: Duration,
    },
}
