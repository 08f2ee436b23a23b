//! What an operator can say, and what is refused of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::directive::{LONGEST_HOLD, OWNER_LIMIT, REASON_LIMIT};
use crate::model::{ClusterName, Hold, InstanceId, Priority, PromotionRule};
use crate::recovery::Rejection;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectiveCommand {
    /// The proposing leader's wall clock, in milliseconds since 1970: what is said ends by it.
    pub at: u64,
    /// What is said.
    pub change: Directive,
}

/// For how long automation is switched off, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewHold {
    /// At most [`LONGEST_HOLD`].
    pub length: Duration,
    /// Who says it.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// What an operator says. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directive {
    /// Nothing is begun by itself until it ends; in the place of what was said before.
    Pause {
        /// Of which cluster; of all if none is named.
        cluster: Option<ClusterName>,
        /// For how long.
        hold: NewHold,
    },
    /// That pause is over.
    Resume {
        /// Of which cluster; the one of all if none is named.
        cluster: Option<ClusterName>,
    },
    /// No recovery of the instance is begun by itself.
    Downtime {
        /// Its cluster.
        cluster: ClusterName,
        /// Which.
        instance: InstanceId,
        /// For how long.
        hold: NewHold,
    },
    /// Its downtime is over.
    Uptime {
        /// Its cluster.
        cluster: ClusterName,
        /// Which.
        instance: InstanceId,
    },
    /// Whether the instance shall be promoted rather than others.
    Rule {
        /// Its cluster.
        cluster: ClusterName,
        /// Which.
        instance: InstanceId,
        /// Which rule; neutral takes one back.
        rule: PromotionRule,
        /// For how long; pinned if none is said.
        length: Option<Duration>,
    },
    /// A failover keeps another one off for so long, unless it is acknowledged. What somebody asks for is not kept off.
    Block {
        /// Of which cluster.
        cluster: ClusterName,
        /// At most [`LONGEST_HOLD`]; none takes it back.
        period: Option<Duration>,
    },
    /// Somebody has looked at the last failover: another one may follow.
    Acknowledge {
        /// Of which cluster.
        cluster: ClusterName,
        /// Who.
        owner: String,
        /// What they say of it; kept in its history.
        comment: String,
    },
    /// How much the cluster matters when not all can be helped at once. From feature level 4 on.
    Priority {
        /// Which cluster.
        cluster: ClusterName,
        /// At most [`Priority::LIMIT`] and at least minus that; 0 takes it back.
        priority: Priority,
    },
}

impl NewHold {
    pub(super) fn begin(self, at: u64) -> Result<Hold, Rejection> {
        let NewHold {
            length,
            owner,
            reason,
        } = self;
        check_words(&owner, ("reason", &reason))?;
        Ok(Hold {
            since: at,
            until: end(at, length)?,
            owner,
            reason,
        })
    }
}

pub(in crate::state) fn check_words(
    owner: &str,
    (field, words): (&str, &str),
) -> Result<(), Rejection> {
    let invalid = |field: &str, limit: usize| {
        let why = format!("{field}: it has 1 to {limit} bytes");
        Err(Rejection::Invalid(why))
    };
    match () {
        () if owner.is_empty() || owner.len() > OWNER_LIMIT => invalid("owner", OWNER_LIMIT),
        () if words.is_empty() || words.len() > REASON_LIMIT => invalid(field, REASON_LIMIT),
        () => Ok(()),
    }
}

pub(super) fn end(at: u64, length: Duration) -> Result<u64, Rejection> {
    let days = LONGEST_HOLD.as_secs() / 86_400;
    if length.is_zero() || length > LONGEST_HOLD {
        return Err(Rejection::Invalid(format!(
            "seconds: it lasts from 1 second to {days} days; say it again when it ends"
        )));
    }
    Ok(at.saturating_add(millis(length)))
}

pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
