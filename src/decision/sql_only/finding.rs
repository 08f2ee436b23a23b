//! What is wrong with a cluster without agents, with its evidence.
//!
//! The words are in `words`, what follows from each in `remedy`.

mod remedy;
mod words;

use crate::decision::analyze::counts::{Counts, Verdict};
use crate::decision::turns::Queue;
use crate::model::sql_only::Stall;
use crate::model::{Epoch, InstanceId, WalPosition};

/// A named conclusion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlFinding {
    /// A majority of peers finds nobody where the primary should be.
    DeadPrimary {
        /// Who.
        instance: InstanceId,
        /// How many peers find nobody there.
        gone_by: usize,
        /// How many peers there are.
        peers: usize,
        /// What its standbys say.
        counts: Counts,
    },
    /// This peer finds nobody there, and too few others agree yet.
    UnreachablePrimary {
        /// Who.
        instance: InstanceId,
        /// How many find nobody there.
        gone_by: usize,
    },
    /// Nobody is recorded as the primary, or the one that is runs as a standby.
    NoPrimary,
    /// Several instances are primaries.
    MultiplePrimaries {
        /// Which.
        instances: Vec<InstanceId>,
    },
    /// One that was the primary once runs as one again.
    DeposedPrimary {
        /// Who.
        instance: InstanceId,
        /// Whether it was asked to be quiet, and is.
        is_quiet: bool,
    },
    /// The primary serves, and none of its standbys receives.
    AllStandbyNotReplicating {
        /// How many there are.
        known: usize,
    },
    /// A standby does not receive.
    StandbyNotReplicating {
        /// Who.
        instance: InstanceId,
        /// Why it is not helped; none if it may mend by itself, or is being helped.
        why: Option<String>,
    },
    /// One that lives lets nobody look at it.
    Refuses {
        /// Who.
        instance: InstanceId,
        /// In its words.
        why: String,
    },
    /// The primary accepts no writes from sessions that do not ask for them, and no change of primary is why.
    PrimaryReadOnly {
        /// Who.
        instance: InstanceId,
    },
    /// Fewer standbys stream than a commit needs.
    PrimaryBlockedOnSync {
        /// Who.
        instance: InstanceId,
        /// How many a commit needs.
        needed: usize,
        /// How many of those that are named stream.
        streaming: usize,
    },
    /// A voter holds a copy of the data that was not seen to hold all that was acknowledged.
    UnprovenCopy {
        /// Who.
        instance: InstanceId,
    },
    /// Slots keep WAL for standbys that are none of this instance's any more.
    UnusedSlots {
        /// Where.
        instance: InstanceId,
        /// Their names.
        slots: Vec<String>,
    },
    /// Nobody can say whose flush a commit waits for.
    RuleUnclear {
        /// Why.
        why: String,
    },
    /// The primary's disk confirms no write.
    StalledPrimary {
        /// Who.
        instance: InstanceId,
        /// How that is known.
        stall: Stall,
    },
    /// Some commits are acknowledged before the standbys have flushed them, so a failover may lose them.
    WeakCommits {
        /// The primary.
        instance: InstanceId,
        /// Whose, and by which setting.
        settings: Vec<String>,
    },
    /// A standby has WAL that is not the primary's, or may have.
    DivergedStandby {
        /// Who.
        instance: InstanceId,
        /// Where its WAL ends, beside the primary's history; none if it may have a branch of its own under the number of another.
        at: Option<WalPosition>,
    },
    /// A standby that receives is behind by more than
    /// [`LAG_LIMIT`](crate::decision::analyze::standby_behind::LAG_LIMIT) or
    /// [`LAG_LIMIT_BYTES`](crate::decision::analyze::standby_behind::LAG_LIMIT_BYTES).
    StandbyBehindBeyondLimit {
        /// Who.
        instance: InstanceId,
        /// The primary's WAL that it has not, in bytes.
        not_received: u64,
        /// Its own that it has not applied, in bytes.
        not_applied: u64,
        /// How many seconds late it applies; none if that is not known.
        lag: Option<u64>,
    },
    /// What Primacy is about to do cannot go on.
    RecoveryBlocked {
        /// Why.
        why: String,
    },
    /// No death of the primary could be followed by a failover.
    FailoverImpossible {
        /// Why.
        why: String,
    },
    /// An instance lacks what a failover needs there.
    Unprepared {
        /// Who.
        instance: InstanceId,
        /// What.
        lacks: Vec<String>,
    },
    /// A failover is due and not begun, because the last one is too young and not acknowledged.
    FailoverBlocked {
        /// The epoch of the last one.
        epoch: Epoch,
    },
    /// Automation is switched off: nothing is begun by itself.
    Paused {
        /// Whether for all clusters.
        everywhere: bool,
        /// Who said so.
        owner: String,
        /// Why.
        reason: String,
    },
    /// A failover is due and not begun, because as many others run as may at once.
    WaitsForTurn {
        /// For what exactly.
        queue: Queue,
    },
}

