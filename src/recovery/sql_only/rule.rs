//! Whose flush commits wait for, read from `synchronous_standby_names` and from who is known by these names.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    InstanceFacts, InstanceId, SqlCluster, SqlMember, SqlView, SyncPolicy, SyncRule,
};

/// The rule that a primary was seen to have. `FIRST k` is counted as `ANY k`: which were the first changes with every
/// connection, so a commit may be on any of them.
pub fn rule_of(
    members: &BTreeMap<InstanceId, SqlMember>,
    primary: &InstanceId,
    facts: &InstanceFacts,
) -> SyncRule {
    let unclear = |why: String| SyncRule::Unclear { why };
    let (acks, names): (u8, BTreeSet<String>) = match &facts.sync.policy {
        Some(SyncPolicy::Async) => return SyncRule::Async,
        Some(SyncPolicy::Any { n, of }) => (*n, of.iter().map(|it| it.to_lowercase()).collect()),
        Some(SyncPolicy::First { n, of }) => (*n, of.iter().map(|it| it.to_lowercase()).collect()),
        Some(SyncPolicy::SemiSync { .. }) => return unclear("it may stop waiting".to_owned()),
        None => return unclear(format!("'{}' is not understood", facts.sync.text)),
    };
    if names.contains("*") {
        return unclear(
            "synchronous_standby_names has a '*', for which anybody may be counted; name the standbys, as in \
             'ANY 1 (s1, s2)'"
                .to_owned(),
        );
    }
    let name_of = |member: &SqlMember| member.application_name.as_ref().map(|it| it.to_lowercase());
    let is_named = |member: &SqlMember| name_of(member).is_some_and(|it| names.contains(&it));
    let voters: BTreeSet<InstanceId> = members
        .iter()
        .filter(|(id, member)| *id != primary && is_named(member))
        .map(|(id, _)| id.clone())
        .collect();
    for name in &names {
        let has_it = |id: &&InstanceId| name_of(&members[*id]).as_ref() == Some(name);
        let known = voters.iter().filter(has_it).count();
        let there = facts.replicas.iter();
        let there = there.filter(|it| it.application_name.to_lowercase() == *name);
        if there.count() > known {
            return unclear(format!(
                "somebody receives as {name} whose port is not known; give every standby a name of its own, and that port with \
                 --instance HOST:PORT of primacy cluster adopt, after primacy cluster forget if the cluster is recorded already"
            ));
        }
    }
    let known: BTreeSet<_> = members.values().filter_map(name_of).collect();
    let unknown = names.iter().filter(|name| !known.contains(*name)).count();
    SyncRule::Any {
        acks,
        voters,
        unknown: u32::try_from(unknown).unwrap_or(u32::MAX),
    }
}

/// The names that commits of a primary may wait for and that nobody of these streams under.
pub fn names_of_nobody(
    members: &BTreeMap<InstanceId, SqlMember>,
    facts: &InstanceFacts,
) -> Vec<String> {
    let names: Vec<&String> = match &facts.sync.policy {
        Some(SyncPolicy::Any { of, .. }) => of.iter().collect(),
        Some(SyncPolicy::First { of, .. }) => of.iter().collect(),
        Some(SyncPolicy::Async | SyncPolicy::SemiSync { .. }) | None => return vec![],
    };
    let is_of = |name: &str, member: &SqlMember| {
        let own = member.application_name.as_deref();
        own.is_some_and(|own| own.to_lowercase() == name.to_lowercase())
    };
    let is_of_nobody = |name: &&String| *name != "*" && !members.values().any(|it| is_of(name, it));
    names.into_iter().filter(is_of_nobody).cloned().collect()
}

/// What the candidate's commits must wait for; none to leave what it has: its own setting, where those whom it names can
/// follow it, or too few standbys that could be waited for.
pub(super) fn sync_of(
    cluster: &SqlCluster,
    candidate: &InstanceId,
    facts: &InstanceFacts,
    view: &SqlView,
) -> Option<SyncPolicy> {
    let SyncRule::Any { acks, voters, .. } = &cluster.rule else {
        return None;
    };
    let name_of = |id: &InstanceId| cluster.members.get(id)?.application_name.clone();
    let is_there = |id: &InstanceId| view.fresh(id).is_some_and(|it| it.role.is_in_recovery());
    let others = || cluster.members.keys().filter(|id| *id != candidate);
    let there: BTreeSet<String> = others()
        .filter(|id| is_there(id))
        .filter_map(name_of)
        .collect();
    match &facts.sync.policy {
        Some(SyncPolicy::Async) => {}
        // Copied from somebody who was the primary once, it may name those alone who are gone, or itself.
        Some(policy @ (SyncPolicy::Any { .. } | SyncPolicy::First { .. })) => {
            let needs = policy.needs_of(there.iter().map(String::as_str));
            if needs.is_some_and(|(needed, named)| named >= needed) {
                return None;
            }
        }
        Some(SyncPolicy::SemiSync { .. }) | None => return None,
    }
    let voters = voters.iter().filter(|id| *id != candidate);
    let of: BTreeSet<String> = voters.filter_map(name_of).chain(there).collect();
    (of.len() >= usize::from(*acks)).then_some(SyncPolicy::Any { n: *acks, of })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example;

    #[test]
    fn names_that_nobody_streams_under_are_told() {
        let members = example::sql_cluster(&["p", "s1", "s2"]).members;
        let check = |names: &[&str], expected: &[&str]| {
            let mut facts = example::facts("p");
            let of = names.iter().map(|name| (*name).to_owned()).collect();
            facts.sync.policy = Some(SyncPolicy::Any { n: 1, of });
            assert_eq!(names_of_nobody(&members, &facts), expected);
        };
        check(&["s1", "s2"], &[]);
        check(&["S1", "gone", "*"], &["gone"]);
    }
}
