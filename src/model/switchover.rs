//! A change of primary that somebody asked for: as it is recorded, and what may stand in its way.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::directive::Held;
use super::ids::{InstanceId, Order};
use super::wal::WalPosition;

/// The longest that a switchover may wait for its candidate: whoever asked for it is gone by then.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How long it waits unless somebody says otherwise: a standby that is a moment behind comes as far, and nobody has to
/// wonder an hour later why the primary changes.
pub const USUAL_WAIT: Duration = Duration::from_secs(30);
/// A candidate that lacks no more than this of the primary's WAL has the rest within a moment once nothing is written any
/// more. Two reports of different moments differ by what a busy primary writes in half a second.
pub const NEAR_BYTES: u64 = 16 << 20;
/// A candidate that applies no later than this is promoted without a wait that clients would notice.
pub const NEAR: Duration = Duration::from_secs(1);

/// One that is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switchover {
    /// Who shall be the primary.
    pub to: InstanceId,
    /// Who is.
    pub from: InstanceId,
    /// Who asked for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when the primary may be told to shut down for it, in milliseconds since 1970 on the leader's wall clock.
    pub until: u64,
    /// How far it is.
    pub progress: Progress,
}

/// An operator's word for one handover: what cannot be proven to be held by those who can be asked may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Whose word it is.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when it counts, in milliseconds since 1970 on the leader's wall clock.
    pub until: u64,
    /// What may be lost: only what lies beyond this.
    pub accepted: WalPosition,
    /// Until when those are waited for who are heard and slow to promise, on the same clock.
    pub patient_until: u64,
    /// Whether the old primary is off, or those who may back it, by the same word.
    pub old_is_off: bool,
}

/// How far a switchover is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The candidate is waited for, and nothing was done yet.
    Waiting,
    /// The agent of the primary is told to shut PostgreSQL down, and may have done so.
    ShuttingDown,
    /// It is down, and from here on a primary is elected in any case.
    Down {
        /// Where its WAL ends.
        end: WalPosition,
    },
    /// It is given up, and over once the agent of the primary has admitted this order: until then a word of before may still
    /// shut PostgreSQL down.
    CalledOff {
        /// Newer than whatever told it to.
        order: Order,
        /// Why, in words.
        why: String,
    },
}

impl Switchover {
    /// Whether the primary was told to shut down: what follows is no failure that somebody's word would hold back.
    pub fn has_begun(&self) -> bool {
        match self.progress {
            Progress::Waiting => false,
            Progress::ShuttingDown | Progress::Down { .. } | Progress::CalledOff { .. } => true,
        }
    }

    /// One word for the API.
    pub fn phase(&self) -> &'static str {
        match self.progress {
            Progress::Waiting => "waiting",
            Progress::ShuttingDown => "shutting_down",
            Progress::Down { .. } => "down",
            Progress::CalledOff { .. } => "called_off",
        }
    }
}

impl fmt::Display for Switchover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Switchover {
            to, owner, reason, ..
        } = self;
        write!(f, "switchover to {to}, asked for by {owner}: {reason}")
    }
}

/// Why a switchover is not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The candidate is no member.
    NoMember(InstanceId),
    /// The candidate is the primary already.
    IsPrimary(InstanceId),
    /// The primary is changing, or there is none.
    Changing,
    /// Another switchover was asked for.
    Asked(InstanceId),
    /// An instance is being brought back: that would be broken off.
    Rejoins(InstanceId),
    /// The candidate has not got back all that the primary had.
    Recovering(InstanceId),
    /// By its promotion rule the candidate must not be promoted.
    MustNot(InstanceId),
    /// Somebody switched automation off: the old primary would not be brought back.
    Held(Held),
    /// The agent of the instance is silent.
    Silent(InstanceId),
    /// The primary does not serve.
    NotServing(InstanceId),
    /// The candidate does not stream from the primary.
    NotStreaming(InstanceId),
    /// The disk of the candidate takes no writes.
    Disk(InstanceId),
    /// The candidate lacks so many bytes of the primary's WAL.
    Behind {
        /// Who.
        instance: InstanceId,
        /// How much.
        bytes: u64,
    },
    /// The candidate applies what it received so late.
    Late {
        /// Who.
        instance: InstanceId,
        /// How late.
        lag: Duration,
    },
    /// Too few agents of voters are heard to elect anybody.
    TooFew {
        /// How many are.
        heard: usize,
        /// How many must be.
        needed: usize,
    },
    /// No standby could be the primary.
    Nobody,
    /// A failover need not be forced, for this reason.
    NotForced(String),
}

