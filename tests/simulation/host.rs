//! A database host: its disk, its PostgreSQL, its agent and its leash. The agent runs the product's
//! gate, lease and duties; only observing and acting are modelled.

use std::collections::BTreeMap;

use primacy::broken;
use primacy::control::{AgentMessage, PeerMessage};
use primacy::duty::{
    Act, Data, Duty, Lease, Local, Outcome, PromiseRecord, Replay, Session, SourceSeen, gate, watch,
};
use primacy::model::{
    Address, Answer, Database, Durability, InstanceId, LeaseReport, Order, Receiver, Report,
    Stopped, SystemIdentifier, Timestamp, WalPosition, view::DEAF_AFTER,
};
use primacy::recovery::{Action, Evidence, Promise, Step};

use crate::postgres::{Disk, Postgres};
use crate::random::Random;

mod acts;
mod agent;

/// Milliseconds of one tick.
pub const TICK: u64 = 20;
const IDENTITY: SystemIdentifier = SystemIdentifier(4711);

/// A host's own clock: monotonic, at its own rate.
#[derive(Debug, Clone, Copy)]
pub struct HostClock {
    /// Parts per thousand fast or slow.
    pub drift: i64,
    pub offset: u64,
}

impl HostClock {
    pub fn now(&self, tick: u64) -> Timestamp {
        let real = (tick * TICK) as i64;
        Timestamp(self.offset + (real + real * self.drift / 1000) as u64)
    }
}

#[derive(Debug, Clone)]
pub struct Running {
    pub order: Order,
    pub action: Action,
    pub duty: Duty,
    pub deadline: u64,
    pub reply_to: Vec<(usize, u64)>,
}

/// The agent's memory; gone when it is killed.
#[derive(Debug, Clone)]
pub struct Agent {
    pub session: u32,
    pub frozen: bool,
    pub promise: Option<PromiseRecord>,
    pub lease: Option<Lease>,
    pub renewals: BTreeMap<u64, Timestamp>,
    pub serial: u64,
    pub running: Option<Running>,
    /// An act under way: when it is done.
    pub acting: Option<(u64, Act)>,
    pub next_report: u64,
    pub next_renewal: u64,
    pub next_adoption: u64,
    pub stopped: Stopped,
    pub first_commit: Option<(primacy::model::Epoch, primacy::model::Lsn)>,
    pub barrier: Option<u32>,
    pub saw_running: bool,
}

/// A host.
pub struct Host {
    pub index: usize,
    pub id: InstanceId,
    pub durability: Durability,
    pub clock: HostClock,
    pub disk: Disk,
    pub postgres: Option<Postgres>,
    pub agent: Option<Agent>,
    pub leash_frozen: bool,
    /// The leash's deadline, on the host's clock.
    pub deadline: Option<Timestamp>,
    /// The promise file; none if it was lost.
    pub promise: Option<PromiseRecord>,
    pub sessions: u32,
    /// How often the promise file was lost.
    pub promise_losses: u32,
    /// The number of the timeline allocated with the highest epoch that this host promised in a fence.
    pub fenced: Option<u32>,
    pub peers: usize,
    pub addresses: Vec<Address>,
    pub restart_agent_at: Option<u64>,
}

/// What the host wants from the rest of the world.
pub enum Effect {
    Send {
        to: usize,
        message: AgentMessage,
    },
    /// The data is to be replaced from this host now.
    CopyFrom {
        source: usize,
        rewind: bool,
    },
    /// A fence was carried out for this order.
    Fenced {
        order: Order,
    },
    /// The first commit of the epoch is to be tried.
    Barrier,
    FenceAdmitted {
        order: Order,
    },
}

impl Host {
    fn now(&self, tick: u64) -> Timestamp {
        self.clock.now(tick)
    }

    pub fn start_agent(&mut self, tick: u64) {
        self.sessions += 1;
        let now = self.now(tick);
        // The deadline is taken over from the leash.
        let lease = self
            .deadline
            .filter(|until| *until > now)
            .zip(self.promise.as_ref())
            .map(|(until, promise)| Lease {
                order: promise.order,
                until,
            });
        self.agent = Some(Agent {
            session: self.sessions,
            frozen: false,
            promise: self.promise.clone(),
            lease,
            renewals: BTreeMap::new(),
            serial: u64::from(self.sessions) << 32,
            running: None,
            acting: None,
            next_report: tick,
            next_renewal: tick,
            next_adoption: tick,
            stopped: Stopped::Found,
            first_commit: None,
            barrier: None,
            saw_running: false,
        });
    }

