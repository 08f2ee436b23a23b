//! Engines by their names, and one provider for each cluster: one installation may look after several engines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::postgres::Login;
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

/// An engine that can be looked after over SQL.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    name: &'static str,
    make: fn(Login) -> Provider,
}

/// All of them. A new one is one more line here.
const ENGINES: [Engine; 1] = [Engine {
    name: "postgresql",
    make: |login| Provider::Postgres(Postgres::new(login)),
}];

impl PartialEq for Engine {
    fn eq(&self, other: &Engine) -> bool {
        self.name == other.name
    }
}

impl Eq for Engine {}

impl Engine {
    /// The engine that is called so where `ProviderType` names it; none if this version looks after no such engine.
    pub fn named(name: &str) -> Option<Engine> {
        ENGINES.into_iter().find(|engine| engine.name == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// A provider that signs in like this everywhere.
    pub fn provider(self, login: Login) -> Provider {
        (self.make)(login)
    }
}

/// The providers of all clusters, each with when its cluster was adopted.
#[derive(Debug, Default)]
pub struct Providers {
    of: BTreeMap<ClusterName, (u64, Arc<Provider>)>,
}

impl Providers {
    /// The provider of a cluster that was adopted then; made if there is none of that adoption. The epochs that one has seen
    /// are its own, and those of a cluster begin anew with an adoption.
    pub fn of(
        &mut self,
        cluster: &ClusterName,
        adopted_at: u64,
        make: impl FnOnce() -> Provider,
    ) -> Arc<Provider> {
        let known = self.of.get(cluster).filter(|(of, _)| *of == adopted_at);
        match known {
            Some((_, provider)) => provider.clone(),
            None => {
                let provider = Arc::new(make());
                let made = (adopted_at, provider.clone());
                self.of.insert(cluster.clone(), made);
                provider
            }
        }
    }

    /// Keeps nothing more of these clusters.
    pub fn forget(&mut self, clusters: &BTreeSet<ClusterName>) {
        self.of.retain(|name, _| !clusters.contains(name));
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

    async fn probe_write(&self, of: &Address, within: Duration) -> Result<()> {
        each!(self, it => it.probe_write(of, within).await)
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

    async fn prove_sync(&self, of: &Address, policy: &SyncPolicy, within: Duration) -> Result<()> {
        each!(self, it => it.prove_sync(of, policy, within).await)
    }
}
