//! Which copies of the data the members hold: recorded as they are seen, and believed once they are proven.

use crate::model::{InstanceFacts, InstanceId, Role, SqlCopy, SqlView, SyncRule};
use crate::recovery::sql_only::copies::{has_caught_up, has_fallen, is_proven, why_another};
use crate::state::{Observed, SqlChange, SqlState};

use super::{SqlFinding, SqlPlan};

pub(super) fn copies(plan: &mut SqlPlan, state: &SqlState, view: &SqlView) {
    let cluster = &state.cluster;
    // Beside a primary that serves alone can a copy be compared with anything: without one nothing is recorded that an
    // election would rest on.
    let serves = |it: &InstanceFacts| {
        it.role == Role::Primary && it.timeline == Some(cluster.lineage.current)
    };
    let primary = cluster.primary.as_ref();
    let is_served = primary.is_some_and(|id| view.fresh(id).is_some_and(serves));
    for id in cluster.members.keys() {
        let is_counted = cluster.primary.as_ref() != Some(id) && cluster.rule.voters().contains(id);
        if is_counted && !is_proven(cluster, id) {
            plan.findings.push(SqlFinding::UnprovenCopy {
                instance: id.clone(),
            });
        }
        // One that runs as a primary beside it is what it was.
        let is_one = |it: &InstanceFacts| it.role == Role::Primary && primary != Some(id);
        let is_beside = view.fresh(id).is_some_and(is_one);
        let may_record = view.may_record_copies && is_served && !is_beside;
        let seen = copy_of(state, view, id).filter(|_| may_record);
        if let Some(copy) = seen
            && cluster.copies.get(id) != Some(&copy)
        {
            plan.proposals.push(SqlChange::Observe {
                order: state.order(),
                observed: Observed::Copy {
                    instance: id.clone(),
                    copy,
                },
            });
        }
    }
}

/// The copy that a member is seen to hold, and whether it counts; none if it is not seen.
fn copy_of(state: &SqlState, view: &SqlView, id: &InstanceId) -> Option<SqlCopy> {
    let cluster = &state.cluster;
    let facts = view.fresh(id)?;
    let recorded = cluster.copies.get(id);
    let is_another = recorded.and_then(|it| why_another(it, id, facts, view));
    let is_same = recorded.filter(|_| is_another.is_none());
    // One that replays what is on its disk has not come as far as it was; once it streams it has.
    let is_at_its_end = facts.status.io_thread_running;
    if let Some(recorded) = is_same
        && recorded.started != facts.started
        && facts.role.is_in_recovery()
        && !is_at_its_end
    {
        return Some(*recorded);
    }
    let fell = is_at_its_end && has_fallen(id, facts, view);
    let stays = is_same.is_some_and(|it| it.is_proven) && !fell;
    Some(SqlCopy {
        // A peer that may not ask knows of no other copy.
        mark: facts.copy.or(recorded.and_then(|it| it.mark)),
        started: facts.started,
        is_proven: stays || has_caught_up(cluster, id, view),
    })
}

/// Who holds a copy that cannot be told from the next one, of those whose copies would count.
pub fn not_told_apart(state: &SqlState) -> Vec<&InstanceId> {
    let cluster = &state.cluster;
    let counts = |id: &&InstanceId| match &cluster.rule {
        SyncRule::Any { voters, .. } => voters.contains(*id),
        SyncRule::Async | SyncRule::Unclear { .. } => false,
    };
    let without = cluster.copies.iter().filter(|(_, it)| it.mark.is_none());
    without.map(|(id, _)| id).filter(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{self, id};
    use crate::model::sql_only::{Look, Outcome};
    use crate::model::{Position, Role, Timestamp};
    use crate::state::History;

    /// What is to be recorded of a proven `s1` that had applied 50 and is at `lsn` after a restart, over the copy of that mark.
    fn after_a_restart(mark: u64, lsn: u64, streams: bool) -> SqlCopy {
        let mut cluster = example::sql_cluster(&["p", "s1"]);
        let copy = SqlCopy {
            mark: Some(example::mark(1)),
            started: 1,
            is_proven: true,
        };
        cluster.copies.insert(id("s1"), copy);
        let state = SqlState {
            cluster,
            adopted_at: 0,
            number: 1,
            handover: None,
            quieted: None,
            history: History::default(),
        };
        let mut view = SqlView {
            now: Timestamp(200),
            ..SqlView::default()
        };
        let seen = view.instances.entry(id("s1")).or_default();
        for (at, started, mark, lsn) in [(100, 1, 1, 50), (200, 2, mark, lsn)] {
            let mut facts = example::facts("s1");
            (facts.role, facts.started) = (Role::Standby, started);
            facts.copy = Some(example::mark(mark));
            facts.status.io_thread_running = streams;
            facts.status.received = Some(Position::Wal(example::at(1, lsn)));
            facts.status.applied = facts.status.received.clone();
            let outcome = Outcome::Facts(facts.into());
            let at = Timestamp(at);
            seen.note(Look { at, outcome });
        }
        copy_of(&state, &view, &id("s1")).unwrap()
    }

    #[test]
    fn a_restart_is_no_new_copy_and_one_that_streams_below_what_it_applied_is() {
        let after = after_a_restart(1, 50, true);
        assert_eq!((after.started, after.is_proven), (2, true));
        let replays = after_a_restart(1, 40, false);
        assert_eq!(
            (replays.started, replays.is_proven),
            (1, true),
            "it replays"
        );
        assert!(!after_a_restart(1, 40, true).is_proven);
        let other = after_a_restart(2, 60, true);
        assert_eq!(
            (other.mark, other.is_proven),
            (Some(example::mark(2)), false)
        );
    }
}