impl SqlFinding {
    /// One word for the API.
    pub fn code(&self) -> &'static str {
        match self {
            SqlFinding::DeadPrimary { counts, .. } => match counts.verdict() {
                Verdict::DeadPrimaryWithoutStandbys => "DeadPrimaryWithoutStandbys",
                Verdict::DeadPrimaryAndSomeStandbys => "DeadPrimaryAndSomeStandbys",
                Verdict::UnreachablePrimary => "UnreachablePrimary",
                Verdict::DeadPrimary
                | Verdict::Well
                | Verdict::AllStandbyNotReplicating
                | Verdict::StandbyNotReplicating => "DeadPrimary",
            },
            SqlFinding::AllStandbyNotReplicating { .. } => "AllStandbyNotReplicating",
            SqlFinding::UnreachablePrimary { .. } => "UnreachablePrimary",
            SqlFinding::NoPrimary => "NoPrimary",
            SqlFinding::MultiplePrimaries { .. } => "MultiplePrimaries",
            SqlFinding::DeposedPrimary { .. } => "DeposedPrimary",
            SqlFinding::StandbyNotReplicating { .. } => "StandbyNotReplicating",
            SqlFinding::RuleUnclear { .. } => "RuleUnclear",
            SqlFinding::UnprovenCopy { .. } => "UnprovenCopy",
            SqlFinding::UnusedSlots { .. } => "UnusedSlots",
            SqlFinding::Refuses { .. } => "Refuses",
            SqlFinding::PrimaryReadOnly { .. } => "PrimaryReadOnly",
            SqlFinding::PrimaryBlockedOnSync { .. } => "PrimaryBlockedOnSync",
            SqlFinding::StalledPrimary { .. } => "StalledPrimary",
            SqlFinding::WeakCommits { .. } => "WeakCommits",
            SqlFinding::DivergedStandby { .. } => "DivergedStandby",
            SqlFinding::StandbyBehindBeyondLimit { .. } => "StandbyBehindBeyondLimit",
            SqlFinding::RecoveryBlocked { .. } => "RecoveryBlocked",
            SqlFinding::FailoverImpossible { .. } => "FailoverImpossible",
            SqlFinding::Unprepared { .. } => "Unprepared",
            SqlFinding::FailoverBlocked { .. } => "FailoverBlocked",
            SqlFinding::Paused { .. } => "Paused",
            SqlFinding::WaitsForTurn { .. } => "WaitsForTurn",
        }
    }
}

impl SqlFinding {
    /// Of whom it speaks.
    pub fn instances(&self) -> &[InstanceId] {
        match self {
            SqlFinding::DeadPrimary { instance, .. }
            | SqlFinding::UnreachablePrimary { instance, .. }
            | SqlFinding::DeposedPrimary { instance, .. }
            | SqlFinding::Refuses { instance, .. }
            | SqlFinding::PrimaryReadOnly { instance }
            | SqlFinding::PrimaryBlockedOnSync { instance, .. }
            | SqlFinding::StalledPrimary { instance, .. }
            | SqlFinding::WeakCommits { instance, .. }
            | SqlFinding::DivergedStandby { instance, .. }
            | SqlFinding::StandbyBehindBeyondLimit { instance, .. }
            | SqlFinding::Unprepared { instance, .. }
            | SqlFinding::UnprovenCopy { instance }
            | SqlFinding::UnusedSlots { instance, .. }
            | SqlFinding::StandbyNotReplicating { instance, .. } => std::slice::from_ref(instance),
            SqlFinding::MultiplePrimaries { instances } => instances,
            SqlFinding::NoPrimary
            | SqlFinding::AllStandbyNotReplicating { .. }
            | SqlFinding::RecoveryBlocked { .. }
            | SqlFinding::FailoverImpossible { .. }
            | SqlFinding::FailoverBlocked { .. }
            | SqlFinding::Paused { .. }
            | SqlFinding::WaitsForTurn { .. }
            | SqlFinding::RuleUnclear { .. } => &[],
        }
    }

    /// Whom it is about, where one is made for each instance of which it is true.
    pub fn subject(&self) -> Option<&InstanceId> {
        match self.instances() {
            [instance] => Some(instance),
            _ => None,
        }
    }

    /// Whether a failover may follow.
    pub fn is_actionable(&self) -> bool {
        match self {
            SqlFinding::DeadPrimary { counts, .. } => counts.verdict().is_actionable(),
            SqlFinding::NoPrimary => true,
            SqlFinding::UnreachablePrimary { .. }
            | SqlFinding::MultiplePrimaries { .. }
            | SqlFinding::DeposedPrimary { .. }
            | SqlFinding::AllStandbyNotReplicating { .. }
            | SqlFinding::StandbyNotReplicating { .. }
            | SqlFinding::Refuses { .. }
            | SqlFinding::PrimaryReadOnly { .. }
            | SqlFinding::PrimaryBlockedOnSync { .. }
            | SqlFinding::StalledPrimary { .. }
            | SqlFinding::WeakCommits { .. }
            | SqlFinding::DivergedStandby { .. }
            | SqlFinding::StandbyBehindBeyondLimit { .. }
            | SqlFinding::RecoveryBlocked { .. }
            | SqlFinding::FailoverImpossible { .. }
            | SqlFinding::Unprepared { .. }
            | SqlFinding::UnprovenCopy { .. }
            | SqlFinding::UnusedSlots { .. }
            | SqlFinding::FailoverBlocked { .. }
            | SqlFinding::Paused { .. }
            | SqlFinding::WaitsForTurn { .. }
            | SqlFinding::RuleUnclear { .. } => false,
        }
    }
}
