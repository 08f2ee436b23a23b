//! Automation is switched off.

use crate::decision::Finding;
use crate::model::View;
use crate::state::ClusterState;

pub fn analyze(_: &ClusterState, view: &View) -> Vec<Finding> {
    let paused = view.directives.paused.iter();
    paused
        .map(|it| Finding::Paused {
            everywhere: it.everywhere,
            owner: it.hold.owner.clone(),
            reason: it.hold.reason.clone(),
        })
        .collect()
}
