//! Is there a primary at all, or somebody who is becoming it?

use crate::model::View;
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, _: &View) -> Vec<Finding> {
    match (&state.cluster.primary, &state.handover) {
        (None, None) => vec![Finding::NoPrimary],
        (Some(_), _) | (None, Some(_)) => vec![],
    }
}
