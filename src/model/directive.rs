//! What operators said of automation: that it shall leave a cluster or an instance alone, and who shall be promoted rather
//! than others. Each carries its owner and its reason, and ends by itself.
//!
//! They hold back what would begin, and choose among equals. They never touch leases or fencing, and never make a proof
//! weaker, so a wrong clock makes automation begin earlier or later than somebody meant, and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hooks::HookStage;
use super::ids::{Epoch, InstanceId};

/// The longest that automation may be switched off at once: whoever needs more says so again, and is not forgotten for a
/// year.
pub const LONGEST_HOLD: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most bytes of an owner: a name or an address, not a text.
pub const OWNER_LIMIT: usize = 64;
/// The most bytes of a reason: every peer keeps it, and every screen shows it.
pub const REASON_LIMIT: usize = 240;

/// How much a cluster matters when not all can be helped at once: the greater first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub i16);

impl Priority {
    /// Between minus this and this; 0 for a cluster of which nothing is said.
    pub const LIMIT: i16 = 100;
}

/// Automation that somebody switched off until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When it was said, in milliseconds since 1970 on the leader's wall clock.
    pub since: u64,
    /// When it ends, in the same way.
    pub until: u64,
    /// Who said it.
    pub owner: String,
    /// Why.
    pub reason: String,
}

impl Hold {
    /// Whether it is in force at that wall time.
    pub fn is_in_force(&self, at: u64) -> bool {
        at < self.until
    }
}

/// Whether an instance shall be promoted rather than another one that holds as much. The best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromotionRule {
    /// Rather than others.
    Prefer,
    /// As any other.
    #[default]
    Neutral,
    /// Only if nobody else holds as much.
    PreferNot,
    /// Never.
    MustNot,
}

impl PromotionRule {
    /// All of them, the best first.
    pub const ALL: [PromotionRule; 4] = [
        PromotionRule::Prefer,
        PromotionRule::Neutral,
        PromotionRule::PreferNot,
        PromotionRule::MustNot,
    ];

    /// One word for the API.
    pub fn name(self) -> &'static str {
        match self {
            PromotionRule::Prefer => "prefer",
            PromotionRule::Neutral => "neutral",
            PromotionRule::PreferNot => "prefer_not",
            PromotionRule::MustNot => "must_not",
        }
    }
}

/// A promotion rule that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// Which.
    pub rule: PromotionRule,
    /// When it ends, in milliseconds since 1970 on the leader's wall clock; none if it is pinned.
    pub until: Option<u64>,
}

/// A pause that is in force for a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// What was said.
    pub hold: Hold,
    /// Whether it is one of all clusters.
    pub everywhere: bool,
}

/// A failover that is so young, and not acknowledged, that another one is not begun by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Its epoch.
    pub epoch: Epoch,
    /// Until when, in milliseconds since 1970 on the leader's wall clock.
    pub until: u64,
}

/// What is in force for one cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// The pause that ends last.
    pub paused: Option<Paused>,
    /// Which instances are left alone.
    pub downtime: BTreeMap<InstanceId, Hold>,
    /// The promotion rules of those that have one.
    pub rules: BTreeMap<InstanceId, Ruled>,
    /// How long a failover keeps another one off; none if it does not.
    pub block_period: Option<Duration>,
    /// The last failover, while it keeps another one off.
    pub blocked: Option<Blocked>,
    /// How much the cluster matters.
    pub priority: Priority,
}

/// Why automation begins nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// The cluster is paused, or all of them are.
    Paused {
        /// Whether all are.
        everywhere: bool,
        /// Who said so.
        owner: String,
        /// Why.
        reason: String,
    },
    /// The instance is in downtime.
    Downtime {
        /// Which.
        instance: InstanceId,
        /// Who said so.
        owner: String,
        /// Why.
        reason: String,
    },
    /// The last failover is too young, and nobody has acknowledged it.
    Blocked {
        /// Its epoch.
        epoch: Epoch,
    },
    /// The user's programs have not all done well.
    Hook {
        /// Which of them.
        stage: HookStage,
        /// Whether one has failed; else they are waited for.
        failed: bool,
    },
    /// As many other clusters are given a new primary as may be at once.
    Turn {
        /// How many are.
        under_way: usize,
        /// How many may be.
        limit: usize,
    },
}

