//! Why nothing happens to a cluster without agents, as a value that the operator sees.

use std::fmt;

use crate::model::{Held, InstanceId};

/// Why a procedure waits or gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlReason {
    /// Too few peers find the primary gone.
    NotDead {
        /// The primary.
        instance: InstanceId,
        /// How many find nobody there.
        gone_by: usize,
        /// How many peers there are.
        peers: usize,
    },
    /// Standbys still hear the primary.
    Vetoed {
        /// Which.
        by: Vec<InstanceId>,
    },
    /// Too few revoked standbys to prove that no acknowledged commit is lost.
    NotProven {
        /// R.
        counted: usize,
        /// The least R with R + W + 1 > N.
        needed: usize,
        /// Who is missing, each with the cause.
        missing: Vec<(InstanceId, String)>,
    },
    /// Nobody can say whose flush a commit waited for.
    RuleUnclear {
        /// Why.
        why: String,
    },
    /// The cluster is to be failed over by agents alone.
    AgentsRequired,
    /// Somebody switched automation off.
    Held(Held),
    /// Peers and instances are being asked.
    Asking,
    /// The last try failed; it is tried again.
    Failed {
        /// On whom.
        instance: InstanceId,
        /// In the server's words.
        why: String,
    },
    /// It may be a primary, and cannot be seen.
    Undecided {
        /// Who.
        instance: InstanceId,
    },
    /// The old primary answers again.
    Lives {
        /// Who.
        instance: InstanceId,
    },
    /// There is no standby that could be asked.
    NobodyReachable,
    /// Several instances say that they are the primary.
    MultiplePrimaries {
        /// Which.
        instances: Vec<InstanceId>,
    },
}

impl SqlReason {
    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            SqlReason::NotDead { .. } => "heard_by_peers",
            SqlReason::Vetoed { .. } => "vetoed",
            SqlReason::NotProven { .. } => "not_proven",
            SqlReason::RuleUnclear { .. } => "rule_unclear",
            SqlReason::AgentsRequired => "agents_required",
            SqlReason::Held(held) => held.code(),
            SqlReason::Asking => "asking",
            SqlReason::Failed { .. } => "failed",
            SqlReason::Undecided { .. } => "undecided",
            SqlReason::Lives { .. } => "primary_lives",
            SqlReason::NobodyReachable => "nobody_reachable",
            SqlReason::MultiplePrimaries { .. } => "multiple_primaries",
        }
    }
}

impl fmt::Display for SqlReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[InstanceId]| {
            let names: Vec<_> = names.iter().map(InstanceId::as_str).collect();
            names.join(", ")
        };
        match self {
            SqlReason::NotDead {
                instance,
                gone_by,
                peers,
            } => write!(
                f,
                "{gone_by} of {peers} peers find {instance} gone; more than half must"
            ),
            SqlReason::Vetoed { by } => write!(
                f,
                "the primary seems to be gone, but {} still hears it",
                list(by)
            ),
            SqlReason::NotProven {
                counted,
                needed,
                missing,
            } => {
                write!(f, "{counted} of {needed} revoked standbys needed")?;
                for (instance, why) in missing {
                    write!(f, "; {instance}: {why}")?;
                }
                Ok(())
            }
            SqlReason::RuleUnclear { why } => {
                write!(f, "whose flush commits waited for cannot be told: {why}")
            }
            SqlReason::AgentsRequired => f.write_str(
                "fence is \"required\" and there are no agents: without them an old primary cannot be kept from writing",
            ),
            SqlReason::Held(held) => held.fmt(f),
            SqlReason::Asking => f.write_str("asking peers and instances"),
            SqlReason::Failed { instance, why } => write!(f, "{instance}: {why}; tried again"),
            SqlReason::Undecided { instance } => write!(
                f,
                "{instance} was told to become the primary and cannot be seen; it is waited for until a majority of peers \
                 finds it gone"
            ),
            SqlReason::Lives { instance } => write!(f, "the primary {instance} answers again"),
            SqlReason::NobodyReachable => f.write_str("no standby can be reached"),
            SqlReason::MultiplePrimaries { instances } => write!(
                f,
                "{} say that they are the primary; stop all but one",
                list(instances)
            ),
        }
    }
}
