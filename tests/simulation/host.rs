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
                standbys: Vec::new(),
            },
        };
        Some(Report {
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

    /// A message from a peer.
    pub fn receive(&mut self, from: usize, message: PeerMessage, tick: u64) -> Vec<Effect> {
        let now = self.now(tick);
        let length = self.durability.lease_length();
        let running = self.postgres.is_some();
        let Some(agent) = &mut self.agent else {
            return vec![];
        };
        match message {
            PeerMessage::Welcome { .. } | PeerMessage::Declined { .. } => vec![],
            PeerMessage::Granted { serial, order, .. } => {
                let Some(sent) = agent.renewals.remove(&serial) else {
                    return vec![];
                };
                let Ok(record) = gate::admit_lease(agent.promise.as_ref(), order) else {
                    return vec![];
                };
                self.persist(record);
                let lease = Lease::granted(order, sent, length);
                if lease.until > now && !self.leash_frozen {
                    // It counts only once the leash has echoed the deadline.
                    self.deadline = Some(self.deadline.map_or(lease.until, |d| d.max(lease.until)));
                    if let Some(agent) = &mut self.agent {
                        agent.lease = Some(lease);
                    }
                }
                vec![]
            }
            PeerMessage::Adopted { order, .. } => {
                if agent.promise.is_none() {
                    self.persist(PromiseRecord {
                        group: "group".to_owned(),
                        order,
                        // What it was asked before is unknown.
                        promotion_asked: running,
                    });
                }
                vec![]
            }
            PeerMessage::Command { id, step } => self.command(from, id, step, tick),
        }
    }

    fn command(&mut self, from: usize, id: u64, step: Step, tick: u64) -> Vec<Effect> {
        let now = self.now(tick);
        let agent = self.agent.as_ref().expect("it received");
        let reply = |outcome| {
            vec![Effect::Send {
                to: from,
                message: AgentMessage::Outcome { id, outcome },
            }]
        };
        if let Action::Ask { epoch } = step.action {
            let hears = self.postgres.as_ref().is_some_and(|p| {
                p.receiver.as_ref().is_some_and(|r| {
                    r.streaming
                        && (tick - r.last_heard.min(tick)) * TICK < DEAF_AFTER.as_millis() as u64
                })
            });
            return reply(Outcome::Answer(Answer {
                epoch,
                would_promise: gate::would_promise(agent.promise.as_ref(), epoch),
                hears_primary: hears,
                incarnation: self.observe(tick).incarnation(),
            }));
        }
        let record = match gate::admit(agent.promise.as_ref(), step.order) {
            Ok(record) => record,
            Err(refusal) => return reply(Outcome::Refused(refusal)),
        };
        self.persist(record);
        if let Action::Locate { .. } = step.action {
            let local = self.observe(tick);
            let is_primary = local.lease == Some(step.order.epoch)
                && local
                    .session
                    .as_ref()
                    .is_some_and(|session| !session.in_recovery);
            return reply(if is_primary {
                Outcome::At(self.disk.end().lsn)
            } else {
                Outcome::Failed("it is not the primary".to_owned())
            });
        }
        let agent = self.agent.as_mut().expect("it received");
        if let Some(running) = &mut agent.running
            && running.action == step.action
            && running.order.epoch == step.order.epoch
        {
            running.order = step.order;
            running.reply_to.push((from, id));
            return vec![];
        }
        if broken!(OnlyRenewalGrants) && matches!(step.action, Action::Promote { .. }) {
            let lease = Lease::granted(step.order, now, self.durability.lease_length());
            agent.lease = Some(lease);
            self.deadline = Some(lease.until);
        }
        let mut effects = Vec::new();
        if step.action == Action::Fence {
            effects.push(Effect::FenceAdmitted { order: step.order });
        }
        let agent = self.agent.as_mut().expect("it received");
        if let Some(duty) = Duty::new(&step.action, step.order, now) {
            agent.acting = None;
            agent.running = Some(Running {
                order: step.order,
                deadline: tick + step.action.timeout().as_millis().min(30_000) as u64 / TICK,
                action: step.action,
                duty,
                reply_to: vec![(from, id)],
            });
        }
        effects
    }

    /// One tick of the agent.
    pub fn work(&mut self, tick: u64, random: &mut Random) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.agent.as_ref().is_none_or(|agent| agent.frozen) {
            return effects;
        }
        self.keep_lease(tick, &mut effects);
        let agent = self.agent.as_mut().expect("checked above");
        if agent.promise.is_none() && tick >= agent.next_adoption {
            agent.next_adoption = tick + 25;
            agent.serial += 1;
            let serial = agent.serial;
            effects.extend((0..self.peers).map(|to| Effect::Send {
                to,
                message: AgentMessage::Adopt { serial },
            }));
        }
        let is_idle = agent.running.is_none();
        if !is_idle
            || tick % 5 == self.index as u64 % 5
            || self.postgres.as_ref().is_some_and(|p| !p.postmaster)
        {
            self.watch(tick);
        }
        if !is_idle {
            self.act(tick, random, &mut effects);
        }
        self.try_barrier(tick, &mut effects);
        let agent = self.agent.as_mut().expect("checked above");
        let died = agent.saw_running && self.postgres.as_ref().is_none_or(|p| !p.postmaster);
        if died {
            agent.saw_running = false;
        } else if self.postgres.as_ref().is_some_and(|p| p.answers(tick)) {
            agent.saw_running = true;
        }
        if died || tick >= agent.next_report {
            agent.next_report = tick + 25;
            if let Some(report) = self.report(tick) {
                effects.extend((0..self.peers).map(|to| Effect::Send {
                    to,
                    message: AgentMessage::Report(report.clone()),
                }));
            }
        }
        effects
    }

    fn keep_lease(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let length = self.durability.lease_length();
        let agent = self.agent.as_mut().expect("it works");
        let Some(lease) = agent.lease else { return };
        if lease.live(now).is_none() {
            agent.lease = None;
            agent.stopped = Stopped::LeaseEnded;
            agent.next_report = tick;
            self.postgres = None;
        } else if now >= lease.renew_at(length) && tick >= agent.next_renewal {
            agent.next_renewal = tick + 15;
            self.renew(tick, effects);
        }
    }

    fn renew(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it works");
        agent.serial += 1;
        let serial = agent.serial;
        agent.renewals.insert(serial, now);
        if agent.renewals.len() > 8 {
            agent.renewals.pop_first();
        }
        effects.extend((0..self.peers).map(|to| Effect::Send {
            to,
            message: AgentMessage::Renew { serial },
        }));
    }

    fn watch(&mut self, tick: u64) {
        if self.postgres.is_none() {
            return;
        }
        let local = self.observe(tick);
        if watch::must_stop(&local).is_some() {
            let died = !local.has_postmaster;
            self.stop_all(
                tick,
                if died {
                    Stopped::Died
                } else {
                    Stopped::LeaseEnded
                },
            );
        }
    }

    fn stop_all(&mut self, tick: u64, why: Stopped) {
        self.postgres = None;
        let agent = self.agent.as_mut().expect("it works");
        agent.stopped = why;
        agent.barrier = None;
        agent.next_report = tick;
        if let Some(promise) = agent.promise.clone()
            && promise.promotion_asked
        {
            self.persist(PromiseRecord {
                promotion_asked: false,
                ..promise
            });
        }
    }

    fn finish(&mut self, outcome: Outcome, tick: u64, effects: &mut Vec<Effect>) {
        let agent = self.agent.as_mut().expect("it works");
        if let Some(running) = agent.running.take() {
            effects.extend(running.reply_to.into_iter().map(|(to, id)| Effect::Send {
                to,
                message: AgentMessage::Outcome {
                    id,
                    outcome: outcome.clone(),
                },
            }));
        }
        agent.next_report = tick;
    }

    fn act(&mut self, tick: u64, random: &mut Random, effects: &mut Vec<Effect>) {
        let agent = self.agent.as_mut().expect("it works");
        let act = match agent.acting.take() {
            Some((until, act)) if until > tick => {
                agent.acting = Some((until, act));
                return;
            }
            Some((_, act)) => act,
            None => {
                let local = self.observe(tick);
                let agent = self.agent.as_mut().expect("it works");
                let Some(running) = &mut agent.running else {
                    return;
                };
                if tick > running.deadline {
                    self.finish(
                        Outcome::Failed("it took too long".to_owned()),
                        tick,
                        effects,
                    );
                    return;
                }
                let act = running.duty.next(&local);
                let takes = self.begin(&act, random);
                if takes > 0 {
                    self.agent.as_mut().expect("it works").acting = Some((tick + takes, act));
                    return;
                }
                act
            }
        };
        self.perform(act, tick, random, effects);
    }

    /// What an act does at its beginning, and how many ticks it takes.
    fn begin(&mut self, act: &Act, random: &mut Random) -> u64 {
        match act {
            Act::Look | Act::Finish(_) | Act::Renew => 0,
            Act::Rewind { .. } => {
                self.disk.incarnation = None;
                self.disk.interrupted = true;
                random.between(10, 60)
            }
            Act::Clone { .. } => random.between(20, 150),
            _ => random.below(3),
        }
    }

    fn perform(&mut self, act: Act, tick: u64, random: &mut Random, effects: &mut Vec<Effect>) {
        let index_of = |address: &Address, all: &[Address]| {
            all.iter()
                .position(|a| a == address)
                .expect("a known address")
        };
        match act {
            Act::Look => {}
            Act::Finish(outcome) => self.finish(outcome, tick, effects),
            Act::StopAll => self.stop_all(tick, Stopped::Ordered),
            Act::Renew => {
                let agent = self.agent.as_mut().expect("it works");
                if tick >= agent.next_renewal {
                    agent.next_renewal = tick + 3;
                    self.renew(tick, effects);
                }
            }
            Act::ScanThenPromise => {
                let order = self
                    .agent
                    .as_ref()
                    .and_then(|a| a.running.as_ref())
                    .map(|r| r.order);
                effects.extend(order.map(|order| Effect::Fenced { order }));
                let mut position = self.disk.exists.then(|| self.disk.end());
                if broken!(ScannedPosition)
                    && let (Some(position), Some(postgres)) = (&mut position, &self.postgres)
                    && postgres.in_recovery
                {
                    position.lsn = primacy::model::Lsn(postgres.remembered as u64);
                    position.timeline = primacy::model::Timeline(
                        self.disk.wal[..postgres.remembered]
                            .last()
                            .map_or(1, |r| r.timeline),
                    );
                }
                let promise = Promise {
                    incarnation: self.observe(tick).incarnation(),
                    position,
                    running: self.postgres.is_some(),
                };
                let evidence = Evidence::Promised {
                    instance: self.id.clone(),
                    promise,
                };
                self.finish(Outcome::Evidence(evidence), tick, effects);
            }
            Act::Plant { below } => {
                let from = self.disk.highest_timeline().0 + 1;
                self.disk.planted.extend(from..below.0);
            }
            Act::Initialise { incarnation } => {
                if !self.disk.exists {
                    self.disk = Disk {
                        exists: true,
                        wal: vec![crate::postgres::Record {
                            timeline: 1,
                            value: 0,
                        }],
                        real: [1].into(),
                        incarnation: Some((self.index, incarnation)),
                        ..Disk::default()
                    };
                }
            }
            Act::Rewind { source } => {
                let source = index_of(&source.address, &self.addresses);
                effects.push(Effect::CopyFrom {
                    source,
                    rewind: true,
                });
            }
            Act::Clone { source } => {
                let source = index_of(&source.address, &self.addresses);
                effects.push(Effect::CopyFrom {
                    source,
                    rewind: false,
                });
            }
            Act::Settle { incarnation, .. } => {
                self.disk.incarnation = Some((self.index, incarnation));
                self.disk.interrupted = false;
                self.disk.names = String::new();
                self.disk.source = None;
                self.disk.standby_signal = true;
            }
            Act::StartStandby { source } => {
                if self.postgres.is_some() {
                    return;
                }
                self.disk.standby_signal = true;
                let highest = self.disk.real.last().copied().unwrap_or(0);
                self.disk.planted.retain(|n| *n < highest);
                self.disk.source = source.map(|source| crate::postgres::SourceConf {
                    node: index_of(&source.address, &self.addresses),
                    name: source.application_name,
                });
                self.postgres = Some(Postgres::start(&self.disk, tick, random));
                if let Some(promise) = self.agent.as_ref().and_then(|a| a.promise.clone())
                    && promise.promotion_asked
                {
                    self.persist(PromiseRecord {
                        promotion_asked: false,
                        ..promise
                    });
                }
            }
            Act::EmptySources
            | Act::PauseReplay
            | Act::ResumeReplay
            | Act::TerminateReceivers
            | Act::ConfigurePrimary { .. }
            | Act::PointAt { .. }
            | Act::AskPromotion => self.sql(act, tick, random, effects),
        }
    }

    /// Acts that need a server that answers.
    fn sql(&mut self, act: Act, tick: u64, random: &mut Random, effects: &mut Vec<Effect>) {
        let answers = self.postgres.as_ref().is_some_and(|p| p.answers(tick));
        if !answers || random.one_in(150) {
            let agent = self.agent.as_mut().expect("it works");
            let outcome = agent
                .running
                .as_mut()
                .and_then(|running| running.duty.failed(&act, "no answer"));
            if let Some(outcome) = outcome {
                self.finish(outcome, tick, effects);
            }
            return;
        }
        if act == Act::AskPromotion
            && let Some(promise) = self.agent.as_ref().and_then(|a| a.promise.clone())
        {
            self.persist(PromiseRecord {
                promotion_asked: true,
                ..promise
            });
        }
        let postgres = self.postgres.as_mut().expect("it answers");
        match act {
            Act::EmptySources => {
                self.disk.source = None;
                postgres.reload(&self.disk, tick, random);
            }
            Act::PauseReplay => {
                if postgres.replay == Replay::Running {
                    postgres.replay = Replay::Requested;
                }
            }
            Act::ResumeReplay => postgres.replay = Replay::Running,
            Act::TerminateReceivers => {
                postgres.receiver = None;
                postgres.retry_at = tick + random.between(1, 5);
            }
            Act::ConfigurePrimary {
                synchronous_standby_names,
            } => {
                self.disk.source = None;
                if !(broken!(OwnSynchronousNames) && postgres.in_recovery) {
                    self.disk.names = synchronous_standby_names;
                }
                postgres.reload(&self.disk, tick, random);
            }
            Act::PointAt { source } => {
                let node = self.addresses.iter().position(|a| *a == source.address);
                self.disk.source = Some(crate::postgres::SourceConf {
                    node: node.expect("a known address"),
                    name: source.application_name,
                });
                postgres.reload(&self.disk, tick, random);
            }
            Act::AskPromotion => {
                // Most take a moment; now and then one completes long after it was asked for.
                let takes = if random.one_in(8) {
                    random.between(50, 300)
                } else {
                    random.between(1, 5)
                };
                postgres.promote_at = Some(tick + takes);
            }
            _ => {}
        }
    }

    fn try_barrier(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let open = self
            .postgres
            .as_ref()
            .is_some_and(|p| p.postmaster && !p.in_recovery);
        if !open && let Some(agent) = &mut self.agent {
            agent.barrier = None;
        }
        if !open || !self.postgres.as_ref().is_some_and(|p| p.answers(tick)) {
            return;
        }
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it works");
        let Some(epoch) = agent.lease.and_then(|lease| lease.live(now)) else {
            return;
        };
        if agent
            .promise
            .as_ref()
            .is_some_and(|promise| promise.promotion_asked)
            && let Some(promise) = agent.promise.clone()
        {
            self.persist(PromiseRecord {
                promotion_asked: false,
                ..promise
            });
        }
        let agent = self.agent.as_mut().expect("it works");
        if agent.barrier.is_none() && agent.first_commit.is_none_or(|(of, _)| of != epoch) {
            effects.push(Effect::Barrier);
        }
    }
}
