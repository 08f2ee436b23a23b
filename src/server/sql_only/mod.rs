//! Clusters without agents: every peer looks at their instances, and the leader acts on them, over SQL alone.
//!
//! The loop is that of clusters with agents: look, decide, have it recorded, have it done, look again. What is done goes
//! through `execute`, the one place that turns an [`SqlStep`] into calls of a
//! provider. Nothing that a deposed leader sent can be refused by a server, so each change is sent only after a majority
//! confirmed the leader, and its deadline ends before anybody else can lead.

mod access;
mod adoption;
mod board;
mod checks;
mod control;
mod execute;
mod probe;
mod walk;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::{ClusterName, SqlView};
use crate::provider::{Provider, Providers};
use crate::recovery::sql_only::SqlStep;
use crate::state::SqlState;
use crate::state::level::may_record_copies;

pub use access::Access;
pub use adoption::{Adoption, NotAdopted};
pub use board::Board;
pub use control::Thought;
pub(super) use control::run as control;
pub(super) use probe::run as probe;

use super::Peer;
use crate::clock;
use crate::decision::Programs;
use crate::decision::sql_only::{SqlPlan, decide};

/// The part of a peer that works over SQL.
pub struct SqlOnly {
    access: Option<Access>,
    providers: Mutex<Providers>,
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

    fn providers(&self) -> MutexGuard<'_, Providers> {
        let providers = self.providers.lock();
        providers.expect("no holder of the providers panics")
    }

    /// The provider of a cluster that was adopted then; none if this peer cannot sign in anywhere.
    fn provider(&self, cluster: &ClusterName, adopted_at: u64) -> Option<Arc<Provider>> {
        let access = self.access.as_ref()?;
        let make = || access.engine.provider(access.login.clone());
        Some(self.providers().of(cluster, adopted_at, make))
    }

    /// Keeps nothing more of these clusters.
    fn forget(&self, clusters: &BTreeSet<ClusterName>) {
        self.board.forget(clusters);
        self.providers().forget(clusters);
    }

    /// The steps of a cluster that this peer has under way.
    pub fn under_way(&self, cluster: &ClusterName) -> Vec<SqlStep> {
        self.under_way.of(cluster)
    }

    pub(super) fn clear(&self) {
        self.under_way.clear();
        self.board.forget_times();
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
        self.look_over_sql_on(cluster, |state, view, plan| {
            look(state, view, &plan.in_turn(self.turns.of(cluster)))
        })
    }

    /// The same without regard to whose turn it is.
    fn look_over_sql_on<R>(
        &self,
        cluster: &ClusterName,
        look: impl FnOnce(&SqlState, &SqlView, SqlPlan) -> R,
    ) -> Option<R> {
        self.look_over_sql_with(cluster, |state, view, programs| {
            let plan = decide(state, view).with(state, view, programs);
            look(state, view, plan)
        })
    }

    /// The same with what is known of the user's programs, and nothing decided.
    pub fn look_over_sql_with<R>(
        &self,
        cluster: &ClusterName,
        look: impl FnOnce(&SqlState, &SqlView, &Programs) -> R,
    ) -> Option<R> {
        let peers = self.voters().len();
        self.consensus.read(|state| {
            let may_record_copies = may_record_copies(state.level);
            let said = state.directives.in_force(cluster, clock::wall_millis());
            let programs = self.programs(state, cluster);
            let state = state.sql.get(cluster)?;
            let view = SqlView {
                directives: said,
                may_record_copies,
                ..self.sql.board.view(cluster, clock::monotonic(), peers)
            };
            Some(look(state, &view, &programs))
        })
    }
}
