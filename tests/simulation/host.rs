//! A database host: its disk, its PostgreSQL, its agent and its leash. The agent runs the product's
//! gate, lease and duties; only observing and acting are modelled.

use std::time::Duration;

use primacy::broken;
use primacy::control::{AgentMessage, PeerMessage};
use primacy::duty::lease::LeaseKeeper;
use primacy::duty::{
    Act, Backing, Data, Duty, Lease, Local, Outcome, PromiseRecord, Replay, Session, SourceSeen,
    Word, WriteProbe, gate, watch,
};
use primacy::model::{
    Address, Answer, Epoch, InstanceId, Lsn, Order, Stopped, SystemIdentifier, Timestamp,
    WalPosition, view::DEAF_AFTER,
};
use primacy::recovery::{Action, Evidence, Promise, Step};

use crate::disk::{Disk, Fault, SourceConf, Trouble};
use crate::network::Talk;
use crate::postgres::Postgres;
use crate::random::Random;

use looks::{Known, Looks};

mod acts;
mod agent;
mod backing;
mod command;
mod duties;
mod lease;
mod looks;
mod report;
mod sight;

/// Milliseconds of one tick.
pub const TICK: u64 = 20;
/// A leash that is later than this was frozen itself.
const LEASH_IS_PROMPT: Duration = Duration::from_millis(100);
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
    /// Looks before this one are too old for it.
    pub first_look: u64,
}

/// The agent's memory; gone when it is killed.
#[derive(Debug, Clone)]
pub struct Agent {
    pub session: u32,
    pub frozen: bool,
    pub promise: Option<PromiseRecord>,
    pub lease: LeaseKeeper,
    pub word: Word,
    pub backing: Backing,
    /// Before this it adopts no epoch.
    pub adopts_from: Timestamp,
    /// Under which order the leash is known to hold a deadline.
    pub armed: Option<Order>,
    /// Deadlines on their way to the leash, when they arrive, and whether they take the place of any other.
    pub arming: Vec<(u64, Lease, bool)>,
    /// When the leash is told to let go.
    pub disarm_at: Option<u64>,
    pub running: Option<Running>,
    /// An act under way: when it is done. It outlives the command that wanted it.
    pub acting: Option<(u64, Act)>,
    /// Why everything is being killed, until nothing is left.
    pub stopping: Option<Stopped>,
    pub looks: Looks,
    pub known: Option<Known>,
    pub probe: WriteProbe,
    /// When it last turned.
    pub turned_at: Timestamp,
    pub next_report: u64,
    pub next_adoption: u64,
    pub stopped: Stopped,
    pub first_commit: Option<(Epoch, Lsn)>,
    /// The epoch's first commit, while it waits for standbys.
    pub barrier: Option<(u32, Epoch)>,
    /// The commit with which a durability is confirmed, if one is under way.
    pub commit: Option<Commit>,
    /// It is being stopped on purpose.
    pub leaving: Option<Leaving>,
}

/// A commit with which a durability is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It is to be begun.
    Asked,
    /// It waits for standbys.
    Waits(u32),
    /// They have acknowledged it.
    Acknowledged,
}

/// A planned stop of an agent, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Leaving {
    pub ask_at: u64,
    /// When it ends without the longer lease.
    pub until: u64,
    /// How long it is away.
    pub back_in: u64,
}

/// A host.
pub struct Host {
    pub index: usize,
    pub id: InstanceId,
    pub clock: HostClock,
    pub disk: Disk,
    pub postgres: Option<Postgres>,
    pub agent: Option<Agent>,
    pub leash_frozen: bool,
    /// The leash's deadline, on the host's clock.
    pub deadline: Option<Timestamp>,
    /// Under which order that deadline was granted, in a file beside the promise.
    pub note: Option<Order>,
    /// Looks at this host fail until then.
    pub blind_until: u64,
    /// Acts and looks take long until then.
    pub slow_until: u64,
    /// Killed processes wait for the disk until then.
    pub stuck_until: u64,
    /// Why the disk takes no writes, if it takes none.
    pub disk_fault: Option<Fault>,
    /// When the disk last took a write, or would have.
    pub wrote_at: u64,
    /// Whether the agent crashes as soon as it has promised a fence.
    pub dies_at_fence: bool,
    /// Whether the leash ended processes in this tick that were a standby's, and why.
    pub leashed: bool,
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
    /// To the agent of another host; `session` is that of the agent which asks.
    Say {
        to: usize,
        session: u32,
        talk: Talk,
    },
    /// Others back its lease.
    Backed,
    /// The data is to be replaced from this host now, by a rewind or a clone.
    CopyFrom {
        source: usize,
        act: Act,
    },
    /// PostgreSQL was told to shut down, under this order.
    ToldToShutDown {
        order: Order,
    },
    /// A fence was carried out for this order.
    Fenced {
        order: Order,
    },
    /// The first commit of this epoch is to be tried.
    Barrier {
        epoch: Epoch,
    },
    /// An empty commit is to be begun.
    Commit,
    FenceAdmitted {
        order: Order,
    },
    /// The agent crashes here.
    Crash,
    /// The agent ends and is back after so many ticks.
    Leave {
        back_in: u64,
    },
}

