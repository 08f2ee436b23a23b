//! Whether what a member holds can be what it acknowledged.
//!
//! Over SQL nobody says that a data folder was copied anew, restored or rewound, and a commit that its last copy had flushed
//! may be gone with it. So each copy is recorded, by its mark and by the server that runs over it, and counts only once it
//! was seen to hold all that was acknowledged when it was there already: it streams from the primary, and has come as far as
//! that was in the first look that began after the copy was first seen. What is acknowledged in its name from then on it
//! holds itself.
//!
//! Data cannot be replaced below a server that runs, so while that one runs on its copy counts, even if its mark changes
//! (`chown`). After another start the mark must be the same; and as a volume that is put back brings its old marks with it,
//! somebody must know that it holds no less than before. What it was seen to hold is the memory of each peer, the floor of a
//! sighting, and may be forgotten: the record says from which start on it is needed. A leader that has not looked at the
//! server of that start, because it came later or was started again itself, does not count the copy until it was proven
//! anew. So no election rests on what its leader has forgotten; what it rests on is the last look before the server went,
//! and only a volume that was saved after that look and put back is not told.

use crate::broken;
use crate::model::sql_only::end_of;
use crate::model::{
    InstanceFacts, InstanceId, Role, SqlCluster, SqlCopy, SqlView, SyncRule, WalPosition,
};

use super::feeding::{feeder, follows, is_cascade};

/// Whether the copy that is recorded of a member holds what it acknowledged. Before any is recorded all are taken for it.
pub fn is_proven(cluster: &SqlCluster, instance: &InstanceId) -> bool {
    let copy = cluster.copies.get(instance);
    cluster.copies.is_empty() || copy.is_some_and(|it| it.is_proven) || broken!(SqlCopies)
}

/// Whether an instance may be compared with others, by what is recorded: it has no branch of its own, and where commits wait
/// it holds what it acknowledged.
pub fn may_count(cluster: &SqlCluster, instance: &InstanceId) -> bool {
    let has_branch = cluster.told.contains_key(instance) || cluster.strays.contains(instance);
    // Before that nobody tells one copy from the next.
    let is_told_apart = !cluster.copies.is_empty();
    let is_proven = match &cluster.rule {
        SyncRule::Any { .. } => is_proven(cluster, instance),
        // Nobody claims that nothing is lost.
        SyncRule::Async | SyncRule::Unclear { .. } => true,
    };
    is_proven && !(has_branch && is_told_apart && !broken!(SqlBranch))
}

/// Why a member that was seen like this does not count; none if it may.
pub fn why_not(
    cluster: &SqlCluster,
    instance: &InstanceId,
    view: &SqlView,
) -> Option<&'static str> {
    if !may_count(cluster, instance) {
        return Some(match is_proven(cluster, instance) {
            false => "its copy of the data was not seen to hold all that was acknowledged",
            true => "it was told to become the primary, and may have a branch of its own",
        });
    }
    if cluster.copies.is_empty() || broken!(SqlCopies) || cluster.rule == SyncRule::Async {
        return None;
    }
    let recorded = cluster.copies.get(instance)?;
    let facts = view.fresh(instance)?;
    let fell = "it shows less than it had: its data was restored from an older copy, or not all of it is replayed yet";
    why_another(recorded, instance, facts, view)
        .or_else(|| has_fallen(instance, facts, view).then_some(fell))
}

/// Why one that was seen like this may hold another copy than the recorded one; none if it does not.
pub fn why_another(
    recorded: &SqlCopy,
    instance: &InstanceId,
    facts: &InstanceFacts,
    view: &SqlView,
) -> Option<&'static str> {
    if facts.started == recorded.started {
        return None;
    }
    let seen = view.instances.get(instance);
    let is_watched = seen.is_some_and(|seen| seen.is_watched_since(recorded.started));
    match (recorded.mark, facts.copy) {
        (Some(before), Some(now)) if before != now => {
            Some("it holds another copy of the data than the one that is recorded")
        }
        (Some(_), Some(_)) if is_watched || broken!(SqlStart) => None,
        (Some(_), Some(_)) => {
            Some("it was started again, and this peer was not there to see what it held before")
        }
        (None, _) | (_, None) => {
            Some("it was started again, and whether its data is what it was cannot be seen")
        }
    }
}

