//! What becomes of a topology that was found: a cluster to be recorded, and what that would guarantee.

use std::collections::{BTreeMap, BTreeSet};

use crate::decision::discovery::{Topology, is_local};
use crate::model::{
    Address, FenceDemand, InstanceFacts, InstanceId, Lineage, SqlMember, SyncRule, SyncState,
};
use crate::recovery::sql_only::proof;
use crate::state::Adopted;

use super::analyze;
use super::rule_of;

/// The name under which every receiver streams that was given none.
const NAMELESS: &str = "walreceiver";
/// The most bytes of a name of an instance.
const LONGEST: usize = 32;

/// The cluster that a topology would be recorded as.
///
/// # Errors
/// One sentence: there is not exactly one primary.
pub fn adopted(topology: &Topology, fence: FenceDemand) -> Result<Adopted, String> {
    let system = topology.system.ok_or_else(|| {
        let said = topology.failed.iter();
        let said: Vec<_> = said.map(|(at, why)| format!("{at}: {why}")).collect();
        format!("nobody answers: {}", said.join("; "))
    })?;
    let primary = match topology.primaries().as_slice() {
        [primary] => (*primary).clone(),
        [] => return Err("no instance that was found is a primary; give its address".to_owned()),
        several => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            return Err(format!(
                "{} are primaries of one history; stop all but one and rebuild the others from it",
                several.join(" and ")
            ));
        }
    };
    let mut members = BTreeMap::new();
    let mut first = None;
    for (address, facts) in &topology.instances {
        let instance = name_of(address, application_name(facts), |id| {
            members.contains_key(id)
        });
        if *address == primary {
            first = Some((instance.clone(), facts));
        }
        members.insert(
            instance,
            SqlMember {
                address: address.clone(),
                application_name: application_name(facts).map(str::to_owned),
            },
        );
    }
    let (primary, facts) = first.ok_or_else(|| "the primary was not found again".to_owned())?;
    let current = facts
        .timeline
        .ok_or_else(|| format!("the timeline of {} cannot be read", facts.address))?;
    Ok(Adopted {
        system,
        fence,
        rule: rule_of(&members, &primary, facts),
        members,
        primary,
        lineage: Lineage {
            current,
            left_at: BTreeMap::new(),
        },
    })
}

/// Whether what was found can be looked after: every instance that was given is of it, and every peer reaches each of them
/// under its address. `peers` are the hosts of all peers.
///
/// # Errors
/// One sentence, with what to give instead.
pub fn check(
    given: &[Address],
    peers: &BTreeSet<String>,
    topology: &Topology,
) -> Result<(), String> {
    let mut failed = given.iter().skip(1).map(|it| (it, topology.failed.get(it)));
    if let Some((address, why)) = failed.find_map(|(address, why)| Some((address, why?))) {
        return Err(format!(
            "instances: {address} was given and is none of this cluster: {why}"
        ));
    }
    let is_elsewhere = peers.len() > 1 && peers.iter().any(|host| !is_local(host));
    let mut addresses = topology.instances.keys();
    match addresses.find(|it| is_elsewhere && is_local(&it.host)) {
        Some(address) => Err(format!(
            "address: {address} leads each peer to its own machine, and the peers are on several; give an address under which \
             all of them reach that server, with --instance if it is not the first"
        )),
        None => Ok(()),
    }
}

/// The same as it is recorded: what its commits wait for is only seen, and is believed once a commit was acknowledged.
pub fn unproven(adopted: Adopted) -> Adopted {
    let rule = match adopted.rule {
        SyncRule::Any { .. } => SyncRule::Unclear {
            why: "no commit was seen to be acknowledged by the standbys that are named yet"
                .to_owned(),
        },
        rule @ (SyncRule::Async | SyncRule::Unclear { .. }) => rule,
    };
    Adopted { rule, ..adopted }
}

/// Under which name an instance streams.
pub fn application_name(facts: &InstanceFacts) -> Option<&str> {
    let source = facts.source.as_ref()?;
    Some(source.application_name.as_str()).filter(|name| !name.is_empty())
}

