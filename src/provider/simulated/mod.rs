//! A database engine in memory: what a [`DatabaseProvider`] promises, as a model of few words.
//!
//! It keeps WAL as a number, timelines as they fork, and time as it is told. The simulator can drive it, and the
//! conformance suite holds it and PostgreSQL to one table, so that what is shown on the model is true of the other.

mod checks;
mod world;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::operation::Epochs;
use super::{
    Capabilities, DatabaseProvider, Extent, Gtid, Operation, Outcome, Phase, ProviderError, Result,
    positions,
};
use crate::model::{
    Address, InstanceFacts, Position, PositionOrder, ReplicationStatus, Role, SyncPolicy,
    SyncState, WalPosition,
};
use checks::{answers, changeable, standby_alone};
use world::{Instance, State, World};

pub use world::Written;

/// A network of instances in memory.
#[derive(Debug, Default)]
pub struct Simulated {
    world: Mutex<World>,
    epochs: Epochs,
}

impl Simulated {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no holder of the world panics")
    }

    /// A new primary with a history of its own.
    pub fn add_primary(&self, at: &Address) {
        self.world().add_primary(at);
    }

    /// A new standby of `source`, with all that it has.
    pub fn add_standby(&self, at: &Address, application_name: &str, source: &Address) {
        self.world().add_standby(at, application_name, source);
    }

    /// A client commits at `at`.
    pub fn write(&self, at: &Address) -> Written {
        self.world().write(at)
    }

    /// How many commits a read at `at` sees.
    pub fn rows(&self, at: &Address) -> u64 {
        self.world().instances[at].applied.0
    }

    /// Its process dies, or is there again as it was.
    pub fn set_alive(&self, at: &Address, is_alive: bool) {
        let state = if is_alive { State::Runs } else { State::Dead };
        self.world().set(at, state);
    }

    /// It stands still, or goes on.
    pub fn set_frozen(&self, at: &Address, is_frozen: bool) {
        let state = if is_frozen {
            State::Frozen
        } else {
            State::Runs
        };
        self.world().set(at, state);
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        self.world().advance(by);
    }

    /// Reads an instance that answers.
    fn read<T>(
        &self,
        operation: &'static str,
        of: &Address,
        within: Duration,
        read: impl FnOnce(&World, &Instance) -> Result<T>,
    ) -> Result<T> {
        let world = self.world();
        let instance = answers(&world, operation, of, within)?;
        read(&world, instance)
    }

    /// Changes an instance that answers, unless it is only tried; then lets the news spread.
    fn change<T>(
        &self,
        operation: &'static str,
        by: &Operation,
        of: &Address,
        check: impl FnOnce(&World, &Instance) -> Result<T>,
        change: impl FnOnce(&mut World),
    ) -> Result<T> {
        self.epochs.admit(by)?;
        let mut world = self.world();
        let instance = answers(&world, operation, of, by.within)?;
        let checked = check(&world, instance)?;
        if !by.dry_run {
            change(&mut world);
            world.spread();
        }
        Ok(checked)
    }
}

fn unsupported<T>(operation: &'static str) -> Result<T> {
    Err(ProviderError::Unsupported {
        operation,
        why: None,
    })
}

