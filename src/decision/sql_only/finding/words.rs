//! A finding over SQL in words: one sentence with its numbers. None of them changes from look to look while the matter is
//! the same, but those of a lag.

use std::fmt;

use super::SqlFinding;
use crate::model::report::DISK_FAILS_AFTER;
use crate::model::{Held, InstanceId};

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
            SqlFinding::StalledPrimary { instance, stall } => {
                write!(f, "the disk of the primary {instance} takes no writes: ")?;
                match &stall.refusal {
                    Some(why) => f.write_str(why),
                    None => write!(
                        f,
                        "a commit of Primacy's has not come back for {} s, and WAL is confirmed up to {} and no further",
                        DISK_FAILS_AFTER.as_secs(),
                        stall.flushed
                    ),
                }
            }
            SqlFinding::WeakCommits { instance, settings } => write!(
                f,
                "a failover may lose what {instance} acknowledges to some, because their commits do not wait for a standby ({})",
                settings.join("; ")
            ),
            SqlFinding::DivergedStandby {
                instance,
                at: Some(at),
            } => write!(
                f,
                "the standby {instance} has WAL that is not the primary's: it ends at {at}"
            ),
            SqlFinding::DivergedStandby { instance, at: None } => write!(
                f,
                "{instance} ran as a primary or was told to become one, and may have a branch of its own under the number of the \
                 primary's timeline"
            ),
            SqlFinding::UnprovenCopy { instance } => write!(
                f,
                "the copy of the data that {instance} holds was not seen to hold all that was acknowledged; it counts for no \
                 failover"
            ),
            SqlFinding::UnusedSlots { instance, slots } => write!(
                f,
                "{instance} keeps WAL for nobody in the slots {}, until its disk is full",
                slots.join(", ")
            ),
            SqlFinding::StandbyBehindBeyondLimit {
                instance,
                not_received,
                not_applied,
                lag,
            } => {
                write!(
                    f,
                    "the standby {instance} is behind: {not_received} bytes of WAL not received, {not_applied} not applied"
                )?;
                match lag {
                    Some(lag) => write!(f, ", {lag} s late"),
                    None => Ok(()),
                }
            }
            SqlFinding::RecoveryBlocked { why } => write!(f, "Primacy cannot go on: {why}"),
            SqlFinding::FailoverImpossible { why } => {
                write!(f, "nothing would be failed over: {why}")
            }
            SqlFinding::Unprepared { instance, lacks } => {
                write!(
                    f,
                    "{instance} is not fit for a failover: {}",
                    lacks.join("; ")
                )
            }
            SqlFinding::WaitsForTurn { queue } => queue.fmt(f),
            SqlFinding::FailoverBlocked { epoch } => Held::Blocked { epoch: *epoch }.fmt(f),
            SqlFinding::Paused {
                everywhere,
                owner,
                reason,
            } => Held::Paused {
                everywhere: *everywhere,
                owner: owner.clone(),
                reason: reason.clone(),
            }
            .fmt(f),
        }
    }
}
