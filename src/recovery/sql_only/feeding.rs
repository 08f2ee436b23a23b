//! Whom a standby streams from, as far as is seen.
//!
//! A standby names its source as its own host knows it, which may be another name of a server than the one that is recorded.
//! Where that leads to nobody, the source is told by what it shows itself: somebody streams from it under the standby's name.

use crate::model::{InstanceFacts, InstanceId, Role, SourceFacts, SqlCluster, SqlView};

/// The member that feeds a standby; none if that is not seen, or could be another one.
pub fn feeder<'a>(
    cluster: &'a SqlCluster,
    view: &SqlView,
    facts: &InstanceFacts,
) -> Option<&'a InstanceId> {
    let source = facts.source.as_ref()?;
    let recorded = cluster.at(&source.address);
    recorded.or_else(|| {
        let found = by_name(cluster, view, facts, source);
        found.filter(|_| facts.status.io_thread_running)
    })
}

/// The only member from which anybody streams under this name, if only one standby says that it has it. A server keeps its
/// port under each of its names.
fn by_name<'a>(
    cluster: &'a SqlCluster,
    view: &SqlView,
    facts: &InstanceFacts,
    source: &SourceFacts,
) -> Option<&'a InstanceId> {
    let name = &source.application_name;
    let seen = || {
        let members = cluster.members.keys();
        members.filter_map(|id| Some((id, view.fresh(id)?)))
    };
    let has_name =
        |it: &InstanceFacts| it.source.as_ref().map(|it| &it.application_name) == Some(name);
    if name.is_empty() || seen().filter(|(_, it)| has_name(it)).count() != 1 {
        return None;
    }
    let others = seen().filter(|(_, it)| it.address != facts.address);
    let rows = others.flat_map(|(id, it)| it.replicas.iter().map(move |row| (id, it, row)));
    let mut rows = rows.filter(|(.., row)| row.application_name == *name);
    let (id, feeds, row) = rows.next()?;
    let is_it = row.state == "streaming"
        && (feeds.own_port == source.address.port || feeds.address.port == source.address.port);
    (rows.next().is_none() && is_it).then_some(id)
}

/// Whether an instance is fed by another standby, as far as is seen: it goes where that goes.
pub fn is_cascade(cluster: &SqlCluster, facts: &InstanceFacts) -> bool {
    // By the recorded address alone: who is wrongly taken for one has no veto. Who streams from nobody known keeps it.
    let source = facts.source.as_ref();
    let feeder = source.and_then(|it| cluster.at(&it.address));
    let feeder = feeder.filter(|_| facts.role == Role::Standby);
    feeder.is_some_and(|feeder| {
        cluster.primary.as_ref() != Some(feeder) && !cluster.suspects.contains(feeder)
    })
}

/// Whether a standby receives from the member `source`.
pub fn follows(
    cluster: &SqlCluster,
    view: &SqlView,
    facts: &InstanceFacts,
    source: &InstanceId,
) -> bool {
    facts.role == Role::Standby
        && facts.status.io_thread_running
        && feeder(cluster, view, facts) == Some(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{self, id};
    use crate::model::sql_only::{Look, Outcome};
    use crate::model::{Address, ReplicaFacts, Timestamp};

    /// A standby that streams as `name` from a server at that place.
    fn standby(of: &str, name: &str, host: &str, port: u16) -> InstanceFacts {
        let mut facts = example::facts(of);
        facts.role = Role::Standby;
        facts.status.io_thread_running = true;
        facts.source = Some(SourceFacts {
            address: Address {
                host: host.to_owned(),
                port,
            },
            application_name: name.to_owned(),
            user: String::new(),
            slot: None,
        });
        facts
    }

    /// A server from which somebody streams under each of these names.
    fn feeds(of: &str, role: Role, names: &[&str]) -> InstanceFacts {
        let mut facts = example::facts(of);
        (facts.role, facts.own_port) = (role, 5432);
        let row = |name: &&str| ReplicaFacts {
            application_name: (*name).to_owned(),
            host: None,
            state: "streaming".to_owned(),
            sync_state: "async".to_owned(),
            flushed: None,
            replayed: None,
        };
        facts.replicas = names.iter().map(row).collect();
        facts
    }

    fn fed_by(seen: &[InstanceFacts], of: &InstanceFacts) -> (Option<String>, bool) {
        let cluster = example::sql_cluster(&["p", "s1", "s2"]);
        let mut view = SqlView::default();
        for facts in seen.iter().chain([of]) {
            let known = view.instances.entry(id(&facts.address.host)).or_default();
            known.note(Look {
                at: Timestamp(0),
                outcome: Outcome::Facts(facts.clone().into()),
            });
        }
        let found = feeder(&cluster, &view, of).map(ToString::to_string);
        (found, is_cascade(&cluster, of))
    }

    #[test]
    fn a_source_is_known_by_its_address_else_by_who_streams_from_it() {
        let check = |seen: &[InstanceFacts], of: &InstanceFacts, feeder: Option<&str>| {
            let (found, is_cascade) = fed_by(seen, of);
            assert_eq!(found.as_deref(), feeder);
            // An alias takes nobody's veto.
            let is_recorded = of.source.as_ref().is_some_and(|it| it.address.host == "s1");
            assert_eq!(is_cascade, is_recorded);
        };
        let alias = standby("s2", "s2", "p.internal", 5432);
        let p = |names: &[&str]| feeds("p", Role::Primary, names);
        let s1 = |names: &[&str]| feeds("s1", Role::Standby, names);
        check(&[p(&[])], &standby("s2", "s2", "p", 5432), Some("p"));
        check(&[p(&["s1", "s2"])], &alias, Some("p"));
        check(&[p(&["s1"]), s1(&["s2"])], &alias, Some("s1"));
        check(&[s1(&["s2"])], &standby("s2", "s2", "s1", 5432), Some("s1"));
        // What streams from a standby under its own name is not what feeds it.
        let fed = feeds("s2", Role::Standby, &["s2"]);
        let mut of = standby("s2", "s2", "p.internal", 5432);
        of.replicas = fed.replicas;
        check(&[p(&["s1"])], &of, None);
        check(&[p(&["s1"])], &alias, None);
        check(
            &[p(&["s1", "s2"])],
            &standby("s2", "s2", "p.internal", 5433),
            None,
        );
        let mut starting = p(&["s2"]);
        starting.replicas[0].state = "startup".to_owned();
        check(&[starting], &alias, None);
        let mut silent = alias.clone();
        silent.status.io_thread_running = false;
        check(&[p(&["s2"])], &silent, None);
    }

    #[test]
    fn a_name_that_several_have_tells_nothing() {
        let alias = standby("s2", "s2", "p.internal", 5432);
        let p = feeds("p", Role::Primary, &["s2"]);
        for seen in [
            [
                feeds("p", Role::Primary, &["s2", "s2"]),
                example::facts("s1"),
            ],
            [p.clone(), feeds("s1", Role::Standby, &["s2"])],
            [p.clone(), standby("s1", "s2", "elsewhere", 5432)],
        ] {
            assert_eq!(fed_by(&seen, &alias).0, None, "{seen:?}");
        }
        let nameless = standby("s2", "", "p.internal", 5432);
        let p = feeds("p", Role::Primary, &[""]);
        assert_eq!(fed_by(&[p], &nameless).0, None);
    }
}
