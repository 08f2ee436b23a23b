//! Does more than one instance run as a primary? One of them acknowledges at most, where commits wait for standbys; the
//! others are stopped by their agents when their leases end.

use crate::model::{Database, View};
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let members = state.cluster.members.keys();
    let instances: Vec<_> = members
        .filter_map(|id| match view.fresh(id)?.database {
            Database::Primary { position, .. } => Some((id.clone(), position)),
            Database::Absent
            | Database::Stopped(_)
            | Database::Starting
            | Database::Unresponsive { .. }
            | Database::Standby { .. } => None,
        })
        .collect();
    match instances.len() {
        0 | 1 => vec![],
        2.. => vec![Finding::MultiplePrimaries { instances }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;
    use crate::model::example::{at, cluster, primary, standby, view};
    use crate::state::example::at_rest;

    #[test]
    fn two_primaries_are_told_with_where_they_write() {
        let cluster = cluster(&["a", "b", "c"], Durability::Async);
        let (a, b) = (primary(&cluster, "a"), primary(&cluster, "b"));
        let c = standby(&cluster, "c", at(2, 50));
        let state = at_rest(cluster);
        assert_eq!(analyze(&state, &view([("a", a.clone())])), []);
        let mut view = view([("a", a), ("b", b), ("c", c)]);
        let found = analyze(&state, &view);
        assert_eq!(
            found[0].to_string(),
            "2 instances run as the primary: a at 2:0/32, b at 2:0/32"
        );
        assert!(!found[0].is_actionable());
        // What was said long ago is no reading.
        let b = crate::model::example::id("b");
        view.instances.get_mut(&b).unwrap().connected = false;
        assert_eq!(analyze(&state, &view), []);
    }
}
