//! Named conclusions with their evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::report::DISK_FAILS_AFTER;
use crate::model::view::UNRESPONSIVE_AFTER;
use crate::model::{InstanceId, View};

/// What is wrong with a cluster, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// No instance is recorded as primary, and no handover is under way.
    NoPrimary,
    /// The primary does not run, in its own agent's words.
    DeadPrimary {
        /// Who.
        instance: InstanceId,
        /// What its agent says.
        says: String,
        /// Whether the agent has the data that is recorded. Who has other data knows nothing of the server.
        has_the_data: bool,
    },
    /// The primary's agent is silent here and with a majority of peers.
    SilentPrimary {
        /// Who.
        instance: InstanceId,
        /// Whether its connection was closed rather than quiet.
        connection_closed: bool,
        /// Whether every lease has ended.
        lease_ended: bool,
    },
    /// The primary's agent is silent here, but not proven silent elsewhere.
    UnreachablePrimary {
        /// Who.
        instance: InstanceId,
        /// How many peers hear it; none if they were not asked yet.
        heard_by: Option<usize>,
    },
    /// The primary's PostgreSQL does not answer its agent.
    UnresponsivePrimary {
        /// Who.
        instance: InstanceId,
        /// Whether that has lasted for [`UNRESPONSIVE_AFTER`].
        lasting: bool,
    },
    /// A disk of an instance takes no writes, in its agent's words.
    FailingDisk {
        /// Whose.
        instance: InstanceId,
        /// Whether that is the primary.
        is_primary: bool,
        /// The words of the refusal; none if writes do not come back.
        refusal: Option<String>,
    },
    /// A standby does not stream from the primary.
    StandbyNotReplicating {
        /// Who.
        instance: InstanceId,
        /// Whether its agent says so; it may well stream while its agent is silent.
        is_heard: bool,
    },
    /// Fewer standbys are known to stream than commits need.
    CommitsWait {
        /// How many are known to.
        streaming: usize,
        /// How many a commit needs.
        needed: usize,
        /// Whether others may stream whose agents are silent.
        may_be_more: bool,
    },
    /// Some commits are acknowledged before the standbys have flushed them, so a failover may lose them.
    WeakCommits {
        /// The primary.
        instance: InstanceId,
        /// Whose, and by which setting.
        settings: Vec<String>,
    },
}

impl Finding {
    /// One word for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Finding::NoPrimary => "NoPrimary",
            Finding::DeadPrimary { .. } => "DeadPrimary",
            Finding::SilentPrimary { .. } => "SilentPrimary",
            Finding::UnreachablePrimary { .. } => "UnreachablePrimary",
            Finding::UnresponsivePrimary { .. } => "UnresponsivePrimary",
            Finding::FailingDisk { .. } => "FailingDisk",
            Finding::StandbyNotReplicating { .. } => "StandbyNotReplicating",
            Finding::CommitsWait { .. } => "CommitsWait",
            Finding::WeakCommits { .. } => "WeakCommits",
        }
    }

    /// Whether a new primary is needed.
    pub fn calls_for_handover(&self) -> bool {
        match self {
            Finding::NoPrimary | Finding::DeadPrimary { .. } | Finding::SilentPrimary { .. } => {
                true
            }
            Finding::UnresponsivePrimary { lasting, .. } => *lasting,
            Finding::FailingDisk { is_primary, .. } => *is_primary,
            Finding::UnreachablePrimary { .. }
            | Finding::StandbyNotReplicating { .. }
            | Finding::CommitsWait { .. }
            | Finding::WeakCommits { .. } => false,
        }
    }

    /// Whether it may lead to something without being seen anew, so that time has to be watched.
    pub fn may_come_due(&self) -> bool {
        !matches!(self, Finding::WeakCommits { .. })
    }

    /// The primary that this finding wants replaced although its agent lives and its server runs.
    pub fn living_primary(&self) -> Option<&InstanceId> {
        match self {
            Finding::UnresponsivePrimary { instance, .. }
            | Finding::FailingDisk {
                instance,
                is_primary: true,
                ..
            } => Some(instance),
            Finding::FailingDisk { .. }
            | Finding::NoPrimary
            | Finding::DeadPrimary { .. }
            | Finding::SilentPrimary { .. }
            | Finding::UnreachablePrimary { .. }
            | Finding::StandbyNotReplicating { .. }
            | Finding::CommitsWait { .. }
            | Finding::WeakCommits { .. } => None,
        }
    }

    /// Whether standbys that hear the primary prove this finding wrong. Never over what the agent that has the primary's
    /// data knows, its failed writes included, nor once its lease has ended. That a server does not answer its agent
    /// may be the agent's own trouble.
    pub fn standbys_may_veto(&self, view: &View) -> bool {
        match self {
            Finding::SilentPrimary { .. }
            | Finding::UnresponsivePrimary { .. }
            | Finding::DeadPrimary {
                has_the_data: false,
                ..
            } => view.now <= view.leases_lapse_at,
            _ => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::NoPrimary => f.write_str("no instance is primary"),
            Finding::DeadPrimary {
                instance,
                says,
                has_the_data,
            } => {
                write!(f, "the primary {instance} does not run: {says}")?;
                if !has_the_data {
                    f.write_str(", in the words of an agent that has other data than is recorded")?;
                }
                Ok(())
            }
            Finding::SilentPrimary {
                instance,
                connection_closed,
                lease_ended,
            } => {
                let how = if *connection_closed {
                    "closed its connection"
                } else {
                    "is silent"
                };
                write!(f, "the agent of the primary {instance} {how}")?;
                if *lease_ended {
                    f.write_str(" and its lease has ended")?;
                }
                Ok(())
            }
            Finding::UnreachablePrimary {
                instance,
                heard_by: Some(peers),
            } => write!(
                f,
                "this peer does not hear the agent of the primary {instance}, but {peers} peers do"
            ),
            Finding::UnreachablePrimary {
                instance,
                heard_by: None,
            } => {
                write!(
                    f,
                    "this peer does not hear the agent of the primary {instance}"
                )
            }
            Finding::UnresponsivePrimary { instance, lasting } => {
                write!(f, "the primary {instance} does not answer its agent")?;
                if !lasting {
                    return Ok(());
                }
                write!(f, " for {} s", UNRESPONSIVE_AFTER.as_secs())
            }
            Finding::FailingDisk {
                instance,
                is_primary,
                refusal,
            } => {
                let whose = if *is_primary { "the primary " } else { "" };
                let for_s = DISK_FAILS_AFTER.as_secs();
                write!(
                    f,
                    "the disk of {whose}{instance} has taken no write for {for_s} s: "
                )?;
                match refusal {
                    Some(words) => f.write_str(words),
                    None => f.write_str("a write does not come back"),
                }
            }
            Finding::StandbyNotReplicating {
                instance,
                is_heard: true,
            } => write!(f, "{instance} does not stream from the primary"),
            Finding::StandbyNotReplicating {
                instance,
                is_heard: false,
            } => write!(f, "the agent of the standby {instance} is silent"),
            Finding::CommitsWait {
                streaming,
                needed,
                may_be_more,
            } => {
                let wait = if *may_be_more { "may wait" } else { "wait" };
                write!(
                    f,
                    "commits {wait}: they need {needed} of the standbys, and {streaming} are known to stream"
                )
            }
            Finding::WeakCommits { instance, settings } => write!(
                f,
                "a failover may lose what {instance} acknowledges to some, because their commits do not wait for a \
                 standby ({})",
                settings.join("; ")
            ),
        }
    }
}
