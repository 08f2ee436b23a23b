//! What operators said of automation.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::{Hold, InForce, InstanceId};

/// Automation that somebody switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// When it was said, RFC 3339 in UTC on the leader's clock.
    pub since: String,
    /// When it ends by itself, in the same way.
    pub until: String,
    /// Who said it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Whether it is the one of all clusters.
    pub everywhere: bool,
}

/// `/api/v1/pause`: the pause of all clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    /// Whether one is in force.
    pub paused: bool,
    /// Which.
    pub pause: Option<HoldView>,
}

/// The last failover, while it keeps another one off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    /// Its epoch.
    pub epoch: u64,
    /// Until when, RFC 3339 in UTC, unless it is acknowledged.
    pub until: String,
}

/// What is in force of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub downtime: Option<HoldView>,
    pub promotion_rule: String,
    pub promotion_rule_until: Option<String>,
}

/// A pause or a downtime.
pub(in crate::http) fn hold_view(hold: &Hold, everywhere: bool) -> HoldView {
    HoldView {
        since: clock::text_of(hold.since),
        until: clock::text_of(hold.until),
        owner: hold.owner.clone(),
        reason: hold.reason.clone(),
        everywhere,
    }
}

/// The pause of a cluster.
pub(super) fn pause_of(said: &InForce) -> Option<HoldView> {
    let paused = said.paused.as_ref()?;
    Some(hold_view(&paused.hold, paused.everywhere))
}

pub(super) fn block_of(said: &InForce) -> Option<BlockView> {
    let blocked = said.blocked?;
    Some(BlockView {
        epoch: blocked.epoch.0,
        until: clock::text_of(blocked.until),
    })
}

pub(super) fn said_of(said: &InForce, instance: &InstanceId) -> Said {
    let ruled = said.rules.get(instance);
    let rule = ruled.map(|it| it.rule).unwrap_or_default();
    Said {
        downtime: said.downtime.get(instance).map(|it| hold_view(it, false)),
        promotion_rule: rule.name().to_owned(),
        promotion_rule_until: ruled.and_then(|it| it.until).map(clock::text_of),
    }
}
