//! Has a standby data that the primary never had? It cannot follow before that is replaced.

use crate::model::{Database, InstanceId, View, WalPosition};
use crate::recovery::Rejoin;
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    if !state.is_established() {
        return vec![];
    }
    let is_standby = |id: &&InstanceId| cluster.primary.as_ref() != Some(*id);
    let standbys = cluster.members.keys().filter(is_standby);
    let diverged = standbys.filter_map(|id| {
        // Before it was filled for the first time, and after its disk was replaced, it has no data that could differ.
        let is_empty = matches!(view.fresh(id)?.database, Database::Absent);
        if is_empty {
            return None;
        }
        // What its agent found when it was told to follow is recorded.
        let says = match state.rejoins.get(id).map(|active| &active.rejoin) {
            Some(Rejoin::Diverged { why, .. }) => Some(why.clone()),
            Some(
                Rejoin::Following
                | Rejoin::Rebuilding { .. }
                | Rejoin::CatchingUp { .. }
                | Rejoin::Done,
            )
            | None => None,
        };
        let outside = outside(state, view, id);
        (says.is_some() || outside.is_some()).then(|| Finding::DivergedStandby {
            instance: id.clone(),
            at: outside,
            says,
        })
    });
    diverged.collect()
}

/// Where the WAL of a running standby ends, if that is no place in the history of the primary as it is recorded.
fn outside(state: &ClusterState, view: &View, id: &InstanceId) -> Option<WalPosition> {
    let Database::Standby { flushed, .. } = view.fresh(id)?.database else {
        return None;
    };
    let lineage = &state.cluster.lineage;
    let is_known = lineage.current != Default::default() && flushed.timeline != Default::default();
    (is_known && !lineage.contains(flushed)).then_some(flushed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, id, primary, report, standby, view};
    use crate::model::{Durability, Stopped};
    use crate::state::example::at_rest;

    #[test]
    fn what_an_agent_found_is_told_unless_there_is_no_data() {
        let cluster = cluster(&["a", "b"], Durability::Async);
        let a = primary(&cluster, "a");
        let mut state = at_rest(cluster);
        let diverged = Rejoin::Diverged {
            why: "it is past the fork".to_owned(),
            target: None,
        };
        let active = crate::state::ActiveRejoin {
            since: 1,
            rejoin: diverged,
        };
        state.rejoins.insert(id("b"), active);
        let found = |b| analyze(&state, &view([("a", a.clone()), ("b", report(b))]));
        let words = found(Database::Stopped(Stopped::Found))[0].to_string();
        assert!(words.ends_with("with the data that it has: it is past the fork"));
        assert_eq!(found(Database::Absent), []);
    }

    /// The lineage of the example leaves timeline 1 at 0/5 for timeline 2.
    #[test]
    fn a_standby_past_the_fork_is_told_with_where_it_is() {
        let check = |flushed: WalPosition, expected: Option<&str>| {
            let cluster = cluster(&["a", "b"], Durability::Async);
            let (a, b) = (primary(&cluster, "a"), standby(&cluster, "b", flushed));
            let found = analyze(&at_rest(cluster), &view([("a", a), ("b", b)]));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(found, expected, "{flushed}");
        };
        check(at(2, 50), None);
        check(at(1, 5), None);
        check(
            at(1, 6),
            Some("the standby b has WAL that is not the primary's: it ends at 1:0/6"),
        );
        check(
            at(3, 1),
            Some("the standby b has WAL that is not the primary's: it ends at 3:0/1"),
        );
        // What it replays is not known yet.
        check(at(0, 9), None);
    }
}
