//! What an agent sees of its own instance at one moment.

use std::time::Duration;

use super::takeover::Offer;
use crate::model::{
    Address, Epoch, Incarnation, InstanceId, Lineage, SystemIdentifier, Timeline, Timestamp,
    WalPosition,
};

/// One look at the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// CLOCK_BOOTTIME.
    pub now: Timestamp,
    /// Whose agent this is.
    pub instance: InstanceId,
    /// What the data folder holds.
    pub data: Data,
    /// Whether any process of the instance is alive, a zombie being dead.
    pub is_running: bool,
    /// Whether its postmaster is alive, a zombie being dead.
    pub has_postmaster: bool,
    /// What a *new* session sees; none if SQL does not answer.
    pub session: Option<Session>,
    /// The epoch of the live primary lease.
    pub lease: Option<Epoch>,
    /// Whether the leash holds a deadline: it kills whatever runs when that passes, a standby too.
    pub is_armed: bool,
    /// Whether a promotion was ever asked for and not yet seen done or undone by a stop.
    pub promotion_asked: bool,
}

/// What the data folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing, or no folder.
    Empty,
    /// Files that are no database, or not of a version that is known.
    Foreign {
        /// In words.
        why: String,
    },
    /// A database that no agent made and that somebody offered; nothing of it is ours yet.
    Offered(Offer),
    /// A database.
    Cluster {
        /// Its history.
        identity: SystemIdentifier,
        /// The recorded filling; none if it was never settled or is another instance's.
        incarnation: Option<Incarnation>,
        /// Whether it would start as a standby.
        standby_signal: bool,
        /// Where its valid WAL ends while nothing runs; none while something runs or if it cannot be scanned.
        ends_at: Option<WalPosition>,
        /// The branches that its own history files show.
        lineage: Lineage,
        /// The highest timeline number that any file uses, planted ones included: a promotion takes the next.
        highest_timeline: Timeline,
        /// Why only a copy can replace it: a rewind of it was begun and not finished, or it is damaged.
        unusable: Option<String>,
    },
}

/// What a new session sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// What `primary_conninfo` in force names; none if it is empty.
    pub source: Option<SourceSeen>,
    /// Whether `restore_command` is in force.
    pub restores: bool,
    /// `synchronous_standby_names`, as in force.
    pub synchronous_standby_names: String,
    /// Whether `synchronous_commit` is `on` or `remote_apply`.
    pub commits_wait: bool,
    /// `default_transaction_read_only`.
    pub read_only_default: bool,
    /// How many walreceivers `pg_stat_activity` or the process table shows, connecting ones included.
    pub receivers: usize,
    /// Whether WAL is being received, from whom it should be, and how long nothing came.
    pub streams: Option<(String, Duration)>,
    /// Whether the source said anything since: one that no longer has the WAL lets a receiver begin, and then refuses.
    pub has_received: bool,
    /// `pg_get_wal_replay_pause_state()`.
    pub replay: Replay,
    /// The end of the WAL replayed (standby) or flushed (primary), on the timeline in force.
    pub position: WalPosition,
}

/// What a `primary_conninfo` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSeen {
    /// Where.
    pub address: Address,
    /// Under which name.
    pub application_name: String,
}

/// `pg_get_wal_replay_pause_state()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Going on.
    Running,
    /// Asked to pause, not yet confirmed by the startup process.
    Requested,
    /// Confirmed.
    Paused,
}

impl Local {
    /// The recorded filling of the data, if there is one.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match &self.data {
            Data::Cluster { incarnation, .. } => *incarnation,
            Data::Empty | Data::Foreign { .. } | Data::Offered(_) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod example {
    use super::*;
    use crate::model::example::{at, id};
    use crate::model::{Incarnation, Lsn, SystemIdentifier};

    /// What a new session on a streaming standby sees.
    pub fn standby_session() -> Session {
        Session {
            in_recovery: true,
            source: Some(SourceSeen {
                address: Address {
                    host: "127.0.0.1".to_owned(),
                    port: 5432,
                },
                application_name: "b_1_1".to_owned(),
            }),
            restores: false,
            synchronous_standby_names: String::new(),
            commits_wait: true,
            read_only_default: false,
            receivers: 1,
            streams: Some(("b_1_1".to_owned(), Duration::ZERO)),
            has_received: true,
            replay: Replay::Running,
            position: at(2, 50),
        }
    }

    /// A standby that runs and streams.
    pub fn running_standby() -> Local {
        Local {
            now: Timestamp(1_000),
            instance: id("b"),
            data: Data::Cluster {
                identity: SystemIdentifier(1),
                incarnation: Some(Incarnation(1)),
                standby_signal: true,
                ends_at: None,
                lineage: Lineage {
                    current: Timeline(2),
                    left_at: [(Timeline(1), Lsn(5))].into(),
                },
                highest_timeline: Timeline(2),
                unusable: None,
            },
            is_running: true,
            has_postmaster: true,
            session: Some(standby_session()),
            lease: None,
            is_armed: false,
            promotion_asked: false,
        }
    }
}