/// Whether it ends before what it was seen to have.
pub fn has_fallen(instance: &InstanceId, facts: &InstanceFacts, view: &SqlView) -> bool {
    let seen = view.instances.get(instance);
    let end = end_of(facts).filter(|_| facts.role.is_in_recovery());
    end.and_then(|end| seen?.fell_from(end)).is_some()
}

/// Whether what it holds now is all that was acknowledged when it held this copy already.
pub fn has_caught_up(cluster: &SqlCluster, instance: &InstanceId, view: &SqlView) -> bool {
    let Some(primary) = &cluster.primary else {
        return false;
    };
    let Some(serving) = view
        .fresh(primary)
        .filter(|it| it.role == Role::Primary && it.timeline == Some(cluster.lineage.current))
    else {
        return false;
    };
    if primary == instance {
        // It wrote all of it.
        return true;
    }
    let (Some(facts), Some(seen)) = (view.fresh(instance), view.instances.get(instance)) else {
        return false;
    };
    let Some(end) = end_of(facts).filter(|_| facts.status.io_thread_running) else {
        return false;
    };
    let is_fed = follows(cluster, view, facts, primary) || is_fed_by_standby(cluster, facts, view);
    let has = |was: &WalPosition| was.timeline == end.timeline && end >= *was;
    let has_come_as_far = seen.goals.get(primary).is_some_and(has) || broken!(SqlGoal);
    is_fed && serving.system == facts.system && has_come_as_far
}

