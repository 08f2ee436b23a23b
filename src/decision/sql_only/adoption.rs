//! What becomes of a topology that was found: a cluster to be recorded, and what that would guarantee.

use std::collections::BTreeMap;

use crate::decision::discovery::Topology;
use crate::model::{Address, FenceDemand, InstanceFacts, InstanceId, Lineage, SqlMember, SyncRule};
use crate::recovery::sql_only::proof;
use crate::state::Adopted;

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

/// What a failover would and would not guarantee, in one sentence. `commits_wait` is whether sessions without a setting of
/// their own wait for standbys.
pub fn guarantee(fence: FenceDemand, rule: &SyncRule, commits_wait: bool) -> String {
    if fence == FenceDemand::Required {
        return "nothing is failed over: fence is \"required\", and without agents an old primary cannot be kept from \
                writing"
            .to_owned();
    }
    let known = rule.voters();
    match (rule, proof::needed(rule)) {
        (SyncRule::Unclear { why }, _) => format!("nothing is failed over: {why}"),
        (SyncRule::Any { .. }, Some(needed)) if needed > known.len() => format!(
            "nothing is failed over: it would take {needed} standbys of synchronous_standby_names that are known, and \
             there are {}",
            known.len()
        ),
        (SyncRule::Any { .. }, Some(needed)) if commits_wait => format!(
            "no acknowledged commit is lost by a failover, which needs {needed} of the {} standbys that commits wait for; \
             an old primary is fenced by courtesy: its later commits wait and are not acknowledged",
            known.len()
        ),
        (SyncRule::Any { .. }, _) => {
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
}
