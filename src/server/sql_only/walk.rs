//! Walks over topologies: the pure planner says whom to ask, and they are asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Access;
use crate::clock;
use crate::decision::discovery::{Asked, Topology, Walk, WalkNext};
use crate::decision::sql_only::newcomer::newcomer;
use crate::model::{Address, ClusterName, Timestamp};
use crate::provider::{DatabaseProvider, Postgres};
use crate::server::{Peer, expect_no_panic};
use crate::state::{Observed, SqlChange};

/// How long one address may take.
const ASK_WITHIN: Duration = Duration::from_millis(1000);
/// So many are asked at once.
const AT_ONCE: usize = 16;
/// How long a whole walk may take; what was not asked by then counts as silent.
const WALK_WITHIN: Duration = Duration::from_secs(4);

/// All that can be found from these addresses.
pub(super) async fn walk(access: &Access, given: Vec<Address>) -> (Arc<Postgres>, Topology) {
    let provider = Arc::new(Postgres::new(access.login.clone()).without_marks());
    let mut walk = Walk::new(given, [access.default_port].into());
    let ends = clock::monotonic().after(WALK_WITHIN);
    loop {
        match walk.next() {
            WalkNext::Done(topology) => return (provider, topology),
            WalkNext::Ask(addresses) => ask(&provider, &mut walk, addresses, ends).await,
        }
    }
}

async fn ask(
    provider: &Arc<Postgres>,
    walk: &mut Walk,
    addresses: BTreeSet<Address>,
    ends: Timestamp,
) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut asked = JoinSet::new();
    for address in addresses {
        let (provider, places) = (provider.clone(), places.clone());
        asked.spawn(async move {
            let _place = places.acquire().await.expect("nobody closes it");
            let within = ends.since(clock::monotonic()).min(ASK_WITHIN);
            if within.is_zero() {
                return (address, Asked::Failed("the walk took too long".to_owned()));
            }
            let found = match provider.discover(&address, within).await {
                Ok(facts) => Asked::Facts(Box::new(facts)),
                Err(error) => Asked::Failed(error.to_string()),
            };
            (address, found)
        });
    }
    while let Some(ended) = asked.join_next().await {
        if let Some((address, found)) = expect_no_panic(ended) {
            walk.note(address, found);
        }
    }
}

/// Looks for those who receive and are not known, and has them recorded.
pub(super) async fn again(peer: Arc<Peer>, cluster: ClusterName) {
    let Some(access) = peer.sql.access.clone() else {
        return;
    };
    let recorded = || {
        peer.consensus.read(|state| {
            let state = state.sql.get(&cluster)?;
            Some((state.order(), state.cluster.clone()))
        })
    };
    let Some((_, before)) = recorded() else {
        return;
    };
    let given = before.members.values().map(|it| it.address.clone());
    let (_, topology) = walk(&access, given.collect()).await;
    if topology.system != Some(before.system) {
        return;
    }
    peer.sql.board.unfound(&cluster, topology.unfound.clone());
    // One after the other: whoever is recorded makes the next one's number.
    while let Some((order, now)) = recorded()
        && let Some((instance, member)) = newcomer(&now, &topology)
    {
        let address = member.address.clone();
        let observed = Observed::Member { instance, member };
        let change = SqlChange::Observe { order, observed };
        match peer.propose_sql(cluster.clone(), change).await {
            Ok(Ok(_)) => tracing::info!(%cluster, %address, "an instance was found"),
            Ok(Err(rejection)) => {
                tracing::info!(%cluster, %address, %rejection, "not taken");
                return;
            }
            Err(error) => {
                tracing::warn!(%cluster, %address, %error, "may not be recorded");
                return;
            }
        }
    }
}