impl Obstacle {
    /// Whether it may pass without anybody's doing, so that it is worth to wait: a standby comes as far, is brought back, its
    /// agent or host is restarted. What somebody said, or a disk that fails, stays.
    pub fn may_pass(&self) -> bool {
        match self {
            Obstacle::Rejoins(_)
            | Obstacle::Recovering(_)
            | Obstacle::Silent(_)
            | Obstacle::NotServing(_)
            | Obstacle::NotStreaming(_)
            | Obstacle::Behind { .. }
            | Obstacle::Late { .. }
            | Obstacle::TooFew { .. } => true,
            Obstacle::NoMember(_)
            | Obstacle::IsPrimary(_)
            | Obstacle::Changing
            | Obstacle::Asked(_)
            | Obstacle::MustNot(_)
            | Obstacle::Held(_)
            | Obstacle::Disk(_)
            | Obstacle::Nobody
            | Obstacle::NotForced(_) => false,
        }
    }

    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Obstacle::NoMember(_) => "no_member",
            Obstacle::IsPrimary(_) => "is_primary",
            Obstacle::Changing => "changing",
            Obstacle::Asked(_) => "asked",
            Obstacle::Rejoins(_) => "rejoins",
            Obstacle::Recovering(_) => "recovering",
            Obstacle::MustNot(_) => "must_not",
            Obstacle::Held(held) => held.code(),
            Obstacle::Silent(_) => "silent",
            Obstacle::NotServing(_) => "not_serving",
            Obstacle::NotStreaming(_) => "not_streaming",
            Obstacle::Disk(_) => "disk",
            Obstacle::Behind { .. } => "behind",
            Obstacle::Late { .. } => "late",
            Obstacle::TooFew { .. } => "too_few",
            Obstacle::Nobody => "nobody",
            Obstacle::NotForced(_) => "not_forced",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NoMember(it) => write!(f, "there is no instance {it}"),
            Obstacle::IsPrimary(it) => write!(f, "{it} is the primary already"),
            Obstacle::Changing => f.write_str("the primary is changing already, or there is none"),
            Obstacle::Asked(to) => write!(f, "a switchover to {to} is under way"),
            Obstacle::Rejoins(it) => {
                write!(f, "{it} is being brought back, which would be broken off")
            }
            Obstacle::Recovering(it) => {
                write!(f, "{it} has not got back all that the primary had")
            }
            Obstacle::MustNot(it) => {
                write!(f, "by its promotion rule {it} must not be promoted")
            }
            Obstacle::Held(held) => {
                write!(f, "{held}; the old primary would not be brought back")
            }
            Obstacle::Silent(it) => write!(f, "the agent of {it} is silent"),
            Obstacle::NotServing(it) => write!(f, "the primary {it} does not serve"),
            Obstacle::NotStreaming(it) => write!(f, "{it} does not stream from the primary"),
            Obstacle::Disk(it) => write!(f, "the disk of {it} takes no writes"),
            Obstacle::Behind { instance, bytes } => write!(
                f,
                "{instance} is {bytes} bytes behind the primary, and may be {NEAR_BYTES}"
            ),
            Obstacle::Late { instance, lag } => write!(
                f,
                "{instance} applies what it receives {} ms late, and may be {} ms",
                lag.as_millis(),
                NEAR.as_millis()
            ),
            Obstacle::TooFew { heard, needed } => write!(
                f,
                "{heard} agents of voters are heard, and {needed} must be to elect a primary"
            ),
            Obstacle::Nobody => f.write_str("no standby could be the primary now"),
            Obstacle::NotForced(why) => write!(f, "a failover is not forced: {why}"),
        }
    }
}