/// Whether it streams from a standby that has no branch of its own.
fn is_fed_by_standby(cluster: &SqlCluster, facts: &InstanceFacts, view: &SqlView) -> bool {
    let Some(feeder) = feeder(cluster, view, facts) else {
        return false;
    };
    let is_standby = view
        .fresh(feeder)
        .is_some_and(|it| it.role == Role::Standby && it.status.io_thread_running);
    let has_branch = cluster.told.contains_key(feeder) || cluster.strays.contains(feeder);
    is_cascade(cluster, facts) && is_standby && !has_branch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{self, id};
    use crate::model::sql_only::SqlSighting;
    use crate::model::sql_only::{Look, Outcome};
    use crate::model::{Position, ReplicaFacts, SourceFacts, SqlCopy, Timestamp};

    /// `p` serves and ended at `goal` when `s1` was first seen to be the same; `s1` streams from it and has received `received`.
    fn view(goal: u64, received: u64) -> SqlView {
        let mut view = SqlView {
            now: Timestamp(2_000),
            ..SqlView::default()
        };
        let mut primary = example::facts("p");
        primary.status.applied = Some(Position::Wal(example::at(1, goal + 1_000)));
        let mut standby = example::facts("s1");
        standby.role = Role::Standby;
        standby.status.io_thread_running = true;
        standby.status.received = Some(Position::Wal(example::at(1, received)));
        standby.status.applied = standby.status.received.clone();
        standby.source = Some(SourceFacts {
            address: primary.address.clone(),
            application_name: "s1".to_owned(),
            user: String::new(),
            slot: None,
        });
        for (name, facts) in [("p", primary), ("s1", standby)] {
            let seen = view.instances.entry(id(name)).or_default();
            let outcome = Outcome::Facts(facts.into());
            let at = Timestamp(1_500);
            seen.note(Look { at, outcome });
        }
        let seen = view.instances.get_mut(&id("s1")).unwrap();
        seen.goals.insert(id("p"), example::at(1, goal));
        view
    }

    fn recorded(mark: Option<u64>, is_proven: bool) -> SqlCluster {
        let mut cluster = example::sql_cluster(&["p", "s1"]);
        let copy = SqlCopy {
            mark: mark.map(example::mark),
            started: 1,
            is_proven,
        };
        cluster.copies.insert(id("s1"), copy);
        cluster
    }

    #[test]
    fn a_copy_is_proven_by_what_the_primary_had_when_it_was_there() {
        let cluster = recorded(Some(1), false);
        let check = |view: &SqlView, expected| {
            assert_eq!(has_caught_up(&cluster, &id("s1"), view), expected);
        };
        // However far it lags behind what the primary has by now.
        check(&view(10, 10), true);
        check(&view(10, 9), false);
        // What the primary had before says nothing of what the last copy acknowledged.
        let mut late = view(10, 10);
        late.instances.get_mut(&id("s1")).unwrap().goals.clear();
        check(&late, false);
        let mut quiet = view(10, 10);
        let seen = quiet.instances.get_mut(&id("s1")).unwrap();
        let mut facts = (*seen.facts.as_ref().unwrap().1).clone();
        facts.status.io_thread_running = false;
        seen.note(Look {
            at: Timestamp(1_600),
            outcome: Outcome::Facts(facts.into()),
        });
        check(&quiet, false);
    }

    #[test]
    fn a_copy_is_proven_by_whoever_feeds_it_whatever_that_is_called() {
        let cluster = recorded(Some(1), false);
        let mut view = view(10, 10);
        let change = |view: &mut SqlView, name: &str, change: &dyn Fn(&mut InstanceFacts)| {
            let seen = view.instances.get_mut(&id(name)).unwrap();
            let mut facts = (*seen.facts.as_ref().unwrap().1).clone();
            change(&mut facts);
            seen.note(Look {
                at: Timestamp(1_600),
                outcome: Outcome::Facts(facts.into()),
            });
        };
        change(&mut view, "s1", &|it| {
            it.source.as_mut().unwrap().address.host = "p.internal".to_owned();
        });
        assert!(!has_caught_up(&cluster, &id("s1"), &view));
        change(&mut view, "p", &|it| {
            it.replicas.push(ReplicaFacts {
                application_name: "s1".to_owned(),
                host: None,
                state: "streaming".to_owned(),
                sync_state: "quorum".to_owned(),
                flushed: None,
                replayed: None,
            });
        });
        assert!(has_caught_up(&cluster, &id("s1"), &view));
    }

    #[test]
    fn a_voter_counts_with_the_copy_that_is_recorded_and_holds_what_it_did() {
        let view = view(10, 10);
        let check = |cluster: &SqlCluster, view: &SqlView, expected: Option<&str>| {
            let found = why_not(cluster, &id("s1"), view);
            let is_so = match (found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_so, "{found:?}");
        };
        check(&example::sql_cluster(&["p", "s1"]), &view, None);
        check(&recorded(Some(1), true), &view, None);
        check(
            &recorded(Some(1), false),
            &view,
            Some("was not seen to hold"),
        );
        // Nothing is replaced below a server that runs, whatever its mark says.
        check(&recorded(Some(2), true), &view, None);
        check(&recorded(None, true), &view, None);
        let restarted = |recorded: Option<u64>, seen: Option<u64>, is_watched: bool| {
            let mut view = view.clone();
            let known = view.instances.get_mut(&id("s1")).unwrap();
            let mut facts = (*known.facts.as_ref().unwrap().1).clone();
            facts.copy = recorded.map(example::mark);
            let looks = match is_watched {
                true => [(1, recorded), (2, seen)].to_vec(),
                false => [(2, seen)].to_vec(),
            };
            *known = SqlSighting::default();
            for (started, copy) in looks {
                (facts.started, facts.copy) = (started, copy.map(example::mark));
                known.note(Look {
                    at: Timestamp(1_500),
                    outcome: Outcome::Facts(facts.clone().into()),
                });
            }
            (self::recorded(recorded, true), view)
        };
        for (was, seen, is_watched, expected) in [
            (Some(1), Some(1), true, None),
            (Some(1), Some(1), false, Some("this peer was not there")),
            (Some(1), Some(2), true, Some("another copy")),
            (Some(1), Some(2), false, Some("another copy")),
            (None, None, true, Some("cannot be seen")),
            (None, Some(1), true, Some("cannot be seen")),
            (Some(1), None, true, Some("cannot be seen")),
        ] {
            let (cluster, view) = restarted(was, seen, is_watched);
            check(&cluster, &view, expected);
        }
        let mut fallen = view.clone();
        fallen.instances.get_mut(&id("s1")).unwrap().floor = Some(example::at(1, 11));
        check(&recorded(Some(1), true), &fallen, Some("shows less"));
        let mut told = recorded(Some(1), true);
        told.told.insert(id("s1"), example::at(1, 5));
        check(&told, &view, Some("a branch of its own"));
        // Where nobody claims that nothing is lost, the best there is will do.
        let mut nobody = recorded(Some(2), false);
        nobody.rule = SyncRule::Async;
        check(&nobody, &view, None);
    }
}
