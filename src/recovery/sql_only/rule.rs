//! Whose flush commits wait for, read from `synchronous_standby_names` and from who is known by these names.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{InstanceFacts, InstanceId, SqlMember, SyncPolicy, SyncRule};

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
                "somebody receives as {name} whose port is not known; give it with --instance HOST:PORT, and every standby \
                 a name of its own"
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