/// A name for an instance: what it streams under, else where it answers. Never one that is taken.
pub fn name_of(
    address: &Address,
    application_name: Option<&str>,
    is_taken: impl Fn(&InstanceId) -> bool,
) -> InstanceId {
    let plain = |text: &str| {
        let letters = text.chars().map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
            _ => '-',
        });
        let letters: String = letters.collect();
        letters.trim_matches('-').to_owned()
    };
    let own = application_name.filter(|name| *name != NAMELESS).map(plain);
    let own = own.filter(|name| !name.is_empty() && name.len() <= LONGEST);
    let host = plain(&address.host);
    let port = address.port.to_string();
    let room = LONGEST - 1 - port.len();
    let start = host.len().saturating_sub(room);
    let place = match host[start..].trim_matches('-') {
        "" => port.clone(),
        host => format!("{host}-{port}"),
    };
    let counted = (2..).map(|n: u32| format!("i{n}-{port}"));
    let free = own.into_iter().chain([place]).chain(counted);
    free.filter_map(|name| InstanceId::new(&name).ok())
        .find(|id| !is_taken(id))
        .expect("numbers do not end")
}

/// What a failover of a cluster with so many instances would and would not guarantee, in one sentence. `sync` is what the
/// primary's commits were last seen to wait for; none if that was not seen.
pub fn guarantee(
    fence: FenceDemand,
    rule: &SyncRule,
    instances: usize,
    sync: Option<&SyncState>,
) -> String {
    if fence == FenceDemand::Required {
        return "nothing is failed over: fence is \"required\", and without agents an old primary cannot be kept from \
                writing"
            .to_owned();
    }
    if let Some(why) = analyze::hindrance(rule, instances) {
        return format!("nothing is failed over: {why}");
    }
    let commits_wait = sync.is_none_or(|it| it.commits_wait);
    let unseen = ["whose do is not seen by this peer".to_owned()];
    let weak = sync.map_or(unseen.as_slice(), |it| it.weak.as_slice());
    match (rule, proof::needed(rule)) {
        (SyncRule::Any { .. }, Some(needed)) if commits_wait => {
            let but = match weak {
                [] => String::new(),
                weak => format!(
                    "; commits that do not wait may be lost ({})",
                    weak.join("; ")
                ),
            };
            format!(
                "no acknowledged commit {}is lost by a failover, which needs {needed} of the {} standbys that commits wait \
                 for; an old primary is fenced by courtesy: its later commits wait and are not acknowledged{but}",
                if weak.is_empty() { "" } else { "that waited " },
                rule.voters().len()
            )
        }
        (SyncRule::Any { .. } | SyncRule::Unclear { .. }, _) => {
            "commits do not wait although standbys are named, because synchronous_commit is weaker than on: a failover may \
             lose acknowledged commits"
                .to_owned()
        }
        (SyncRule::Async, _) => {
            "a failover may lose what was acknowledged and not sent yet, and an old primary that cannot be reached may \
             acknowledge writes that are lost: it is fenced by courtesy alone"
                .to_owned()
        }
    }
}

