//! A finding in words: one sentence with its numbers.

use std::fmt;

use super::{Death, Finding, Heard, Silence};
use crate::decision::analyze::counts::{Counts, PrimaryAnswer};
use crate::model::InstanceId;
use crate::model::report::DISK_FAILS_AFTER;
use crate::model::view::UNRESPONSIVE_AFTER;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::NoPrimary => f.write_str("no instance is primary"),
            Finding::MultiplePrimaries { instances } => {
                write!(f, "{} instances run as the primary: ", instances.len())?;
                let each: Vec<_> = instances
                    .iter()
                    .map(|(id, at)| format!("{id} at {at}"))
                    .collect();
                f.write_str(&each.join(", "))
            }
            Finding::DeadPrimary {
                instance,
                death: Death::Told { says, has_the_data },
            } => {
                write!(f, "the primary {instance} does not run: {says}")?;
                if !has_the_data {
                    f.write_str(", in the words of an agent that has other data than is recorded")?;
                }
                Ok(())
            }
            Finding::DeadPrimary {
                instance,
                death: Death::Silent { silence, counts },
            }
            | Finding::DeadPrimaryAndSomeStandbys {
                instance,
                silence,
                counts,
            } => write!(f, "the agent of the primary {instance} {silence}; {counts}"),
            Finding::DeadPrimaryWithoutStandbys { instance, silence } => write!(
                f,
                "the agent of the primary {instance} {silence}, and it has no standbys"
            ),
            Finding::UnreachablePrimary {
                instance,
                heard,
                counts,
            } => {
                write!(
                    f,
                    "this peer does not hear the agent of the primary {instance}"
                )?;
                match heard {
                    Heard::NotAsked => Ok(()),
                    Heard::ByPeers(peers) => write!(f, ", but {peers} peers do"),
                    Heard::ByStandbys => write!(f, ", nor does a majority of peers, but {counts}"),
                }
            }
            Finding::UnresponsivePrimary { instance, lasting } => {
                write!(f, "the primary {instance} does not answer its agent")?;
                if !lasting {
                    return Ok(());
                }
                write!(f, " for {} s", UNRESPONSIVE_AFTER.as_secs())
            }
            Finding::StalledPrimary { instance, refusal } => disk(
                f,
                format_args!("the primary {instance}"),
                refusal.as_deref(),
            ),
            Finding::FailingDisk { instance, refusal } => {
                disk(f, format_args!("{instance}"), refusal.as_deref())
            }
            Finding::PrimaryBlockedOnSync {
                instance,
                streaming,
                needed,
                may_be_more,
                waiting,
            } => {
                let wait = if *may_be_more { "may wait" } else { "wait" };
                write!(
                    f,
                    "commits on {instance} {wait}: they need {needed} of the standbys, {streaming} are known to stream"
                )?;
                match waiting {
                    0 => Ok(()),
                    1 => f.write_str("; 1 session waits"),
                    2.. => write!(f, "; {waiting} sessions wait"),
                }
            }
            Finding::PrimaryReadOnly { instance } => write!(
                f,
                "default_transaction_read_only is on at the primary {instance}: it refuses the writes of every session \
                 that does not say otherwise"
            ),
            Finding::AllStandbyNotReplicating { counts, missing } => {
                let number = counts.known;
                match number {
                    1 => f.write_str("the only standby does not stream")?,
                    _ => write!(f, "none of {number} standbys streams")?,
                }
                write!(f, " from the primary: {}", these(missing))
            }
            Finding::StandbyNotReplicating { counts, missing } => {
                let verb = if missing.len() == 1 { "does" } else { "do" };
                write!(
                    f,
                    "{} of {} standbys {verb} not stream from the primary: {}",
                    missing.len(),
                    counts.known,
                    these(missing)
                )
            }
            Finding::DivergedStandby { instance, at, says } => match (at, says) {
                (Some(at), _) => write!(
                    f,
                    "the standby {instance} has WAL that is not the primary's: it ends at {at}"
                ),
                (None, Some(says)) => write!(
                    f,
                    "the standby {instance} cannot follow the primary with the data that it has: {says}"
                ),
                (None, None) => write!(f, "the standby {instance} cannot follow the primary"),
            },
            Finding::StandbyBehindBeyondLimit {
                instance,
                not_received,
                not_applied,
                lag,
            } => {
                write!(
                    f,
                    "the standby {instance} is behind: {not_received} bytes of WAL not received, {not_applied} not \
                     applied"
                )?;
                match lag {
                    Some(lag) => write!(f, ", {} s late", lag.as_secs()),
                    None => Ok(()),
                }
            }
            Finding::WeakCommits { instance, settings } => write!(
                f,
                "a failover may lose what {instance} acknowledges to some, because their commits do not wait for a \
                 standby ({})",
                settings.join("; ")
            ),
            Finding::FailoverBlocked { epoch } => write!(
                f,
                "a failover is blocked: that of epoch {epoch} is within the block period, and nobody has acknowledged it"
            ),
            Finding::Paused {
                everywhere,
                owner,
                reason,
            } => {
                let what = if *everywhere {
                    "every cluster"
                } else {
                    "the cluster"
                };
                write!(f, "{what} is paused by {owner}: {reason}")
            }
            Finding::WaitsForTurn { queue } => queue.fmt(f),
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.connection_closed {
            true => "closed its connection",
            false => "is silent",
        })?;
        if self.lease_ended {
            f.write_str(" and its lease has ended")?;
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            primary,
            known,
            reachable,
            replicating,
        } = self;
        write!(
            f,
            "of {known} standbys {reachable} can be reached and {replicating} stream from it"
        )?;
        match primary {
            PrimaryAnswer::Serves | PrimaryAnswer::Nothing => Ok(()),
            PrimaryAnswer::Refuses => f.write_str(", and it lets nobody in"),
        }
    }
}

fn these(missing: &[(InstanceId, bool)]) -> String {
    let each: Vec<_> = missing
        .iter()
        .map(|(id, is_heard)| match is_heard {
            true => id.to_string(),
            false => format!("{id} (its agent is silent)"),
        })
        .collect();
    each.join(", ")
}

fn disk(f: &mut fmt::Formatter<'_>, of: fmt::Arguments<'_>, refusal: Option<&str>) -> fmt::Result {
    let for_s = DISK_FAILS_AFTER.as_secs();
    write!(f, "the disk of {of} has taken no write for {for_s} s: ")?;
    f.write_str(refusal.unwrap_or("a write does not come back"))
}
