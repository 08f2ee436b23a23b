//! Does the disk of every instance take writes? That of the primary is judged with the primary itself.

use crate::model::{InstanceId, View};
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let others = cluster.members.keys();
    others
        .filter(|id| cluster.primary.as_ref() != Some(*id))
        .filter_map(|id| finding(id, false, view))
        .collect()
}

/// The finding about one instance whose disk fails.
pub(super) fn finding(instance: &InstanceId, is_primary: bool, view: &View) -> Option<Finding> {
    let trouble = view.disk_trouble(instance)?;
    trouble.is_failure().then(|| Finding::FailingDisk {
        instance: instance.clone(),
        is_primary,
        refusal: trouble.refusal.clone(),
    })
}
