//! Does every standby stream from the primary? Rejoins mend it; the finding tells the operator.

use crate::model::View;
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    if !state.is_established() {
        return vec![];
    }
    cluster
        .members
        .keys()
        .filter(|id| cluster.primary.as_ref() != Some(*id) && !view.streams(cluster, id))
        .map(|id| Finding::StandbyNotReplicating {
            instance: id.clone(),
            is_heard: view.fresh(id).is_some(),
        })
        .collect()
}