impl Held {
    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Held::Paused { .. } => "paused",
            Held::Downtime { .. } => "downtime",
            Held::Blocked { .. } => "blocked",
            Held::Hook { .. } => "hook",
            Held::Turn { .. } => "turn",
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Paused {
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
            Held::Downtime {
                instance,
                owner,
                reason,
            } => write!(f, "{instance} is in downtime by {owner}: {reason}"),
            Held::Blocked { epoch } => write!(
                f,
                "the failover of epoch {epoch} is within the block period, and nobody has acknowledged it"
            ),
            Held::Hook {
                stage,
                failed: false,
            } => write!(f, "{stage} are waited for"),
            Held::Hook {
                stage,
                failed: true,
            } => write!(
                f,
                "one of {stage} failed; they are run again before long (primacy history has what they said)"
            ),
            Held::Turn { under_way, limit } => write!(
                f,
                "it waits for its turn: {under_way} recoveries run, and {limit} may at once"
            ),
        }
    }
}

impl InForce {
    /// Why no recovery of `subject` may begin by itself; none if it may. What holds a failover back besides:
    /// [`InForce::holds_failover`].
    pub fn holds(&self, subject: Option<&InstanceId>) -> Option<Held> {
        if let Some(Paused { hold, everywhere }) = &self.paused {
            return Some(Held::Paused {
                everywhere: *everywhere,
                owner: hold.owner.clone(),
                reason: hold.reason.clone(),
            });
        }
        let instance = subject?;
        let hold = self.downtime.get(instance)?;
        Some(Held::Downtime {
            instance: instance.clone(),
            owner: hold.owner.clone(),
            reason: hold.reason.clone(),
        })
    }

    /// Why no failover from `primary` may begin by itself; none if it may.
    pub fn holds_failover(&self, primary: Option<&InstanceId>) -> Option<Held> {
        let epoch = self.blocked.map(|it| it.epoch);
        let blocked = epoch.map(|epoch| Held::Blocked { epoch });
        self.holds(primary).or(blocked)
    }

    /// The promotion rule of an instance. One in downtime is at best chosen if nobody else holds as much.
    pub fn rule(&self, instance: &InstanceId) -> PromotionRule {
        let said = self.rules.get(instance);
        let said = said.map(|it| it.rule).unwrap_or_default();
        match self.downtime.contains_key(instance) {
            true => said.max(PromotionRule::PreferNot),
            false => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::id;

    fn hold(reason: &str) -> Hold {
        Hold {
            since: 0,
            until: 10,
            owner: "ana".to_owned(),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_pause_holds_all_and_downtime_one() {
        let mut said = InForce::default();
        assert_eq!(said.holds(Some(&id("a"))), None);
        said.downtime.insert(id("a"), hold("disk"));
        let held = said.holds(Some(&id("a"))).unwrap();
        assert_eq!(
            (held.code(), held.to_string().as_str()),
            ("downtime", "a is in downtime by ana: disk")
        );
        assert_eq!(said.holds(Some(&id("b"))), None);
        said.paused = Some(Paused {
            hold: hold("patch"),
            everywhere: false,
        });
        let held = said.holds(None).unwrap();
        assert_eq!(
            (held.code(), held.to_string().as_str()),
            ("paused", "the cluster is paused by ana: patch")
        );
        assert!(hold("").is_in_force(9) && !hold("").is_in_force(10));
    }

    #[test]
    fn one_in_downtime_is_not_preferred() {
        let mut said = InForce::default();
        assert_eq!(said.rule(&id("a")), PromotionRule::Neutral);
        let until = None;
        let ruled = |rule| Ruled { rule, until };
        said.rules.insert(id("a"), ruled(PromotionRule::Prefer));
        said.downtime.insert(id("a"), hold("disk"));
        assert_eq!(said.rule(&id("a")), PromotionRule::PreferNot);
        said.rules.insert(id("a"), ruled(PromotionRule::MustNot));
        assert_eq!(said.rule(&id("a")), PromotionRule::MustNot);
        let mut sorted = PromotionRule::ALL;
        sorted.sort();
        assert_eq!(sorted, PromotionRule::ALL);
    }
}
