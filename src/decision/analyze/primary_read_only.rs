//! Does the primary take writes of sessions that do not say otherwise? A promotion sets that; somebody may change it
//! behind the agent's back, and a copy inherits it.

use crate::model::View;
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let serving = super::serving(state, view);
    serving
        .filter(|(_, report)| report.read_only_default)
        .map(|(id, _)| Finding::PrimaryReadOnly {
            instance: id.clone(),
        })
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;
    use crate::model::example::{at, cluster, primary, standby, view};
    use crate::state::example::at_rest;

    #[test]
    fn it_is_told_of_the_primary_alone() {
        let cluster = cluster(&["a", "b"], Durability::Async);
        let (mut a, mut b) = (primary(&cluster, "a"), standby(&cluster, "b", at(2, 50)));
        b.read_only_default = true;
        let state = at_rest(cluster);
        let found = |a, b| analyze(&state, &view([("a", a), ("b", b)]));
        assert_eq!(found(a.clone(), b.clone()), []);
        a.read_only_default = true;
        let found = found(a, b);
        assert_eq!(found[0].code(), "PrimaryReadOnly");
        assert!(
            found[0]
                .to_string()
                .contains("default_transaction_read_only")
        );
        assert!(!found[0].is_actionable());
    }
}
