//! Adopts a cluster that there is: finds it, says what it would be, and has it recorded. Changes no database.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::walk;
use crate::decision::discovery::{Topology, Unfound};
use crate::decision::sql_only::adoption::{adopted, guarantee};
use crate::model::{Address, FenceDemand, InstanceFacts};
use crate::provider::Postgres;
use crate::provider::postgres::Receiver;
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
        let silent = |it: &&Address| topology.failed.contains_key(*it);
        if let Some(address) = given.iter().skip(1).find(silent) {
            let why = &topology.failed[address];
            return Err(NotAdopted::NoCluster(format!(
                "instances: {address} was given and is none of this cluster: {why}"
            )));
        }
        let adopted = adopted(&topology, fence).map_err(NotAdopted::NoCluster)?;
        let primary = &adopted.members[&adopted.primary].address;
        let waits = |facts: &InstanceFacts| facts.sync.commits_wait;
        let commits_wait = topology.instances.get(primary).is_some_and(waits);
        Ok(Adoption {
            guarantee: guarantee(fence, &adopted.rule, commits_wait),
            lacks: lacks(&provider, &topology).await,
            adopted,
            topology,
        })
    }
}

async fn lacks(
    provider: &Arc<Postgres>,
    topology: &Topology,
) -> Vec<(Address, String, String, bool)> {
    let mut asked = JoinSet::new();
    for address in topology.instances.keys().cloned() {
        let provider = provider.clone();
        let receivers = receivers(topology, &address);
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
fn receivers(topology: &Topology, of: &Address) -> Vec<Receiver> {
    let sources = || {
        topology
            .instances
            .values()
            .filter_map(|it| it.source.as_ref())
    };
    let user = sources().map(|it| &it.user).find(|user| !user.is_empty());
    let others = topology
        .instances
        .iter()
        .filter(|(address, _)| *address != of);
    let receiver = |(address, facts): (&Address, &InstanceFacts)| {
        let own = facts.source.as_ref();
        let own_user = own.map(|it| &it.user).filter(|user| !user.is_empty());
        Some(Receiver {
            user: own_user.or(user)?.clone(),
            address: address.host.parse().ok(),
            slot: own.and_then(|it| it.slot.clone()),
        })
    };
    others.filter_map(receiver).collect()
}
