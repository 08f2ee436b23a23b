//! Why nothing happens, as a value that the operator sees.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Held, InstanceId, Obstacle, WalPosition};

/// Why a procedure waits or gives up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The agent of the instance has not been heard.
    Silent {
        /// The instance.
        instance: InstanceId,
    },
    /// The last try failed; it is tried again.
    Failed {
        /// The instance.
        instance: InstanceId,
        /// In the agent's words.
        why: String,
    },
    /// Too few promises to prove that the old primary can acknowledge nothing and that one of those
    /// who promised holds every acknowledged commit.
    NotProven {
        /// R: promises that count.
        promised: usize,
        /// The least R with R + W + 1 > N.
        needed: usize,
        /// Voters whose promise is missing or does not count, each with the cause.
        missing: Vec<(InstanceId, String)>,
    },
    /// The primary's agent is silent or gets no answer from it, but standbys still stream from it.
    Vetoed {
        /// The standbys that hear the primary.
        by: Vec<InstanceId>,
    },
    /// This peer does not hear the primary's agent, but a majority of peers does.
    HeardByPeers {
        /// How many peers hear it.
        peers: usize,
    },
    /// In an async cluster, and where reads are strict, nobody is promoted before every lease that may be held has
    /// ended.
    LeaseMayBeHeld {
        /// Who may hold one.
        by: Vec<InstanceId>,
    },
    /// Data that may be the only copy of an acknowledged commit is not touched.
    NotCopiedYet {
        /// Voters that hold a commit of the present epoch, beside the primary and the instance itself.
        copies: usize,
        /// W.
        needed: usize,
    },
    /// The rejoined standby has not yet flushed what the primary had when it came back.
    CatchingUp {
        /// Where it must get.
        target: WalPosition,
        /// Where it is, if it streams.
        at: Option<WalPosition>,
    },
    /// Other peers and agents are being asked before an epoch is burnt.
    Asking,
    /// There is no instance that could take part.
    NobodyReachable,
    /// A newer recovery took over.
    Superseded,
    /// The candidate said that it cannot be promoted.
    CannotPromote {
        /// The candidate.
        instance: InstanceId,
        /// In the agent's words.
        why: String,
    },
    /// There is no primary that could be followed.
    NoPrimary,
    /// Commits would wait for standbys, and too few of those that stream from the database were offered with it.
    StandbysNotOffered {
        /// How many were.
        offered: usize,
        /// W.
        needed: usize,
    },
    /// A database was offered for another member than the one with which the cluster begins.
    OfferedElsewhere {
        /// For which.
        instance: InstanceId,
        /// With which it begins.
        first: InstanceId,
    },
    /// Somebody switched automation off.
    Held(Held),
    /// Whoever could be promoted must not be, by a promotion rule.
    MustNot {
        /// Who.
        instances: Vec<InstanceId>,
    },
    /// A switchover waits for this to pass.
    Obstacle(Obstacle),
    /// A forced failover would lose more than somebody accepted.
    WouldLoseMore {
        /// Who would be elected.
        instance: InstanceId,
        /// All that it holds.
        at: WalPosition,
        /// What must not be lost.
        accepted: WalPosition,
    },
    /// A forced failover would elect beside a primary that may serve on: nobody hears it, nor those who may back it.
    MayServeOn {
        /// Who may serve on.
        instance: InstanceId,
        /// Who may back it.
        helpers: Vec<InstanceId>,
    },
    /// A forced failover waits for those who are heard and have not promised yet: they may hold more.
    SlowToPromise {
        /// Who.
        instances: Vec<InstanceId>,
    },
    /// A durability that was asked for takes more standbys than stream from the primary and can write.
    TooFewStandbys {
        /// How many do.
        streaming: usize,
        /// How many a commit would wait for.
        needed: usize,
    },
    /// Nothing was acknowledged yet in this epoch.
    NoCommitYet,
    /// Leases and words last longer than an async cluster waits for.
    LeasesLapse,
}

