//! What is wrong with a cluster without agents, with its evidence.

use std::fmt;

use crate::decision::analyze::counts::{Counts, Verdict};
use crate::model::InstanceId;

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
    /// Nobody can say whose flush a commit waits for.
    RuleUnclear {
        /// Why.
        why: String,
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
            SqlFinding::Refuses { .. } => "Refuses",
            SqlFinding::PrimaryReadOnly { .. } => "PrimaryReadOnly",
            SqlFinding::PrimaryBlockedOnSync { .. } => "PrimaryBlockedOnSync",
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
            | SqlFinding::StandbyNotReplicating { instance, .. } => std::slice::from_ref(instance),
            SqlFinding::MultiplePrimaries { instances } => instances,
            SqlFinding::NoPrimary
            | SqlFinding::AllStandbyNotReplicating { .. }
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
            | SqlFinding::RuleUnclear { .. } => false,
        }
    }

    /// What Primacy does about it, or a person should: in one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            SqlFinding::DeadPrimary { .. } | SqlFinding::NoPrimary => {
                "Primacy promotes a standby as soon as none hears the primary and those that it reaches prove that nothing \
                 acknowledged is missing; what it waits for is in the status"
            }
            SqlFinding::UnreachablePrimary { .. } => {
                "Primacy acts only if a majority of peers finds nobody there; look at the network between this peer and it"
            }
            SqlFinding::MultiplePrimaries { .. } => {
                "stop all but the recorded one: nothing can be done over SQL, and one that ran beside it is never taken for the \
                 primary; to keep another one, forget the cluster and adopt it from there"
            }
            SqlFinding::DeposedPrimary { .. } => {
                "stop it, and copy it anew from the primary; pg_rewind does not see a branch whose timeline has the number of \
                 the primary's"
            }
            SqlFinding::AllStandbyNotReplicating { .. }
            | SqlFinding::StandbyNotReplicating { .. } => {
                "Primacy gives back a source that it took away; else look at its log and its primary_conninfo"
            }
            SqlFinding::Refuses { .. } => {
                "primacy preflight says of a server what its peers lack there; until they can look at it, it counts for nothing"
            }
            SqlFinding::PrimaryReadOnly { .. } => {
                "ALTER SYSTEM RESET default_transaction_read_only, and reload, unless somebody wants it so"
            }
            SqlFinding::PrimaryBlockedOnSync { .. } => {
                "commits wait until enough of the standbys in synchronous_standby_names stream; name those that do"
            }
            SqlFinding::RuleUnclear { .. } => {
                "name the standbys in synchronous_standby_names by their application_name, each with one of its own"
            }
        }
    }
}

impl fmt::Display for SqlFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlFinding::DeadPrimary {
                instance,
                gone_by,
                peers,
                counts,
            } => write!(
                f,
                "{gone_by} of {peers} peers find nobody where the primary {instance} should answer; of {} standbys {} can be \
                 asked and {} hear it",
                counts.known, counts.reachable, counts.replicating
            ),
            SqlFinding::AllStandbyNotReplicating { known } => {
                write!(f, "none of {known} standbys receives from the primary")
            }
            SqlFinding::UnreachablePrimary { instance, gone_by } => write!(
                f,
                "the primary {instance} does not answer here; {gone_by} peers find it gone"
            ),
            SqlFinding::NoPrimary => f.write_str("no instance is the primary"),
            SqlFinding::MultiplePrimaries { instances } => {
                let names: Vec<_> = instances.iter().map(InstanceId::as_str).collect();
                write!(
                    f,
                    "{} are primaries at the same time; stop all but one",
                    names.join(" and ")
                )
            }
            SqlFinding::DeposedPrimary { instance, is_quiet } => {
                write!(
                    f,
                    "{instance}, once the primary, runs as one again; stop it and rebuild it from the primary"
                )?;
                match is_quiet {
                    true => f.write_str("; it is read-only by courtesy, which is no fence"),
                    false => f.write_str("; it is being asked to be read-only"),
                }
            }
            SqlFinding::StandbyNotReplicating { instance, why } => {
                write!(f, "{instance} does not receive")?;
                match why {
                    Some(why) => write!(f, ": {why}"),
                    None => Ok(()),
                }
            }
            SqlFinding::Refuses { instance, why } => {
                write!(f, "{instance} lives and lets nobody look at it: {why}")
            }
            SqlFinding::PrimaryReadOnly { instance } => write!(
                f,
                "default_transaction_read_only is on at the primary {instance}"
            ),
            SqlFinding::PrimaryBlockedOnSync {
                instance,
                needed,
                streaming,
            } => write!(
                f,
                "a commit at {instance} waits for {needed} of the standbys in synchronous_standby_names, and {streaming} of them \
                 stream"
            ),
            SqlFinding::RuleUnclear { why } => {
                write!(f, "whose flush commits wait for cannot be told: {why}")
            }
        }
    }
}
