//! What is wrong: findings with their evidence, since when, and what follows.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::decision::Finding;
use crate::model::Held;

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingView {
    /// Stable.
    pub code: String,
    /// In words, with its numbers.
    pub text: String,
    /// Of which instances it speaks.
    #[serde(default)]
    pub instances: Vec<String>,
    /// Since when the present leader has seen it, RFC 3339 in UTC by its own clock; none if the answering peer does not lead.
    #[serde(default)]
    pub since: Option<String>,
    /// Whether a failover may follow.
    #[serde(default)]
    pub actionable: bool,
    /// What Primacy does about it by itself, or what a person should do.
    #[serde(default)]
    pub remedy: String,
}

/// A finding and the cluster that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// Of which cluster.
    pub cluster: String,
    /// What is wrong there.
    #[serde(flatten)]
    pub finding: FindingView,
}

/// One finding, which stands since that wall time in milliseconds. While automation is held no failover follows.
pub(super) fn finding_view(
    finding: &Finding,
    since: Option<u64>,
    held: Option<&Held>,
) -> FindingView {
    let held = held.filter(|_| finding.is_actionable());
    FindingView {
        code: finding.code().to_owned(),
        text: finding.to_string(),
        instances: finding
            .instances()
            .iter()
            .map(ToString::to_string)
            .collect(),
        since: since.map(clock::text_of),
        actionable: finding.is_actionable() && held.is_none(),
        remedy: held.map_or_else(|| finding.remedy().to_owned(), what_holds),
    }
}

/// What follows while automation is held: nothing.
pub(super) fn what_holds(held: &Held) -> String {
    format!("nothing while {held}")
}
