//! One provider for each cluster, by name: one installation may look after several engines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Capabilities, DatabaseProvider, Extent, Gtid, Operation, Outcome, Postgres, Result, Simulated,
};
use crate::model::{
    Address, ClusterName, InstanceFacts, Position, PositionOrder, ReplicationStatus, SyncPolicy,
    SyncState,
};

/// The provider of one cluster. A new engine is one more variant here.
#[derive(Debug)]
pub enum Provider {
    /// PostgreSQL.
    Postgres(Postgres),
    /// An engine in memory.
    Simulated(Simulated),
}

/// The providers of all clusters.
#[derive(Debug, Default)]
pub struct Providers {
    of: BTreeMap<ClusterName, Arc<Provider>>,
}

impl Providers {
    /// Has this cluster looked after by that provider from now on.
    pub fn set(&mut self, cluster: ClusterName, provider: Provider) {
        self.of.insert(cluster, Arc::new(provider));
    }

    /// The provider of a cluster; none if it has none.
    pub fn get(&self, cluster: &ClusterName) -> Option<Arc<Provider>> {
        self.of.get(cluster).map(Arc::clone)
    }
}

/// The same call of whichever it is.
macro_rules! each {
    ($provider:expr, $it:ident => $call:expr) => {
        match $provider {
            Provider::Postgres($it) => $call,
            Provider::Simulated($it) => $call,
        }
    };
}

impl DatabaseProvider for Provider {
    fn provider_name(&self) -> &'static str {
        each!(self, it => it.provider_name())
    }

    async fn get_replication_status(
        &self,
        of: &Address,
        within: Duration,
    ) -> Result<ReplicationStatus> {
        each!(self, it => it.get_replication_status(of, within).await)
    }

    async fn is_replica_running(&self, of: &Address, within: Duration) -> Result<bool> {
        each!(self, it => it.is_replica_running(of, within).await)
    }

    async fn set_read_only(&self, by: &Operation, of: &Address, on: bool) -> Result<()> {
        each!(self, it => it.set_read_only(by, of, on).await)
    }

    async fn is_read_only(&self, of: &Address, within: Duration) -> Result<bool> {
        each!(self, it => it.is_read_only(of, within).await)
    }

    async fn start_replication(&self, by: &Operation, of: &Address) -> Result<()> {
        each!(self, it => it.start_replication(by, of).await)
    }

    async fn stop_replication(&self, by: &Operation, of: &Address) -> Result<()> {
        each!(self, it => it.stop_replication(by, of).await)
    }

    fn capabilities(&self, server_version: &str) -> Result<Capabilities> {
        each!(self, it => it.capabilities(server_version))
    }

    async fn discover(&self, of: &Address, within: Duration) -> Result<InstanceFacts> {
        each!(self, it => it.discover(of, within).await)
    }

    async fn hung_up(&self, of: &Address) {
        each!(self, it => it.hung_up(of).await);
    }

    fn compare(&self, a: &Position, b: &Position) -> PositionOrder {
        each!(self, it => it.compare(a, b))
    }

    async fn wait_position(
        &self,
        of: &Address,
        extent: Extent,
        to: &Position,
        within: Duration,
    ) -> Result<Position> {
        each!(self, it => it.wait_position(of, extent, to, within).await)
    }

    async fn promote(&self, by: &Operation, of: &Address) -> Result<Position> {
        each!(self, it => it.promote(by, of).await)
    }

    async fn demote(&self, by: &Operation, of: &Address, to: &Address) -> Result<()> {
        each!(self, it => it.demote(by, of, to).await)
    }

    async fn fence(&self, by: &Operation, of: &Address) -> Result<Outcome> {
        each!(self, it => it.fence(by, of).await)
    }

    async fn reparent(&self, by: &Operation, of: &Address, to: &Address) -> Result<()> {
        each!(self, it => it.reparent(by, of, to).await)
    }

    async fn detach(&self, by: &Operation, of: &Address) -> Result<()> {
        each!(self, it => it.detach(by, of).await)
    }

    async fn revoke(&self, by: &Operation, of: &Address) -> Result<Option<Position>> {
        each!(self, it => it.revoke(by, of).await)
    }

    async fn reattach(&self, by: &Operation, of: &Address) -> Result<()> {
        each!(self, it => it.reattach(by, of).await)
    }

    async fn gtid(&self, of: &Address, question: &Gtid, within: Duration) -> Result<String> {
        each!(self, it => it.gtid(of, question, within).await)
    }

    async fn get_sync(&self, of: &Address, within: Duration) -> Result<SyncState> {
        each!(self, it => it.get_sync(of, within).await)
    }

    async fn set_sync(&self, by: &Operation, of: &Address, policy: &SyncPolicy) -> Result<()> {
        each!(self, it => it.set_sync(by, of, policy).await)
    }
}
