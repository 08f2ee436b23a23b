//! Named conclusions with their evidence.
//!
//! The words are in `words`, what follows from each in `remedy`.

mod remedy;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::analyze::counts::Counts;
use super::turns::Queue;
use crate::model::{Epoch, InstanceId, View, WalPosition};

/// What is wrong with a cluster, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// No instance is recorded as primary, and no handover is under way.
    NoPrimary,
    /// More than one instance runs as a primary.
    MultiplePrimaries {
        /// Who, and where each writes.
        instances: Vec<(InstanceId, WalPosition)>,
    },
    /// The primary is dead.
    DeadPrimary {
        /// Who.
        instance: InstanceId,
        /// How that is known.
        death: Death,
    },
    /// The primary is silent, and so are all of its standbys, or some of these do not hear it.
    DeadPrimaryAndSomeStandbys {
        /// Who.
        instance: InstanceId,
        /// Of its agent.
        silence: Silence,
        /// Of its standbys.
        counts: Counts,
    },
    /// The primary is silent, and it has no standbys.
    DeadPrimaryWithoutStandbys {
        /// Who.
        instance: InstanceId,
        /// Of its agent.
        silence: Silence,
    },
    /// The primary's agent is silent here, and others hear the primary, or were not asked yet.
    UnreachablePrimary {
        /// Who.
        instance: InstanceId,
        /// Who hears it.
        heard: Heard,
        /// Of its standbys.
        counts: Counts,
    },
    /// The primary's PostgreSQL does not answer its agent.
    UnresponsivePrimary {
        /// Who.
        instance: InstanceId,
        /// Whether that has lasted for [`crate::model::view::UNRESPONSIVE_AFTER`].
        lasting: bool,
    },
    /// A disk of the primary takes no writes, as its agent's own write probe shows.
    StalledPrimary {
        /// Who.
        instance: InstanceId,
        /// The words of the refusal; none if writes do not come back.
        refusal: Option<String>,
    },
    /// A disk of a standby takes no writes, as its agent's own write probe shows.
    FailingDisk {
        /// Whose.
        instance: InstanceId,
        /// The words of the refusal; none if writes do not come back.
        refusal: Option<String>,
    },
    /// Fewer standbys are known to stream than commits need.
    PrimaryBlockedOnSync {
        /// Who.
        instance: InstanceId,
        /// How many are known to.
        streaming: usize,
        /// How many a commit needs.
        needed: usize,
        /// Whether others may stream whose agents are silent.
        may_be_more: bool,
        /// How many sessions wait at the moment.
        waiting: u32,
    },
    /// New transactions on the primary are read-only unless they say otherwise.
    PrimaryReadOnly {
        /// Who.
        instance: InstanceId,
    },
    /// No standby streams from a primary that serves.
    AllStandbyNotReplicating {
        /// In numbers.
        counts: Counts,
        /// The standbys, and whether the agent of each is heard; one that is silent may well stream.
        missing: Vec<(InstanceId, bool)>,
    },
    /// Some standbys do not stream from a primary that serves.
    StandbyNotReplicating {
        /// In numbers.
        counts: Counts,
        /// Who, and whether the agent of each is heard; one that is silent may well stream.
        missing: Vec<(InstanceId, bool)>,
    },
    /// A standby has WAL that is not the primary's.
    DivergedStandby {
        /// Who.
        instance: InstanceId,
        /// Where its WAL ends; none if it does not run.
        at: Option<WalPosition>,
        /// What its agent found when it was told to follow.
        says: Option<String>,
    },
    /// A standby that streams is behind by more than
    /// [`LAG_LIMIT`](super::analyze::standby_behind::LAG_LIMIT) or
    /// [`LAG_LIMIT_BYTES`](super::analyze::standby_behind::LAG_LIMIT_BYTES).
    StandbyBehindBeyondLimit {
        /// Who.
        instance: InstanceId,
        /// The primary's flushed WAL that it has not, in bytes.
        not_received: u64,
        /// Its own that it has not applied, in bytes.
        not_applied: u64,
        /// How late it applies; none if that is not known.
        lag: Option<Duration>,
    },
    /// Some commits are acknowledged before the standbys have flushed them, so a failover may lose them.
    WeakCommits {
        /// The primary.
        instance: InstanceId,
        /// Whose, and by which setting.
        settings: Vec<String>,
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

/// How it is known that a primary is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// Its own agent says that it does not run. That outweighs what standbys may still hear for some milliseconds.
    Told {
        /// In the agent's words.
        says: String,
        /// Whether the agent has the data that is recorded. Who has other data knows nothing of the server.
        has_the_data: bool,
    },
    /// Its agent is silent here and with a majority of peers, and no standby replicates from it.
    Silent {
        /// Of its agent.
        silence: Silence,
        /// Of its standbys.
        counts: Counts,
    },
}

