//! Clusters without agents: every peer looks at their instances, and the leader acts on them, over SQL alone.
//!
//! The loop is that of clusters with agents: look, decide, have it recorded, have it done, look again. What is done goes
//! through `execute`, the one place that turns an [`SqlStep`] into calls of a
//! provider. Nothing that a deposed leader sent can be refused by a server, so each change is sent only after a majority
//! confirmed the leader, and its deadline ends before anybody else can lead.

mod access;
mod adoption;
mod board;
mod control;
mod execute;
mod probe;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::{ClusterName, SqlView};
use crate::provider::{Postgres, Provider};
use crate::recovery::sql_only::SqlStep;
use crate::state::SqlState;

pub use access::Access;
pub use adoption::{Adoption, NotAdopted};
pub use board::Board;
pub use control::Thought;
pub(super) use control::run as control;
pub(super) use probe::run as probe;

use super::Peer;
use crate::clock;
use crate::decision::sql_only::{SqlPlan, decide};

/// The provider of each cluster, with when that was adopted: epochs are a provider's own, and begin anew with an adoption.
type Of = BTreeMap<ClusterName, (u64, Arc<Provider>)>;

/// The part of a peer that works over SQL.
pub struct SqlOnly {
    access: Option<Access>,
    providers: Mutex<Of>,
    /// What it has seen.
    pub board: Board,
    under_way: execute::UnderWay,
}

impl SqlOnly {
    pub(super) fn new(access: Option<Access>) -> SqlOnly {
        SqlOnly {
            access,
            providers: Mutex::default(),
            board: Board::default(),
            under_way: execute::UnderWay::default(),
        }
    }

    fn providers(&self) -> MutexGuard<'_, Of> {
        let providers = self.providers.lock();
        providers.expect("no holder of the providers panics")
    }

    /// The provider of a cluster that was adopted then; none if this peer cannot sign in anywhere.
    fn provider(&self, cluster: &ClusterName, adopted_at: u64) -> Option<Arc<Provider>> {
        let access = self.access.as_ref()?;
        let mut providers = self.providers();
        providers.retain(|name, (of, _)| name != cluster || *of == adopted_at);
        let (_, provider) = providers.entry(cluster.clone()).or_insert_with(|| {
            let provider = Postgres::new(access.login.clone());
            (adopted_at, Arc::new(Provider::Postgres(provider)))
        });
        Some(provider.clone())
    }

    /// Keeps nothing more of these clusters.
    fn forget(&self, clusters: &BTreeSet<ClusterName>) {
        self.board.forget(clusters);
        self.providers().retain(|name, _| !clusters.contains(name));
    }

    /// The steps of a cluster that this peer has under way.
    pub fn under_way(&self, cluster: &ClusterName) -> Vec<SqlStep> {
        self.under_way.of(cluster)
    }

    pub(super) fn clear(&self) {
        self.under_way.clear();
    }
}

impl Peer {
    /// Whether this peer can sign in to instances without agents.
    pub fn speaks_sql(&self) -> bool {
        self.sql.access.is_some()
    }

    /// What speaks with the instances of a cluster; none if it is not recorded, or this peer cannot sign in.
    fn provider_of(&self, cluster: &ClusterName) -> Option<Arc<Provider>> {
        let adopted_at = self.consensus.read(|state| {
            let state = state.sql.get(cluster);
            state.map(|it| it.adopted_at)
        })?;
        self.sql.provider(cluster, adopted_at)
    }

    /// Looks at one recorded cluster without agents, together with this peer's view of it and what follows from both.
    pub fn look_over_sql<R>(
        &self,
        cluster: &ClusterName,
        look: impl FnOnce(&SqlState, &SqlView, &SqlPlan) -> R,
    ) -> Option<R> {
        let peers = self.voters().len();
        self.consensus.read(|state| {
            let said = state.directives.in_force(cluster, clock::wall_millis());
            let state = state.sql.get(cluster)?;
            let view = SqlView {
                directives: said,
                ..self.sql.board.view(cluster, clock::monotonic(), peers)
            };
            let plan = decide(state, &view);
            Some(look(state, &view, &plan))
        })
    }
}
