//! The primary and its standbys as numbers, as they are seen over SQL.

use crate::decision::analyze::counts::{Counts, PrimaryAnswer};
use crate::model::{InstanceFacts, InstanceId, Role, SqlView};
use crate::recovery::sql_only::feeding::is_cascade;
use crate::state::SqlState;

/// The primary and its standbys in numbers. Those behind another standby replicate when they hear that one, which says
/// nothing of the primary; they are not among them.
pub(super) fn counts(
    state: &SqlState,
    view: &SqlView,
    primary: &InstanceId,
    answer: PrimaryAnswer,
) -> Counts {
    let cluster = &state.cluster;
    // One that was replaced follows nobody, also while it is away.
    let was_primary = |id: &InstanceId| {
        let seen = view.instances.get(id).and_then(|it| it.facts.as_ref());
        seen.is_some_and(|(_, facts)| facts.role == Role::Primary)
    };
    let members = cluster
        .members
        .keys()
        .filter(|id| *id != primary && !was_primary(id));
    let is_direct = |id: &&InstanceId| !view.fresh(id).is_some_and(|it| is_cascade(cluster, it));
    let standbys: Vec<_> = members.filter(is_direct).collect();
    let reachable = || standbys.iter().filter_map(|id| view.fresh(id));
    let replicates = |it: &&InstanceFacts| it.role.is_in_recovery() && it.status.io_thread_running;
    Counts {
        primary: answer,
        known: standbys.len(),
        reachable: reachable().count(),
        replicating: reachable().filter(replicates).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::model::example::{self, id};
    use crate::model::sql_only::{Look, Outcome};
    use crate::state::History;

    /// What is counted beside `s1`, which serves: each of these was seen in that role, and is gone since if it says so.
    fn counted(others: &[(&str, Role, bool)]) -> (usize, usize, usize) {
        let mut view = SqlView::default();
        for (name, role, is_gone) in others {
            let mut facts = example::facts(name);
            facts.role = *role;
            facts.status.io_thread_running = role.is_in_recovery();
            let gone = is_gone.then(|| Outcome::Gone(String::new()));
            let looks = [Some(Outcome::Facts(facts.into())), gone];
            let seen = view.instances.entry(id(name)).or_default();
            for outcome in looks.into_iter().flatten() {
                let at = Timestamp(0);
                seen.note(Look { at, outcome });
            }
        }
        let state = SqlState {
            cluster: example::sql_cluster(&["s1", "p", "s2"]),
            adopted_at: 0,
            number: 1,
            handover: None,
            quieted: None,
            history: History::default(),
        };
        let counts = counts(&state, &view, &id("s1"), PrimaryAnswer::Serves);
        (counts.known, counts.reachable, counts.replicating)
    }

    #[test]
    fn one_that_was_replaced_is_no_standby() {
        let s2 = ("s2", Role::Standby, false);
        assert_eq!(counted(&[("p", Role::Standby, false), s2]), (2, 2, 2));
        assert_eq!(counted(&[("p", Role::Standby, true), s2]), (2, 1, 1));
        for is_gone in [false, true] {
            assert_eq!(counted(&[("p", Role::Primary, is_gone), s2]), (1, 1, 1));
        }
        // One that nobody has seen may be a standby.
        assert_eq!(counted(&[s2]), (2, 1, 1));
    }
}