/// Why nothing would be failed over as it is now, whatever dies; none if something could. `needed` is how many things are
/// missing without which a failover fails.
pub fn hindrance(
    fence: FenceDemand,
    rule: &SyncRule,
    instances: usize,
    needed: usize,
) -> Option<String> {
    if fence == FenceDemand::Required {
        return None;
    }
    let missing = match needed {
        0 => None,
        1 => Some("one thing is missing that a failover needs".to_owned()),
        2.. => Some(format!("{needed} things are missing that a failover needs")),
    };
    analyze::hindrance(rule, instances).or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_one_each() {
        let at = |host: &str, port| Address {
            host: host.to_owned(),
            port,
        };
        let check = |host: &str, own: Option<&str>, taken: &[&str], expected: &str| {
            let is_taken = |id: &InstanceId| taken.contains(&id.as_str());
            let name = name_of(&at(host, 5432), own, is_taken);
            assert_eq!(name.as_str(), expected);
        };
        check("10.0.0.1", Some("s1"), &[], "s1");
        check("10.0.0.1", Some("s1"), &["s1"], "10-0-0-1-5432");
        check("10.0.0.1", Some("walreceiver"), &[], "10-0-0-1-5432");
        check("::1", None, &[], "1-5432");
        check("Db_1.example", Some("Node_A"), &[], "node-a");
        check("a", Some("é"), &["a-5432"], "i2-5432");
        let long = "a-very-long-name-of-a-host-in-some-domain.example.org";
        check(long, None, &[], "in-some-domain-example-org-5432");
    }

    #[test]
    fn an_address_that_leads_each_peer_to_its_own_machine_is_refused() {
        let address = |host: &str| Address {
            host: host.to_owned(),
            port: 5432,
        };
        let check = |peers: &[&str], host: &str, is_fine: bool| {
            let peers = peers.iter().map(|it| (*it).to_owned()).collect();
            let mut topology = Topology::default();
            let facts = crate::decision::discovery::example::facts(address(host));
            topology.instances.insert(address(host), facts);
            let found = check(&[address(host)], &peers, &topology);
            assert_eq!(found.is_ok(), is_fine, "{host}: {found:?}");
            let words = "leads each peer to its own machine";
            assert!(found.is_ok() || found.unwrap_err().contains(words));
        };
        let (far, near) = (["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["127.0.0.1"]);
        for host in ["127.0.0.1", "localhost", "::1", "/run/postgresql"] {
            check(&far, host, false);
            check(&near, host, true);
            check(&far[..1], host, true);
        }
        check(&far, "10.0.0.9", true);
        check(&far, "localhost.example", true);
    }

    #[test]
    fn who_was_given_and_is_none_of_it_is_refused() {
        let address = |port| Address {
            host: "a".to_owned(),
            port,
        };
        let mut topology = Topology::default();
        topology.failed.insert(address(2), "no".to_owned());
        let check = |given: &[u16]| {
            let given: Vec<_> = given.iter().map(|port| address(*port)).collect();
            check(&given, &BTreeSet::new(), &topology)
        };
        assert_eq!(check(&[1, 3]), Ok(()));
        assert!(check(&[1, 3, 2]).unwrap_err().contains("a:2 was given"));
    }

    #[test]
    fn the_guarantee_says_what_does_not_wait() {
        let rule = SyncRule::Any {
            acks: 1,
            voters: ["b", "c"].map(|it| InstanceId::new(it).unwrap()).into(),
            unknown: 0,
        };
        let sync = |commits_wait, weak: &[&str]| SyncState {
            policy: None,
            text: String::new(),
            commits_wait,
            weak: weak.iter().map(|it| (*it).to_owned()).collect(),
            waiting: 0,
        };
        let check = |rule: &SyncRule, instances, sync: SyncState, words: &str| {
            let said = guarantee(FenceDemand::Courtesy, rule, instances, Some(&sync));
            assert!(said.contains(words), "{said}");
        };
        check(&rule, 3, sync(true, &[]), "no acknowledged commit is lost");
        let role = "role app: synchronous_commit = off";
        let but = format!("commits that do not wait may be lost ({role})");
        check(&rule, 3, sync(true, &[role]), &but);
        check(&rule, 3, sync(true, &[role]), "commit that waited is lost");
        check(&rule, 3, sync(false, &[]), "commits do not wait");
        let unseen = guarantee(FenceDemand::Courtesy, &rule, 3, None);
        assert!(unseen.contains("commit that waited is lost"), "{unseen}");
        check(&SyncRule::Async, 2, sync(true, &[]), "may lose");
        check(&SyncRule::Async, 1, sync(true, &[]), "there is no standby");
        let lacks = |fence, needed| hindrance(fence, &rule, 3, needed);
        assert_eq!(lacks(FenceDemand::Courtesy, 0), None);
        assert!(lacks(FenceDemand::Courtesy, 2).is_some());
        assert_eq!(lacks(FenceDemand::Required, 2), None);
    }

    #[test]
    fn what_commits_wait_for_is_not_believed_before_one_was_acknowledged() {
        let cluster = crate::model::example::sql_cluster(&["p", "s1"]);
        let recorded = |rule| {
            let adopted = Adopted {
                system: cluster.system,
                fence: cluster.fence,
                members: cluster.members.clone(),
                rule,
                primary: crate::model::example::id("p"),
                lineage: cluster.lineage.clone(),
            };
            unproven(adopted).rule
        };
        let unclear = recorded(cluster.rule.clone());
        assert!(matches!(unclear, SyncRule::Unclear { .. }), "{unclear:?}");
        assert_eq!(recorded(SyncRule::Async), SyncRule::Async);
    }
}
