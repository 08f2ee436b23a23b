//! What is wrong: findings with their evidence, since when, and what follows.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::decision::Finding;
use crate::decision::sql_only::SqlFinding;
use crate::decision::zones::LostZone;
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

impl ProblemView {
    /// That of many clusters at once.
    pub(in crate::http) fn of_zone(zone: &LostZone) -> ProblemView {
        ProblemView {
            cluster: None,
            finding: FindingView {
                code: LostZone::CODE.to_owned(),
                text: zone.to_string(),
                instances: vec![],
                since: None,
                actionable: false,
                remedy: LostZone::REMEDY.to_owned(),
            },
        }
    }
}

/// A finding and the cluster that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// Of which cluster; none if it is about many.
    pub cluster: Option<String>,
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
    let instances = finding.instances();
    let said = (finding.is_actionable(), finding.remedy());
    shown(finding.code(), finding, instances, since, said, held)
}

/// The same of a cluster without agents.
pub(super) fn sql_finding_view(
    finding: &SqlFinding,
    since: Option<u64>,
    held: Option<&Held>,
) -> FindingView {
    let instances = finding.instances();
    let said = (finding.is_actionable(), finding.remedy());
    shown(finding.code(), finding, instances, since, said, held)
}

fn shown<I: ToString>(
    code: &str,
    text: &impl ToString,
    instances: impl IntoIterator<Item = I>,
    since: Option<u64>,
    (is_actionable, remedy): (bool, &str),
    held: Option<&Held>,
) -> FindingView {
    let held = held.filter(|_| is_actionable);
    FindingView {
        code: code.to_owned(),
        text: text.to_string(),
        instances: instances.into_iter().map(|it| it.to_string()).collect(),
        since: since.map(clock::text_of),
        actionable: is_actionable && held.is_none(),
        remedy: held.map_or_else(|| remedy.to_owned(), what_holds),
    }
}

/// What follows while automation is held: nothing.
fn what_holds(held: &Held) -> String {
    format!("nothing while {held}")
}