impl Host {
    fn now(&self, tick: u64) -> Timestamp {
        self.clock.now(tick)
    }

    pub fn start_agent(&mut self, tick: u64) {
        self.sessions += 1;
        let now = self.now(tick);
        // The lease whose end the leash holds is taken over if it is of the epoch promised.
        let held = self.deadline.zip(self.note);
        let held = held.map(|(until, order)| Lease { order, until });
        let promised = self.promise.as_ref().map(|it| it.order.epoch);
        let taken_over = held.filter(|lease| Some(lease.order.epoch) == promised);
        let mut lease = LeaseKeeper::default();
        if let Some(held) = taken_over {
            lease.take_over(held, now);
        }
        self.agent = Some(Agent {
            session: self.sessions,
            frozen: false,
            promise: self.promise.clone(),
            lease,
            word: Word::at_start(self.promise.as_ref(), now),
            backing: Backing::default(),
            adopts_from: match self.disk.incarnation {
                Some(_) => Word::may_be_forgotten(now),
                None => now,
            },
            armed: held.map(|lease| lease.order),
            arming: Vec::new(),
            disarm_at: None,
            running: None,
            acting: None,
            stopping: None,
            looks: Looks::new(tick),
            known: None,
            probe: WriteProbe::default(),
            turned_at: Timestamp::default(),
            next_report: tick,
            next_adoption: tick,
            stopped: Stopped::Found,
            first_commit: None,
            barrier: None,
            commit: None,
            leaving: None,
        });
    }

    /// SIGKILL to the agent. What it asked of PostgreSQL happens all the same, or not.
    pub fn end_agent(&mut self, tick: u64, random: &mut Random) -> Option<Agent> {
        let agent = self.agent.take()?;
        match &agent.acting {
            Some((until, act @ (Act::PauseReplay | Act::ResumeReplay | Act::AskPromotion)))
                if random.chance(50) =>
            {
                if let Some(postgres) = &mut self.postgres {
                    postgres.late.push((until.max(&tick) + 1, act.clone()));
                }
            }
            // Between the two renames of a clone there is no data folder.
            Some((_, Act::Clone { .. })) if random.one_in(4) => self.disk = Disk::default(),
            // A crashed target is recovered without the signal file before it is rewound.
            Some((_, Act::Rewind { .. })) if random.one_in(4) => self.disk.standby_signal = false,
            _ => {}
        }
        Some(agent)
    }

    fn persist(&mut self, record: PromiseRecord) {
        if !(broken!(PersistedPromise) && self.promise.is_some()) {
            self.promise = Some(record.clone());
        }
        if let Some(agent) = &mut self.agent {
            agent.promise = Some(record);
        }
    }

    /// Why the disk takes no writes now, if it takes none.
    pub fn disk_fault(&self, tick: u64) -> Option<Fault> {
        self.disk_fault.filter(|fault| tick < fault.until)
    }

    /// Whether the disk takes writes.
    pub fn writes(&self, tick: u64) -> bool {
        self.disk_fault(tick).is_none()
    }

    /// Whether the promise can be replaced by this one.
    fn keeps(&self, record: &PromiseRecord, tick: u64) -> bool {
        let fault = self.disk_fault(tick);
        self.promise.as_ref() == Some(record) || !fault.is_some_and(|fault| fault.holds_promise)
    }

    /// SIGKILL to every process of the instance.
    pub fn kill_postgres(&mut self, tick: u64, random: &mut Random) {
        if let Some(postgres) = &mut self.postgres {
            postgres.kill(tick, self.stuck_until, random);
        }
    }

    /// The power fails: no process is left, and of the WAL only what was flushed.
    pub fn lose_power(&mut self) {
        self.agent = None;
        self.postgres = None;
        self.deadline = None;
        self.leash_frozen = false;
        self.disk.lose_power();
    }

    /// The leash: kills everything once the deadline has passed.
    pub fn leash(&mut self, tick: u64, random: &mut Random) {
        self.leashed = false;
        if self.leash_frozen || self.deadline.is_none_or(|until| self.now(tick) < until) {
            return;
        }
        let late = self
            .deadline
            .take()
            .map(|until| self.now(tick).since(until));
        self.leashed = self.postgres.is_some();
        if broken!(LeashKillsAll) {
            if let Some(postgres) = &mut self.postgres {
                postgres.postmaster = false;
                postgres.orphans_until = tick + 100;
            }
        } else if late.is_some_and(|late| late > LEASH_IS_PROMPT) {
            // That a resumed host may acknowledge for the moment until its leash has killed it is a
            // stated limit of async clusters: here that moment has no length.
            if let Some(postgres) = &mut self.postgres {
                postgres.die(tick, self.stuck_until);
            }
        } else {
            self.kill_postgres(tick, random);
        }
    }
}
