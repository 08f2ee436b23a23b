//! The switchover that somebody asked for.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::Switchover;

/// One that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchoverView {
    /// Who shall be the primary.
    pub to: String,
    /// Who was, when it was asked for.
    pub from: String,
    /// Who asked for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when it waits for the candidate, RFC 3339 in UTC.
    pub until: String,
    /// `waiting` for the candidate, `shutting_down` the primary, `down`: another one is elected, or `called_off`, which the agent
    /// of the primary is being told.
    pub phase: String,
}

pub(in crate::http) fn switchover_view(asked: &Switchover) -> SwitchoverView {
    SwitchoverView {
        to: asked.to.to_string(),
        from: asked.from.to_string(),
        owner: asked.owner.clone(),
        reason: asked.reason.clone(),
        until: clock::text_of(asked.until),
        phase: asked.phase().to_owned(),
    }
}
