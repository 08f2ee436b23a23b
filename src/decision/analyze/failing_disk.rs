//! Does the disk of every standby take writes? That of the primary is judged with the primary itself.

use crate::model::View;
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let others = cluster.members.keys();
    others
        .filter(|id| cluster.primary.as_ref() != Some(*id))
        .filter_map(|id| {
            let trouble = view.disk_trouble(id)?;
            trouble.is_failure().then(|| Finding::FailingDisk {
                instance: id.clone(),
                refusal: trouble.refusal.clone(),
            })
        })
        .collect()
}