    fn persist(&mut self, record: PromiseRecord) {
        if !(broken!(PersistedPromise) && self.promise.is_some()) {
            self.promise = Some(record.clone());
        }
        if let Some(agent) = &mut self.agent {
            agent.promise = Some(record);
        }
    }

    pub fn kill_postgres(&mut self) {
        self.postgres = None;
    }

    /// The leash: kills everything once the deadline has passed.
    pub fn leash(&mut self, tick: u64) {
        if self.leash_frozen || self.deadline.is_none_or(|until| self.now(tick) < until) {
            return;
        }
        self.deadline = None;
        if broken!(LeashKillsAll) {
            if let Some(postgres) = &mut self.postgres {
                postgres.postmaster = false;
                postgres.orphans_until = tick + 100;
            }
        } else {
            self.postgres = None;
        }
    }

    pub fn observe(&self, tick: u64) -> Local {
        let now = self.now(tick);
        let agent = self.agent.as_ref();
        let data = if self.disk.exists {
            Data::Cluster {
                identity: IDENTITY,
                incarnation: self
                    .disk
                    .incarnation
                    .filter(|(owner, _)| *owner == self.index)
                    .map(|(_, incarnation)| incarnation),
                standby_signal: self.disk.standby_signal,
                ends_at: self.postgres.is_none().then(|| self.disk.end()),
                lineage: self.disk.lineage(),
                highest_timeline: self.disk.highest_timeline(),
                interrupted: self.disk.interrupted,
            }
        } else {
            Data::Empty
        };
        Local {
            now,
            instance: self.id.clone(),
            data,
            is_running: self.postgres.is_some(),
            has_postmaster: self.postgres.as_ref().is_some_and(|p| p.postmaster),
            session: self
                .postgres
                .as_ref()
                .filter(|p| p.answers(tick))
                .map(|p| self.session(p, tick)),
            lease: agent
                .and_then(|a| a.lease)
                .and_then(|lease| lease.live(now)),
            is_armed: self.deadline.is_some(),
            promotion_asked: agent
                .and_then(|a| a.promise.as_ref())
                .is_some_and(|promise| promise.promotion_asked),
        }
    }

    fn session(&self, postgres: &Postgres, tick: u64) -> Session {
        let streams = postgres
            .receiver
            .as_ref()
            .filter(|r| r.streaming)
            .map(|receiver| {
                let silent = (tick - receiver.last_heard.min(tick)) * TICK;
                (
                    receiver.name.clone(),
                    std::time::Duration::from_millis(silent),
                )
            });
        Session {
            in_recovery: postgres.in_recovery,
            source: postgres.visible_source.as_ref().map(|source| SourceSeen {
                address: self.addresses[source.node].clone(),
                application_name: source.name.clone(),
            }),
            restores: false,
            synchronous_standby_names: postgres.names.text.clone(),
            commits_wait: true,
            read_only_default: false,
            receivers: usize::from(postgres.receiver.is_some()),
            streams,
            replay: postgres.replay,
            position: WalPosition {
                timeline: self.disk.timeline(),
                lsn: primacy::model::Lsn(if postgres.in_recovery {
                    postgres.replayed as u64
                } else {
                    self.disk.wal.len() as u64
                }),
            },
        }
    }

    pub fn report(&self, tick: u64) -> Option<Report> {
        let agent = self.agent.as_ref()?;
        let local = self.observe(tick);
        let database = match (&local.data, &local.session) {
            (Data::Empty | Data::Foreign { .. }, _) => Database::Absent,
            _ if !local.is_running || !local.has_postmaster => Database::Stopped(agent.stopped),
            (_, None) if agent.saw_running => Database::Unresponsive,
            (_, None) => Database::Starting,
            (_, Some(session)) if session.in_recovery => Database::Standby {
                flushed: self.disk.end(),
                replayed: session.position.lsn,
                receiver: session
                    .streams
                    .clone()
                    .map_or(Receiver::None, |(name, silent_for)| Receiver::Streaming {
                        application_name: name,
                        silent_for,
                    }),
            },
            (_, Some(session)) => Database::Primary {
                position: session.position,
                synchronous_standby_names: session.synchronous_standby_names.clone(),
                first_commit: agent.first_commit,
            },
        };
        Some(Report {
            insecure: false,
            promised: agent.promise.as_ref().map(|promise| promise.order),
            incarnation: local.incarnation(),
            identity: self.disk.exists.then_some(IDENTITY),
            database,
            lease: agent.lease.and_then(|lease| {
                lease.live(local.now).map(|epoch| LeaseReport {
                    epoch,
                    remaining: lease.until.since(local.now),
                })
            }),
        })
    }
}