/// How an agent is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Whether its connection was closed rather than quiet.
    pub connection_closed: bool,
    /// Whether every lease has ended.
    pub lease_ended: bool,
}

/// Who hears a primary whose agent this peer does not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// The other peers were not asked yet, or their answers are too old.
    NotAsked,
    /// So many other peers hear its agent.
    ByPeers(usize),
    /// A majority of the peers does not, but every standby streams from it.
    ByStandbys,
}

impl Finding {
    /// One word for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Finding::NoPrimary => "NoPrimary",
            Finding::MultiplePrimaries { .. } => "MultiplePrimaries",
            Finding::DeadPrimary { .. } => "DeadPrimary",
            Finding::DeadPrimaryAndSomeStandbys { .. } => "DeadPrimaryAndSomeStandbys",
            Finding::DeadPrimaryWithoutStandbys { .. } => "DeadPrimaryWithoutStandbys",
            Finding::UnreachablePrimary { .. } => "UnreachablePrimary",
            Finding::UnresponsivePrimary { .. } => "UnresponsivePrimary",
            Finding::StalledPrimary { .. } => "StalledPrimary",
            Finding::FailingDisk { .. } => "FailingDisk",
            Finding::PrimaryBlockedOnSync { .. } => "PrimaryBlockedOnSync",
            Finding::PrimaryReadOnly { .. } => "PrimaryReadOnly",
            Finding::AllStandbyNotReplicating { .. } => "AllStandbyNotReplicating",
            Finding::StandbyNotReplicating { .. } => "StandbyNotReplicating",
            Finding::DivergedStandby { .. } => "DivergedStandby",
            Finding::StandbyBehindBeyondLimit { .. } => "StandbyBehindBeyondLimit",
            Finding::WeakCommits { .. } => "WeakCommits",
            Finding::FailoverBlocked { .. } => "FailoverBlocked",
            Finding::Paused { .. } => "Paused",
            Finding::WaitsForTurn { .. } => "WaitsForTurn",
        }
    }

    /// Of whom it speaks.
    pub fn instances(&self) -> Vec<&InstanceId> {
        match self {
            Finding::MultiplePrimaries { instances } => instances.iter().map(|it| &it.0).collect(),
            Finding::AllStandbyNotReplicating { missing, .. }
            | Finding::StandbyNotReplicating { missing, .. } => {
                missing.iter().map(|it| &it.0).collect()
            }
            other => other.subject().into_iter().collect(),
        }
    }

    /// Whom it is about, where one is made for each instance of which it is true.
    pub fn subject(&self) -> Option<&InstanceId> {
        match self {
            Finding::NoPrimary
            | Finding::MultiplePrimaries { .. }
            | Finding::AllStandbyNotReplicating { .. }
            | Finding::StandbyNotReplicating { .. }
            | Finding::FailoverBlocked { .. }
            | Finding::Paused { .. }
            | Finding::WaitsForTurn { .. } => None,
            Finding::DeadPrimary { instance, .. }
            | Finding::DeadPrimaryAndSomeStandbys { instance, .. }
            | Finding::DeadPrimaryWithoutStandbys { instance, .. }
            | Finding::UnreachablePrimary { instance, .. }
            | Finding::UnresponsivePrimary { instance, .. }
            | Finding::StalledPrimary { instance, .. }
            | Finding::FailingDisk { instance, .. }
            | Finding::PrimaryBlockedOnSync { instance, .. }
            | Finding::PrimaryReadOnly { instance }
            | Finding::DivergedStandby { instance, .. }
            | Finding::StandbyBehindBeyondLimit { instance, .. }
            | Finding::WeakCommits { instance, .. } => Some(instance),
        }
    }

    /// Whether a new primary is needed, so that a failover may follow.
    pub fn is_actionable(&self) -> bool {
        match self {
            Finding::NoPrimary | Finding::DeadPrimary { .. } | Finding::StalledPrimary { .. } => {
                true
            }
            Finding::UnresponsivePrimary { lasting, .. } => *lasting,
            Finding::MultiplePrimaries { .. }
            | Finding::DeadPrimaryAndSomeStandbys { .. }
            | Finding::DeadPrimaryWithoutStandbys { .. }
            | Finding::UnreachablePrimary { .. }
            | Finding::FailingDisk { .. }
            | Finding::PrimaryBlockedOnSync { .. }
            | Finding::PrimaryReadOnly { .. }
            | Finding::AllStandbyNotReplicating { .. }
            | Finding::StandbyNotReplicating { .. }
            | Finding::DivergedStandby { .. }
            | Finding::StandbyBehindBeyondLimit { .. }
            | Finding::WeakCommits { .. }
            | Finding::FailoverBlocked { .. }
            | Finding::Paused { .. }
            | Finding::WaitsForTurn { .. } => false,
        }
    }

    /// Whether the standbys are asked at once what they hear: their reports may be older than the death of a primary.
    pub fn calls_for_asking(&self) -> bool {
        match self {
            Finding::DeadPrimaryAndSomeStandbys { .. }
            | Finding::DeadPrimaryWithoutStandbys { .. }
            | Finding::UnreachablePrimary {
                heard: Heard::ByStandbys,
                ..
            } => true,
            other => other.is_actionable(),
        }
    }

    /// Whether it may lead to something without being seen anew, so that time has to be watched.
    pub fn may_come_due(&self) -> bool {
        !matches!(
            self,
            Finding::WeakCommits { .. }
                | Finding::PrimaryReadOnly { .. }
                | Finding::StandbyBehindBeyondLimit { .. }
                | Finding::Paused { .. }
        )
    }

    /// The primary that this finding wants replaced although its agent lives and its server runs.
    pub fn living_primary(&self) -> Option<&InstanceId> {
        match self {
            Finding::UnresponsivePrimary { instance, .. }
            | Finding::StalledPrimary { instance, .. } => Some(instance),
            Finding::NoPrimary
            | Finding::MultiplePrimaries { .. }
            | Finding::DeadPrimary { .. }
            | Finding::DeadPrimaryAndSomeStandbys { .. }
            | Finding::DeadPrimaryWithoutStandbys { .. }
            | Finding::UnreachablePrimary { .. }
            | Finding::FailingDisk { .. }
            | Finding::PrimaryBlockedOnSync { .. }
            | Finding::PrimaryReadOnly { .. }
            | Finding::AllStandbyNotReplicating { .. }
            | Finding::StandbyNotReplicating { .. }
            | Finding::DivergedStandby { .. }
            | Finding::StandbyBehindBeyondLimit { .. }
            | Finding::WeakCommits { .. }
            | Finding::FailoverBlocked { .. }
            | Finding::Paused { .. }
            | Finding::WaitsForTurn { .. } => None,
        }
    }

    /// Whether it rests on the silence of the primary's agent alone.
    pub fn is_of_silence(&self) -> bool {
        match self {
            Finding::DeadPrimary {
                death: Death::Silent { .. },
                ..
            }
            | Finding::DeadPrimaryAndSomeStandbys { .. }
            | Finding::DeadPrimaryWithoutStandbys { .. }
            | Finding::UnreachablePrimary { .. } => true,
            Finding::DeadPrimary {
                death: Death::Told { .. },
                ..
            }
            | Finding::NoPrimary
            | Finding::MultiplePrimaries { .. }
            | Finding::UnresponsivePrimary { .. }
            | Finding::StalledPrimary { .. }
            | Finding::FailingDisk { .. }
            | Finding::PrimaryBlockedOnSync { .. }
            | Finding::PrimaryReadOnly { .. }
            | Finding::AllStandbyNotReplicating { .. }
            | Finding::StandbyNotReplicating { .. }
            | Finding::DivergedStandby { .. }
            | Finding::StandbyBehindBeyondLimit { .. }
            | Finding::WeakCommits { .. }
            | Finding::FailoverBlocked { .. }
            | Finding::Paused { .. }
            | Finding::WaitsForTurn { .. } => false,
        }
    }

    /// Whether standbys that hear the primary prove this finding wrong. Never over what the agent that has the primary's
    /// data knows, its failed writes included, nor once its lease has ended. That a server does not answer its agent
    /// may be the agent's own trouble.
    pub fn standbys_may_veto(&self, view: &View) -> bool {
        let may_be_wrong = match self {
            Finding::UnresponsivePrimary { .. }
            | Finding::DeadPrimary {
                death:
                    Death::Told {
                        has_the_data: false,
                        ..
                    },
                ..
            } => true,
            other => other.is_of_silence(),
        };
        may_be_wrong && view.now <= view.leases_lapse_at
    }
}
