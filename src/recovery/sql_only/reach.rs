//! Whether a proof can be reached, before anything is done for it: revoking standbys or quieting a primary in vain would be an
//! outage of its own.

use std::collections::BTreeSet;

use super::{SqlReason, copies, proof};
use crate::broken;
use crate::model::sql_only::end_of;
use crate::model::{InstanceFacts, InstanceId, Role, SqlCluster, SqlView, SyncRule};
use crate::recovery::Rejection;

/// Why revoking all that can be reached could prove nothing, or not for whom was `named`; none if it could. `from` is the
/// primary of before.
pub fn why_unprovable(
    cluster: &SqlCluster,
    (named, from): (Option<&InstanceId>, Option<&InstanceId>),
    view: &SqlView,
) -> Option<SqlReason> {
    if let SyncRule::Unclear { why } = &cluster.rule {
        return Some(SqlReason::RuleUnclear { why: why.clone() });
    }
    let voters = proof::electors(cluster, from);
    let why_not = |id: &InstanceId| why_incomparable(cluster, id, view);
    let comparable: Vec<_> = cluster
        .members
        .keys()
        .filter(|id| why_not(id).is_none())
        .collect();
    let counted = comparable.iter().filter(|id| voters.contains(**id)).count();
    let needed = proof::needed(&cluster.rule).unwrap_or(usize::MAX);
    let has_named = named.is_none_or(|named| comparable.contains(&named));
    if counted >= needed && !comparable.is_empty() && has_named {
        return None;
    }
    let is_wanted = |id: &&InstanceId| {
        let is_voter = voters.contains(*id) || voters.is_empty();
        (is_voter || named == Some(*id)) && from != Some(*id)
    };
    let missing = cluster.members.keys().filter(is_wanted);
    Some(SqlReason::NotProven {
        counted,
        needed: needed.max(1),
        missing: missing
            .filter_map(|id| Some((id.clone(), why_not(id)?)))
            .collect(),
    })
}

/// Why one would not be compared with others if it were revoked now; none if it would.
pub fn why_incomparable(cluster: &SqlCluster, id: &InstanceId, view: &SqlView) -> Option<String> {
    let cannot = || Some("cannot be asked".to_owned());
    let Some(facts) = view.fresh(id) else {
        return cannot();
    };
    if facts.role == Role::Primary {
        return Some("runs as a primary of its own".to_owned());
    }
    let timeline = |facts: &InstanceFacts| end_of(facts).map(|end| end.timeline);
    match timeline(facts) {
        None => cannot(),
        Some(other) if other != cluster.lineage.current => Some(format!(
            "is on timeline {other}, incomparable with {}: not promoted",
            cluster.lineage.current
        )),
        Some(_) => copies::why_not(cluster, id, view).map(str::to_owned),
    }
}

