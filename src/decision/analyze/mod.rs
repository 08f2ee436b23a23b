//! Analyses: each looks for one kind of trouble. A new one is a file here and a line in `ANALYSES`.

pub mod counts;
mod dead_primary;
mod diverged_standby;
mod failing_disk;
mod multiple_primaries;
mod no_primary;
mod paused;
mod primary_blocked_on_sync;
mod primary_read_only;
mod stalled_primary;
pub mod standby_behind;
mod standby_not_replicating;
mod weak_commits;

use crate::model::{Database, InstanceId, Report, View};
use crate::state::ClusterState;

use super::Finding;

type Analysis = fn(&ClusterState, &View) -> Vec<Finding>;

/// Most severe first.
const ANALYSES: &[Analysis] = &[
    multiple_primaries::analyze,
    no_primary::analyze,
    dead_primary::analyze,
    failing_disk::analyze,
    primary_blocked_on_sync::analyze,
    primary_read_only::analyze,
    diverged_standby::analyze,
    standby_not_replicating::analyze,
    standby_behind::analyze,
    weak_commits::analyze,
    paused::analyze,
];

/// Everything that is wrong, most severe first.
pub fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    ANALYSES
        .iter()
        .flat_map(|analysis| analysis(state, view))
        .collect()
}

/// The recorded primary, if its agent says that it serves.
fn serving<'a>(state: &'a ClusterState, view: &'a View) -> Option<(&'a InstanceId, &'a Report)> {
    let primary = state.cluster.primary.as_ref()?;
    let report = view.fresh(primary)?;
    let serves = matches!(report.database, Database::Primary { .. });
    (serves && state.is_established()).then_some((primary, report))
}
