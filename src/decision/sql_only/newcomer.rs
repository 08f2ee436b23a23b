//! Who of those that a walk found is to be recorded with a cluster by itself.

use std::collections::BTreeSet;

use crate::decision::discovery::Topology;
use crate::model::{Address, InstanceFacts, InstanceId, SqlCluster, SqlMember};

use super::adoption::{application_name, name_of};

/// A standby that is not recorded and that a member feeds, if there is one. A copy of the data that follows nobody, or
/// somebody unknown, is somebody else's.
pub fn newcomer(recorded: &SqlCluster, topology: &Topology) -> Option<(InstanceId, SqlMember)> {
    if topology.system != Some(recorded.system) {
        return None;
    }
    // It may be known under another of its addresses.
    let members: BTreeSet<&Address> = recorded.members.values().map(|it| &it.address).collect();
    let is_known = |address: &Address| {
        let all = topology.aliases.get(address);
        all.is_some_and(|all| all.iter().any(|it| members.contains(it)))
    };
    let leads_to = |source: &Address| {
        let all = topology.aliases.values().find(|all| all.contains(source));
        members.contains(source) || all.is_some_and(|all| all.iter().any(|it| members.contains(it)))
    };
    let is_fed = |facts: &InstanceFacts| {
        let source = facts.source.as_ref();
        facts.role.is_in_recovery() && source.is_some_and(|it| leads_to(&it.address))
    };
    let mut others = topology.instances.iter();
    let new = others.find(|(address, facts)| !is_known(address) && is_fed(facts));
    let (address, facts) = new?;
    let own = application_name(facts);
    let instance = name_of(address, own, |id| recorded.members.contains_key(id));
    let member = SqlMember {
        address: address.clone(),
        application_name: own.map(str::to_owned),
    };
    Some((instance, member))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::example;
    use crate::model::{Role, SourceFacts, SystemIdentifier};

    fn at(host: &str) -> Address {
        Address {
            host: host.to_owned(),
            port: 5432,
        }
    }

    /// A walk that found `p`, known also as `alias`, and another one.
    fn found(role: Role, source: Option<&str>) -> Topology {
        let mut other = example::facts("new");
        other.role = role;
        other.source = source.map(|host| SourceFacts {
            address: at(host),
            application_name: "s9".to_owned(),
            user: String::new(),
            slot: None,
        });
        let mut topology = Topology {
            system: Some(SystemIdentifier(7)),
            ..Topology::default()
        };
        let aliases = BTreeMap::from([
            (at("p"), BTreeSet::from([at("p"), at("alias")])),
            (at("new"), BTreeSet::from([at("new")])),
        ]);
        topology.instances = BTreeMap::from([(at("p"), example::facts("p")), (at("new"), other)]);
        topology.aliases = aliases;
        topology
    }

    #[test]
    fn only_a_standby_that_a_member_feeds_is_recorded_by_itself() {
        let check = |role, source, expected: Option<&str>| {
            let cluster = example::sql_cluster(&["p"]);
            let found = newcomer(&cluster, &found(role, source));
            let name = found.map(|(id, _)| id.to_string());
            assert_eq!(name.as_deref(), expected, "{role} {source:?}");
        };
        check(Role::Standby, Some("p"), Some("s9"));
        check(Role::Standby, Some("alias"), Some("s9"));
        check(Role::Detached, None, None);
        check(Role::Standby, Some("elsewhere"), None);
        check(Role::Primary, None, None);
        let mut cluster = example::sql_cluster(&["p"]);
        cluster.system = SystemIdentifier(8);
        let other_history = newcomer(&cluster, &found(Role::Standby, Some("p")));
        assert_eq!(other_history, None);
        let known = example::sql_cluster(&["p", "new"]);
        let recorded = newcomer(&known, &found(Role::Standby, Some("p")));
        assert_eq!(recorded, None);
    }
}