/// Whether by what is recorded alone a switchover could be proven, whoever can be reached. Nothing is refused before copies are
/// recorded: older builds take the same log.
pub fn check(
    cluster: &SqlCluster,
    from: Option<&InstanceId>,
    named: &InstanceId,
) -> Result<(), Rejection> {
    let unproven = |why: String| Err(Rejection::Unproven(why));
    if cluster.copies.is_empty() || broken!(SqlReach) {
        return Ok(());
    }
    let may_count = |id: &InstanceId| {
        from != Some(id) && cluster.members.contains_key(id) && copies::may_count(cluster, id)
    };
    if !may_count(named) {
        return unproven(format!("{named} cannot be compared with others"));
    }
    let voters = cluster.rule.voters();
    let counted: BTreeSet<_> = voters.iter().filter(|id| may_count(id)).collect();
    match proof::needed(&cluster.rule) {
        None => unproven(proof::unclear(&cluster.rule)),
        Some(needed) if counted.len() < needed => unproven(format!(
            "{} standbys that could be revoked are not the {needed} needed",
            counted.len()
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{self, id};
    use crate::model::sql_only::{Look, Outcome};
    use crate::model::{Position, SqlCopy, Timestamp};

    /// Three of which any one standby acknowledges, all with recorded copies.
    fn cluster() -> SqlCluster {
        let mut cluster = example::sql_cluster(&["p", "s1", "s2"]);
        for name in ["p", "s1", "s2"] {
            let copy = SqlCopy {
                mark: Some(example::mark(1)),
                started: 1,
                is_proven: true,
            };
            cluster.copies.insert(id(name), copy);
        }
        cluster
    }

    fn see(view: &mut SqlView, name: &str, role: Role, timeline: u32) {
        let mut facts = example::facts(name);
        facts.role = role;
        facts.status.received = Some(Position::Wal(example::at(timeline, 5)));
        let seen = view.instances.entry(id(name)).or_default();
        seen.note(Look {
            at: Timestamp(100),
            outcome: Outcome::Facts(facts.into()),
        });
    }

    fn view() -> SqlView {
        let mut view = SqlView {
            now: Timestamp(100),
            ..SqlView::default()
        };
        see(&mut view, "p", Role::Primary, 1);
        see(&mut view, "s1", Role::Standby, 1);
        see(&mut view, "s2", Role::Standby, 1);
        view
    }

    #[test]
    fn a_switchover_needs_whom_it_names_and_enough_to_compare_it_with() {
        let check = |cluster: &SqlCluster, view: &SqlView, expected: Option<&str>| {
            let (named, from) = (id("s1"), id("p"));
            let found = why_unprovable(cluster, (Some(&named), Some(&from)), view);
            let found = found.map(|it| it.to_string());
            let is_so = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_so, "{found:?}");
        };
        check(&cluster(), &view(), None);
        let mut away = view();
        away.instances.remove(&id("s2"));
        check(
            &cluster(),
            &away,
            Some("1 of 2 revoked standbys needed; s2: cannot be asked"),
        );
        let mut elsewhere = view();
        see(&mut elsewhere, "s2", Role::Standby, 2);
        check(&cluster(), &elsewhere, Some("s2: is on timeline 2"));
        see(&mut elsewhere, "s2", Role::Primary, 1);
        check(
            &cluster(),
            &elsewhere,
            Some("s2: runs as a primary of its own"),
        );
        let mut unproven = cluster();
        unproven.copies.get_mut(&id("s1")).unwrap().is_proven = false;
        check(
            &unproven,
            &view(),
            Some("s1: its copy of the data was not seen"),
        );
        let mut unclear = cluster();
        unclear.rule = SyncRule::Unclear {
            why: "'*'".to_owned(),
        };
        check(&unclear, &view(), Some("'*'"));
        // Where nobody is waited for, whom it names is enough.
        let mut nobody = cluster();
        nobody.rule = SyncRule::Async;
        check(&nobody, &away, None);
        nobody.strays.insert(id("s1"));
        check(&nobody, &away, Some("s1: it was told"));
    }

    #[test]
    fn what_the_record_alone_forbids_is_refused_by_the_log() {
        let (p, s1) = (id("p"), id("s1"));
        let is_taken = |cluster: &SqlCluster| check(cluster, Some(&p), &s1).is_ok();
        assert!(is_taken(&cluster()));
        for name in ["s1", "s2"] {
            let mut unproven = cluster();
            unproven.copies.get_mut(&id(name)).unwrap().is_proven = false;
            assert!(!is_taken(&unproven), "{name}");
        }
        let mut unclear = cluster();
        unclear.rule = SyncRule::Unclear { why: String::new() };
        assert!(!is_taken(&unclear));
        // Older builds take the same log.
        unclear.copies.clear();
        assert!(is_taken(&unclear));
        let mut told = cluster();
        told.told.insert(id("s1"), example::at(1, 5));
        assert!(!is_taken(&told));
    }
}