impl Reason {
    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Silent { .. } => "silent",
            Reason::Failed { .. } => "failed",
            Reason::NotProven { .. } => "not_proven",
            Reason::Vetoed { .. } => "vetoed",
            Reason::HeardByPeers { .. } => "heard_by_peers",
            Reason::LeaseMayBeHeld { .. } => "lease_may_be_held",
            Reason::NotCopiedYet { .. } => "not_copied_yet",
            Reason::CatchingUp { .. } => "catching_up",
            Reason::Asking => "asking",
            Reason::NobodyReachable => "nobody_reachable",
            Reason::Superseded => "superseded",
            Reason::CannotPromote { .. } => "cannot_promote",
            Reason::NoPrimary => "no_primary",
            Reason::StandbysNotOffered { .. } => "standbys_not_offered",
            Reason::OfferedElsewhere { .. } => "offered_elsewhere",
            Reason::Held(held) => held.code(),
            Reason::MustNot { .. } => "must_not",
            Reason::Obstacle(obstacle) => obstacle.code(),
            Reason::WouldLoseMore { .. } => "would_lose_more",
            Reason::MayServeOn { .. } => "may_serve_on",
            Reason::SlowToPromise { .. } => "slow_to_promise",
            Reason::TooFewStandbys { .. } => "too_few_standbys",
            Reason::NoCommitYet => "no_commit_yet",
            Reason::LeasesLapse => "leases_lapse",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[InstanceId]| {
            let names: Vec<_> = names.iter().map(InstanceId::as_str).collect();
            names.join(", ")
        };
        match self {
            Reason::Silent { instance } => write!(f, "the agent of {instance} is silent"),
            Reason::Failed { instance, why } => write!(f, "{instance}: {why}; tried again"),
            Reason::NotProven {
                promised,
                needed,
                missing,
            } => {
                write!(f, "{promised} of {needed} promises needed")?;
                for (instance, why) in missing {
                    write!(f, "; {instance}: {why}")?;
                }
                Ok(())
            }
            Reason::Vetoed { by } => write!(
                f,
                "the primary seems not to serve, but {} still hears it",
                list(by)
            ),
            Reason::HeardByPeers { peers } => {
                write!(
                    f,
                    "this peer does not hear the primary's agent, but {peers} peers do"
                )
            }
            Reason::LeaseMayBeHeld { by } => {
                write!(f, "a primary lease may still be held by {}", list(by))
            }
            Reason::NotCopiedYet { copies, needed } => write!(
                f,
                "its data may be the only copy of an acknowledged commit: {copies} of {needed} other standbys hold a commit of this epoch"
            ),
            Reason::CatchingUp {
                target,
                at: Some(at),
            } => {
                write!(f, "flushed up to {at}, must reach {target}")
            }
            Reason::CatchingUp { target, at: None } => {
                write!(f, "does not stream yet, must reach {target}")
            }
            Reason::Asking => f.write_str("asking peers and agents whether a proof can be reached"),
            Reason::NobodyReachable => f.write_str("no agent of the cluster can be reached"),
            Reason::Superseded => f.write_str("a newer recovery took over"),
            Reason::CannotPromote { instance, why } => {
                write!(f, "{instance} cannot be promoted: {why}")
            }
            Reason::NoPrimary => f.write_str("there is no primary to follow"),
            Reason::StandbysNotOffered { offered, needed } => write!(
                f,
                "commits would wait: {offered} of {needed} standbys needed stream from it and are offered to be taken over; run primacy agent join on their hosts"
            ),
            Reason::OfferedElsewhere { instance, first } => write!(
                f,
                "{instance} is offered with a database, and the cluster was created to begin with {first}, which has none"
            ),
            Reason::Held(held) => held.fmt(f),
            Reason::Obstacle(obstacle) => write!(f, "switchover: {obstacle}"),
            Reason::WouldLoseMore {
                instance,
                at,
                accepted,
            } => write!(
                f,
                "{instance} has all up to {at}, and losing what lies before {accepted} was not accepted; that takes a new word"
            ),
            Reason::MayServeOn { instance, helpers } => write!(
                f,
                "{instance} may serve on with the help of {}; that it is off, or they are, takes a new word",
                list(helpers)
            ),
            Reason::SlowToPromise { instances } => write!(
                f,
                "{} can be asked and may hold more, and has not promised yet",
                list(instances)
            ),
            Reason::TooFewStandbys { streaming, needed } => write!(
                f,
                "durability: a commit would wait for {needed} standbys, and {streaming} that count stream and can write"
            ),
            Reason::NoCommitYet => f.write_str(
                "durability: the primary has had no commit acknowledged in this epoch yet",
            ),
            Reason::LeasesLapse => f.write_str(
                "durability: leases of the quorum cluster may last for some seconds more, and a failover of an async cluster would not wait for them",
            ),
            Reason::MustNot { instances } => write!(
                f,
                "by its promotion rule {} must not be promoted, and nobody else holds as much",
                list(instances)
            ),
        }
    }
}
