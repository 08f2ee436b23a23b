//! Adopts a cluster that there is: finds it, says what it would be, and has it recorded. Changes no database.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::walk;
use crate::decision::discovery::{Topology, Unfound};
use crate::decision::sql_only::adoption::{adopted, check, guarantee, hindrance};
use crate::model::{Address, ClusterName, FenceDemand, InstanceFacts};
use crate::provider::Postgres;
use crate::provider::postgres::Receiver;
use crate::recovery::sql_only::names_of_nobody;
use crate::server::{Peer, expect_no_panic};
use crate::state::Adopted;

/// How long an instance may take to say what it lacks.
const PREFLIGHT_WITHIN: Duration = Duration::from_secs(2);

/// What was found, and what it would be recorded as.
#[derive(Debug)]
pub struct Adoption {
    /// As it would be recorded.
    pub adopted: Adopted,
    /// What was seen of each of its instances, by address.
    pub topology: Topology,
    /// What would and would not be guaranteed.
    pub guarantee: String,
    /// Why nothing would be failed over as it is now; none if something could be.
    pub hindrance: Option<String>,
    /// The groups of other peers that look after some of it already: where, and which.
    pub others: Vec<(Address, String)>,
    /// What instances lack: where, what, what mends it, and whether a failover fails without it.
    pub lacks: Vec<(Address, String, String, bool)>,
}

/// Why nothing can be adopted: one sentence.
#[derive(Debug, thiserror::Error)]
pub enum NotAdopted {
    /// This peer has no way to sign in.
    #[error(
        "this peer has no table [postgresql] in its configuration, with which it would sign in"
    )]
    NoAccess,
    /// What was found is no cluster.
    #[error("{0}")]
    NoCluster(String),
}

impl Adoption {
    /// Who receives and could not be found.
    pub fn unfound(&self) -> &[Unfound] {
        &self.topology.unfound
    }
}

impl Peer {
    /// The port of an instance of which only the host was given; none if this peer cannot sign in anywhere.
    pub fn default_instance_port(&self) -> Option<u16> {
        self.sql.access.as_ref().map(|access| access.default_port)
    }

    /// Finds the cluster of which an instance answers at the first of these addresses. The others are those of instances
    /// that cannot be found.
    ///
    /// # Errors
    /// [`NotAdopted`].
    pub async fn plan_adoption(
        &self,
        given: Vec<Address>,
        fence: FenceDemand,
    ) -> Result<Adoption, NotAdopted> {
        let access = self.sql.access.clone().ok_or(NotAdopted::NoAccess)?;
        let (provider, topology) = walk::walk(&access, given.clone()).await;
        let members = self.members();
        let hosts = members.values().filter_map(|it| it.rsplit_once(':'));
        let plain = |(host, _): (&str, &str)| host.trim_matches(['[', ']']).to_owned();
        let hosts = hosts.map(plain).collect();
        check(&given, &hosts, &topology).map_err(NotAdopted::NoCluster)?;
        let adopted = adopted(&topology, fence).map_err(NotAdopted::NoCluster)?;
        let primary = &adopted.members[&adopted.primary].address;
        let sync = topology.instances.get(primary).map(|facts| &facts.sync);
        let others = others(&provider, &topology).await;
        let mut lacks = lacks(&provider, &topology).await;
        let facts = topology.instances.get(primary);
        let names = facts.map(|it| names_of_nobody(&adopted.members, it));
        lacks.extend(names.unwrap_or_default().into_iter().map(|name| {
            let what = format!(
                "synchronous_standby_names has {name}, under which no instance was found: whatever it may have acknowledged, \
                 a failover takes one standby more"
            );
            let mend = "start that standby and adopt the cluster then, or take the name out and call pg_reload_conf()";
            (primary.clone(), what, mend.to_owned(), false)
        }));
        let needed = lacks.iter().filter(|(.., is_needed)| *is_needed).count();
        let instances = adopted.members.len();
        Ok(Adoption {
            guarantee: guarantee(fence, &adopted.rule, instances, sync),
            hindrance: hindrance(fence, &adopted.rule, instances, needed),
            lacks,
            others,
            adopted,
            topology,
        })
    }
}

impl Peer {
    /// Has what the plan found to be missing known from the beginning: it is looked for again only after a while.
    pub fn note_adopted(&self, cluster: &ClusterName, adoption: &Adoption) {
        for (id, member) in &adoption.adopted.members {
            let of = adoption.lacks.iter();
            let needed = of.filter(|(at, .., is_needed)| *is_needed && *at == member.address);
            let needed = needed.map(|(_, what, ..)| what.clone()).collect();
            self.sql.board.lacks(cluster, id, needed);
        }
    }
}

/// Who else looks after them. What cannot be asked is said with what it lacks.
async fn others(provider: &Arc<Postgres>, topology: &Topology) -> Vec<(Address, String)> {
    let mut asked = JoinSet::new();
    for address in topology.instances.keys().cloned() {
        let provider = provider.clone();
        asked.spawn(async move {
            let found = provider.other_installations(&address, PREFLIGHT_WITHIN);
            let found = found.await.unwrap_or_default();
            (address, found)
        });
    }
    let mut others = vec![];
    while let Some(ended) = asked.join_next().await {
        if let Some((address, groups)) = expect_no_panic(ended) {
            others.extend(groups.into_iter().map(|group| (address.clone(), group)));
        }
    }
    others.sort();
    others
}

async fn lacks(
    provider: &Arc<Postgres>,
    topology: &Topology,
) -> Vec<(Address, String, String, bool)> {
    let mut asked = JoinSet::new();
    for address in topology.instances.keys().cloned() {
        let provider = provider.clone();
        let receivers = receivers(topology.instances.iter(), &address);
        asked.spawn(async move {
            let found = provider.preflight(&address, &receivers, PREFLIGHT_WITHIN);
            let found = found.await;
            (address, found)
        });
    }
    let mut lacks = vec![];
    while let Some(ended) = asked.join_next().await {
        match expect_no_panic(ended) {
            Some((address, Ok(found))) => lacks.extend(
                found
                    .into_iter()
                    .map(|it| (address.clone(), it.what, it.mend, it.is_needed)),
            ),
            Some((address, Err(error))) => {
                let what = format!("what it lacks cannot be asked: {error}");
                lacks.push((
                    address,
                    what,
                    "let it answer, and ask again".to_owned(),
                    true,
                ));
            }
            None => {}
        }
    }
    lacks.sort();
    lacks
}

/// Everybody else, as whoever would stream from it if it were the primary. The one that is has no source of its own: it is
/// taken for one that would stream as the others do.
pub(super) fn receivers<'a>(
    instances: impl Iterator<Item = (&'a Address, &'a InstanceFacts)> + Clone,
    of: &Address,
) -> Vec<Receiver> {
    let mut sources = instances.clone().filter_map(|(_, it)| it.source.as_ref());
    let is_named = |user: &&String| !user.is_empty();
    let user = sources.find_map(|it| Some(&it.user).filter(is_named));
    let others = instances.filter(|(address, _)| *address != of);
    let receiver = |(address, facts): (&Address, &InstanceFacts)| {
        let own = facts.source.as_ref();
        let own_user = own.map(|it| &it.user).filter(is_named);
        Some(Receiver {
            user: own_user.or(user)?.clone(),
            address: address.host.parse().ok(),
            slot: own.and_then(|it| it.slot.clone()),
        })
    };
    others.filter_map(receiver).collect()
}