impl DatabaseProvider for Simulated {
    fn provider_name(&self) -> &'static str {
        "simulated"
    }

    async fn get_replication_status(
        &self,
        of: &Address,
        within: Duration,
    ) -> Result<ReplicationStatus> {
        self.read("get replication status", of, within, |world, it| {
            Ok(world.status(it))
        })
    }

    async fn is_replica_running(&self, of: &Address, within: Duration) -> Result<bool> {
        self.read("ask whether it replicates", of, within, |world, it| {
            Ok(world.status(it).replica_running)
        })
    }

    async fn set_read_only(&self, by: &Operation, of: &Address, on: bool) -> Result<()> {
        let change = |world: &mut World| world.at(of).is_read_only = on;
        self.change("set read-only", by, of, |_, _| Ok(()), change)
    }

    async fn is_read_only(&self, of: &Address, within: Duration) -> Result<bool> {
        self.read("ask whether it is read-only", of, within, |_, it| {
            Ok(it.is_read_only)
        })
    }

    async fn start_replication(&self, by: &Operation, of: &Address) -> Result<()> {
        let change = |world: &mut World| world.at(of).is_paused = false;
        self.change("start replication", by, of, |_, _| Ok(()), change)
    }

    async fn stop_replication(&self, by: &Operation, of: &Address) -> Result<()> {
        let change = |world: &mut World| world.at(of).is_paused = true;
        self.change("stop replication", by, of, standby_alone, change)
    }

    fn capabilities(&self, _server_version: &str) -> Result<Capabilities> {
        Ok(Capabilities {
            reparent: true,
            promote: true,
            demote: false,
            durable_fence: false,
            gtid: false,
            least_privilege: true,
        })
    }

    async fn discover(&self, of: &Address, within: Duration) -> Result<InstanceFacts> {
        self.read("discover", of, within, |world, it| Ok(world.facts(of, it)))
    }

    /// There are no sessions.
    async fn hung_up(&self, _of: &Address) {
        std::future::pending().await
    }

    async fn probe_write(&self, of: &Address, within: Duration) -> Result<()> {
        self.read("commit something", of, within, |_, it| match it.role() {
            Role::Primary => Ok(()),
            found @ (Role::Standby | Role::Detached) => Err(ProviderError::WrongRole { found }),
        })
    }

    fn compare(&self, a: &Position, b: &Position) -> PositionOrder {
        positions::compare(a, b)
    }

    async fn wait_position(
        &self,
        of: &Address,
        extent: Extent,
        to: &Position,
        within: Duration,
    ) -> Result<Position> {
        let Position::Wal(wanted) = *to else {
            let why = "the position is of another engine".to_owned();
            return Err(ProviderError::Precondition(why));
        };
        let reached = |world: &mut World| -> Result<WalPosition> {
            let it = answers(world, "wait for a position", of, within)?;
            let lsn = match extent {
                Extent::Received => it.received,
                Extent::Applied => it.applied,
            };
            let found = it.lineage.current;
            match found > wanted.timeline {
                true => Err(ProviderError::Diverged { found, wanted }),
                false => Ok(WalPosition {
                    timeline: found,
                    lsn,
                }),
            }
        };
        let mut world = self.world();
        let mut at = reached(&mut world)?;
        if at < wanted {
            // Nothing else happens meanwhile, because nobody else can do anything.
            world.advance(within);
            at = reached(&mut world)?;
        }
        match at >= wanted {
            true => Ok(Position::Wal(at)),
            false => Err(ProviderError::NotCaughtUp {
                behind_bytes: wanted.lsn.0.saturating_sub(at.lsn.0).max(1),
            }),
        }
    }

    async fn promote(&self, by: &Operation, of: &Address) -> Result<Position> {
        self.change("promote", by, of, standby_alone, |world| world.promote(of))?;
        let world = self.world();
        Ok(Position::Wal(world.instances[of].end()))
    }

    async fn demote(&self, by: &Operation, of: &Address, to: &Address) -> Result<()> {
        let within = by.within;
        let role = self.read("demote", of, within, |_, it| Ok(it.role()))?;
        match role {
            Role::Primary => Err(ProviderError::AgentRequired {
                operation: "demoting a primary",
            }),
            Role::Standby | Role::Detached => self.reparent(by, of, to).await,
        }
    }

    async fn fence(&self, by: &Operation, of: &Address) -> Result<Outcome> {
        let primary_alone = |_: &World, it: &Instance| match it.role() {
            Role::Primary => Ok(()),
            found => Err(ProviderError::WrongRole { found }),
        };
        let change = |world: &mut World| world.at(of).is_read_only = true;
        self.change("fence", by, of, primary_alone, change)?;
        Ok(match by.dry_run {
            true => Outcome::NotApplied,
            false => Outcome::Applied,
        })
    }

    async fn reparent(&self, by: &Operation, of: &Address, to: &Address) -> Result<()> {
        let wrong = |why: &str| Err(ProviderError::Precondition(why.to_owned()));
        let check = |world: &World, it: &Instance| {
            changeable(world, it)?;
            if of == to {
                return wrong("it cannot follow itself");
            }
            let Ok(source) = answers(world, "reparent", to, by.within) else {
                return wrong("the new source does not answer");
            };
            if source.system != it.system {
                return wrong("the new source is of another database history");
            }
            if source.follows.as_ref() == Some(of) {
                return wrong("the new source follows it itself");
            }
            match source.lineage.current < it.lineage.current {
                true => wrong("the new source is on an older timeline"),
                false => Ok(()),
            }
        };
        let change = |world: &mut World| {
            let it = world.at(of);
            it.follows = Some(to.clone());
            it.is_detached = false;
        };
        self.change("reparent", by, of, check, change)
    }

    async fn detach(&self, by: &Operation, of: &Address) -> Result<()> {
        let change = |world: &mut World| world.at(of).is_detached = true;
        self.change("detach", by, of, changeable, change)
    }

    async fn revoke(&self, by: &Operation, of: &Address) -> Result<Option<Position>> {
        let change = |world: &mut World| {
            let it = world.at(of);
            (it.is_detached, it.is_paused) = (true, true);
        };
        self.change("revoke", by, of, standby_alone, change)?;
        Ok(Some(Position::Wal(self.world().instances[of].end())))
    }

    async fn reattach(&self, by: &Operation, of: &Address) -> Result<()> {
        let change = |world: &mut World| world.at(of).is_detached = false;
        self.change("reattach", by, of, changeable, change)
    }

    async fn gtid(&self, _of: &Address, _question: &Gtid, _within: Duration) -> Result<String> {
        unsupported("a set of transaction identifiers")
    }

    async fn get_sync(&self, of: &Address, within: Duration) -> Result<SyncState> {
        self.read("get what commits wait for", of, within, |_, it| {
            Ok(it.sync_state())
        })
    }

    async fn set_sync(&self, by: &Operation, of: &Address, policy: &SyncPolicy) -> Result<()> {
        match policy {
            SyncPolicy::SemiSync { .. } => return unsupported("semi-synchronous replication"),
            SyncPolicy::Any { n, of } if of.len() < usize::from(*n) || *n == 0 => {
                return Err(ProviderError::Precondition(
                    "no commit could return".to_owned(),
                ));
            }
            SyncPolicy::First { n, of } if of.len() < usize::from(*n) || *n == 0 => {
                return Err(ProviderError::Precondition(
                    "no commit could return".to_owned(),
                ));
            }
            SyncPolicy::Async | SyncPolicy::Any { .. } | SyncPolicy::First { .. } => {}
        }
        let change = |world: &mut World| world.at(of).sync = policy.clone();
        self.change("set what commits wait for", by, of, |_, _| Ok(()), change)
    }

    async fn prove_sync(&self, of: &Address, policy: &SyncPolicy, within: Duration) -> Result<()> {
        let operation = "prove what commits wait for";
        self.read(operation, of, within, |world, it| {
            if it.role() != Role::Primary {
                return Err(ProviderError::WrongRole { found: it.role() });
            }
            if it.sync != *policy {
                let why = "another policy is in force".to_owned();
                return Err(ProviderError::Precondition(why));
            }
            match world.is_acknowledged(of) {
                true => Ok(()),
                false => Err(ProviderError::Timeout {
                    operation,
                    within,
                    phase: Phase::Query,
                    outcome: Outcome::NotApplied,
                }),
            }
        })
    }
}
