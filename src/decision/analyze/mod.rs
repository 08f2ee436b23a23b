//! Analyses: each looks for one kind of trouble. A new one is a file here and a line in `ANALYSES`.

mod commits_wait;
mod dead_primary;
mod failing_disk;
mod standby_not_replicating;
mod weak_commits;

use crate::model::View;
use crate::state::ClusterState;

use super::Finding;

type Analysis = fn(&ClusterState, &View) -> Vec<Finding>;

/// Most severe first.
const ANALYSES: &[Analysis] = &[
    dead_primary::analyze,
    failing_disk::analyze,
    commits_wait::analyze,
    standby_not_replicating::analyze,
    weak_commits::analyze,
];

/// Everything that is wrong, most severe first.
pub fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    ANALYSES
        .iter()
        .flat_map(|analysis| analysis(state, view))
        .collect()
}
