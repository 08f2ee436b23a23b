//! The durability that somebody asked for.

use serde::{Deserialize, Serialize};

use crate::decision::Plan;
use crate::decision::durability::waits_for;
use crate::model::{Cluster, Durability, DurabilityChange, View};

/// One that is not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurabilityChangeView {
    /// What it shall be: `async` or `quorum k`.
    pub to: String,
    /// Who asked for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// `waiting` for standbys; `confirming`: commits wait for as many already, and it is not proven yet that all do; or, before
    /// `async`, `lapsing`: what the quorum cluster was granted comes to its end.
    pub phase: String,
    /// What it waits for, in words.
    #[serde(default)]
    pub waits_for: String,
    /// What takes it back, and puts in force what is recorded: a command to be typed.
    #[serde(default)]
    pub taken_back_by: String,
}

pub(in crate::http) fn durability_change_view(
    asked: &DurabilityChange,
    cluster: &Cluster,
    view: &View,
    plan: &Plan,
) -> DurabilityChangeView {
    let recorded = match cluster.durability {
        Durability::Async => "async".to_owned(),
        Durability::Quorum { standbys } => format!("quorum:{standbys}"),
    };
    DurabilityChangeView {
        waits_for: waits_for(asked, cluster, view, plan),
        taken_back_by: format!("primacy cluster durability {} {recorded}", cluster.name),
        to: asked.to.to_string(),
        owner: asked.owner.clone(),
        reason: asked.reason.clone(),
        phase: asked.phase.name().to_owned(),
    }
}
