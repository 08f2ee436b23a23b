//! Does everybody's commit wait for the standbys, as the durability of the cluster promises?

use crate::model::{Durability, View};
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let promises_it = match cluster.durability {
        Durability::Quorum { .. } => true,
        Durability::Async => false,
    };
    let primary = cluster.primary.as_ref().filter(|_| promises_it);
    primary
        .and_then(|id| Some((id, view.fresh(id)?)))
        .filter(|(_, report)| !report.weak_commits.is_empty())
        .map(|(id, report)| Finding::WeakCommits {
            instance: id.clone(),
            settings: report.weak_commits.clone(),
        })
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{cluster, primary, view};
    use crate::state::example::at_rest;

    #[test]
    fn commits_that_do_not_wait_are_told_where_waiting_is_promised() {
        let check = |durability, settings: &[&str], expected: bool| {
            let cluster = cluster(&["a", "b", "c"], durability);
            let mut report = primary(&cluster, "a");
            report.weak_commits = settings.iter().map(|&it| it.to_owned()).collect();
            let found = analyze(&at_rest(cluster), &view([("a", report)]));
            assert_eq!(!found.is_empty(), expected, "{found:?}");
            assert!(!found.iter().any(Finding::is_actionable));
        };
        let quorum = Durability::Quorum { standbys: 1 };
        let weak = ["role app: synchronous_commit = off"];
        check(quorum, &weak, true);
        check(quorum, &[], false);
        check(Durability::Async, &weak, false);
    }
}
