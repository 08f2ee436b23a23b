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
    /// Why nothing can be written where the data lies; none if the last write there came back in time.
    pub disk: Option<DiskTrouble>,
    /// Whose commits on this primary are acknowledged before the standbys have flushed them, by which setting.
    pub weak_commits: Vec<String>,
    /// Whether it or its PostgreSQL listens beyond the machine, although nothing is authenticated yet.
    pub insecure: bool,
    /// Whether new transactions are read-only unless they say otherwise; false if PostgreSQL does not answer.
    pub read_only_default: bool,
    /// How many sessions wait for standbys to acknowledge their commits.
    pub commits_waiting: u32,
    /// How late a standby applies what it received: nothing if it has applied all of it. None on a primary, without a source
    /// that is heard, and while that is not known.
    pub lag: Option<Duration>,
}

/// A primary lease as its holder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// The epoch under which it was granted.
    pub epoch: Epoch,
    /// How long it still lasts on the agent's clock.
    pub remaining: Duration,
}

/// Writes of the agent's own that do not succeed on a disk of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskTrouble {
    /// How long none has succeeded.
    pub lasts: Duration,
    /// How long PostgreSQL was not seen to flush WAL either.
    pub still_for: Duration,
    /// The words of the refusal; none while a write has not come back.
    pub refusal: Option<String>,
}

/// A disk that has taken no write for this long is one of a primary that must be replaced. Seconds happen to a
/// disk that is only busy: a checkpoint or a copy on a small machine holds an fsync up for that long.
pub const DISK_FAILS_AFTER: Duration = Duration::from_secs(5);
/// A write that hangs means nothing while PostgreSQL flushes WAL on: a file system may owe a new file much more
/// than a WAL segment that is there. But not for longer than this, because WAL may lie on another disk.
pub const DISK_HANGS_AFTER: Duration = Duration::from_secs(30);

impl DiskTrouble {
    /// Whether the disk must be taken for one that fails, rather than for a busy one.
    pub fn is_failure(&self) -> bool {
        let stands_still = self.refusal.is_some() || self.still_for >= DISK_FAILS_AFTER;
        self.lasts >= DISK_HANGS_AFTER || self.lasts >= DISK_FAILS_AFTER && stands_still
    }
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
    Unresponsive {
        /// How long it has answered nothing. A refusal is an answer.
        silent_for: Duration,
    },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_disk_is_no_failing_one() {
        let check = |lasts, still_for, refusal: Option<&str>, expected| {
            let trouble = DiskTrouble {
                lasts: Duration::from_secs(lasts),
                still_for: Duration::from_secs(still_for),
                refusal: refusal.map(str::to_owned),
            };
            assert_eq!(trouble.is_failure(), expected, "{trouble:?}");
        };
        check(4, 60, None, false);
        check(5, 60, None, true);
        check(29, 1, None, false);
        check(30, 1, None, true);
        check(4, 60, Some("no space left"), false);
        check(5, 0, Some("no space left"), true);
    }
}
