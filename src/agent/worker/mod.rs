//! The one task that owns the instance: events in, one look or act at a time out.
//!
//! It never waits for PostgreSQL, the data disk or a peer: looks and acts run beside it, so that
//! renewals, reports, a dead postmaster and the end of a lease are always dealt with at once. What it
//! waits for is its own state folder (the fsync of the promise; looks at PostgreSQL's log and, at its start, at the
//! note of the lease) and, for half a second at most, the removal of a `promote` file.

mod answers;
mod arming;
mod backing;
mod barrier;
mod duties;
mod events;
mod late;
mod leaving;
mod looks;
mod peers;
mod probe;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::agent::health::Health;
use crate::agent::observe::Seen;
use crate::agent::perform::Tools;
use crate::agent::report::Known;
use crate::agent::running::{Running, Waiter};
use crate::agent::session::{Incoming, SessionId};
use crate::clock;
use crate::control::{AgentMessage, REPORT_EVERY};
use crate::duty::lease::LeaseKeeper;
use crate::duty::{Act, Backing, Data, Lease, Outcome, Word, WriteProbe};
use crate::gate::PromiseStore;
use crate::host::Death;
use crate::model::{Epoch, InstanceId, Lsn, Order, Report, Stopped, Timeline, Timestamp};
use crate::recovery::Action;
use arming::Arming;
use leaving::Leaving;
use looks::Looking;

/// How often to look while a duty waits for something.
const BUSY_LOOK: Duration = Duration::from_millis(3);
/// How often to look while a duty waits for a lease, a server to start or a source.
const PATIENT_LOOK: Duration = Duration::from_millis(15);
/// A worker that did not turn for this long, four times its longest pause, was frozen or got no processor. How
/// long others have said nothing meanwhile, it cannot tell.
const GAP: Duration = Duration::from_secs(2);
/// How long the worker itself waits for the data folder, or for PostgreSQL's log.
const FOLDER_WITHIN: Duration = Duration::from_millis(500);
/// Questions of one session that wait for a look; of more than these the asker has given the first ones up.
const QUESTIONS: usize = 8;

/// Where the worker says what it knows.
#[derive(Debug)]
pub struct Outlets {
    /// For the peers.
    pub reports: watch::Sender<Option<Report>>,
    /// For the health listener.
    pub health: watch::Sender<Health>,
    /// The Raft group that is obeyed.
    pub group: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct Peer {
    session: SessionId,
    outbox: mpsc::Sender<AgentMessage>,
    group: Option<String>,
}

/// A question that is answered from a look which begins after it came.
#[derive(Debug)]
enum Question {
    Ask(Waiter, Epoch),
    Locate(Waiter, Order),
}

impl Question {
    fn session(&self) -> SessionId {
        match self {
            Question::Ask(waiter, _) | Question::Locate(waiter, _) => waiter.session,
        }
    }
}

#[derive(Debug)]
struct Acting {
    /// The command that it is done for, counted; a newer one may have taken its place.
    command: u64,
    act: Act,
    handle: AbortHandle,
}

enum Done {
    Looked(u64, Box<Result<Seen, String>>),
    Acted(Result<Option<Outcome>, String>),
    Stopped(Result<(), String>),
    Disarmed(Result<(), String>),
    Armed(u64, Lease, Result<(), String>),
    Barrier(Epoch, Result<Lsn, String>),
    Slots(Vec<String>, Result<(), String>),
    Probed(Result<(), String>),
    Backed(InstanceId, Epoch, Timestamp, Result<(), String>),
}

/// The worker of one agent.
pub struct Worker {
    tools: Tools,
    promise: PromiseStore,
    lease: LeaseKeeper,
    backing: Backing,
    /// Those whose answers are awaited.
    asked_backers: BTreeSet<InstanceId>,
    known: Known,
    peers: BTreeMap<usize, Peer>,
    incoming: mpsc::Receiver<Incoming>,
    outlets: Outlets,
    tasks: JoinSet<Done>,
    running: Option<Running>,
    acting: Option<Acting>,
    /// Commands that were begun.
    commands: u64,
    looking: Option<Looking>,
    questions: Vec<Question>,
    looks: u64,
    /// Looks before this one say nothing about what runs now.
    first_trusted: u64,
    look_at: Timestamp,
    /// How long to wait after a look that failed.
    look_pause: Duration,
    folder_read_at: Timestamp,
    death: Option<(i32, Death)>,
    /// The highest timeline that the present postmaster was seen to replay.
    timeline: Timeline,
    stopping: Option<Stopped>,
    /// Why the last look was not complete, if it was not.
    trouble: Option<String>,
    armed: Option<Order>,
    arming: Arming,
    /// How often the leash was told to let go; what it echoed to an earlier request counts for nothing.
    releases: u64,
    /// Whether it is being told so: until then no lease is taken, or it would not be guarded.
    releasing: bool,
    barrier: Option<Epoch>,
    barrier_at: Timestamp,
    slots: Option<slots::Slots>,
    probe: WriteProbe,
    /// When it last turned.
    turned_at: Timestamp,
    /// When this process began.
    began_at: Timestamp,
    adopt_at: Timestamp,
    adopt_serial: u64,
    /// The last lasting reason for which the peers declined.
    declined: Option<String>,
    publish_at: Timestamp,
    /// Nothing is said before the first look has ended, well or not.
    has_looked: bool,
    /// The agent is being stopped on purpose.
    leaving: Option<Leaving>,
}

impl Worker {
    /// A worker that has not looked yet.
    pub fn new(
        tools: Tools,
        promise: PromiseStore,
        incoming: mpsc::Receiver<Incoming>,
        outlets: Outlets,
    ) -> Worker {
        let known = Known {
            insecure: tools.hands.config().plain_http,
            ..Known::default()
        };
        Worker {
            tools,
            promise,
            lease: LeaseKeeper::default(),
            backing: Backing::default(),
            asked_backers: BTreeSet::new(),
            known,
            peers: BTreeMap::new(),
            incoming,
            outlets,
            tasks: JoinSet::new(),
            running: None,
            acting: None,
            commands: 0,
            looking: None,
            questions: Vec::new(),
            looks: 0,
            first_trusted: 0,
            look_at: Timestamp::default(),
            look_pause: Duration::ZERO,
            folder_read_at: Timestamp::default(),
            death: None,
            timeline: Timeline::default(),
            stopping: None,
            trouble: None,
            armed: None,
            arming: Arming::default(),
            releases: 0,
            releasing: false,
            barrier: None,
            barrier_at: Timestamp::default(),
            slots: None,
            probe: WriteProbe::default(),
            turned_at: Timestamp::default(),
            began_at: clock::boottime(),
            adopt_at: Timestamp::default(),
            adopt_serial: 0,
            declined: None,
            publish_at: Timestamp::default(),
            has_looked: false,
            leaving: None,
        }
    }

    /// Works until dropped, or until every session ended.
    pub async fn run(mut self) {
        self.take_over().await;
        loop {
            self.drive().await;
            let until = self.wake_at();
            let pause = until.since(clock::boottime());
            tokio::select! {
                biased;
                () = died(self.death.as_ref()) => self.on_death(),
                Some(ended) = self.tasks.join_next_with_id() => match ended {
                    Ok((_, done)) => self.on_done(done).await,
                    Err(error) => self.on_cancelled(error),
                },
                incoming = self.incoming.recv() => match incoming {
                    Some(incoming) => self.on_incoming(incoming).await,
                    None => return,
                },
                () = sleep(pause) => {}
            }
        }
    }

    /// A lease that the leash still holds from before a restart, if it is of the epoch promised. The
    /// leash is armed either way, and would kill whoever follows.
    async fn take_over(&mut self) {
        let Some(lease) = self.tools.leash.held().await else {
            return;
        };
        self.armed = Some(lease.order);
        if Some(lease.order.epoch) == self.promise.epoch() {
            tracing::info!(epoch = %lease.order.epoch, "the lease is taken over from the leash");
            self.lease.take_over(lease, clock::boottime());
        }
    }

    fn wake_at(&self) -> Timestamp {
        let mut wake = self.publish_at.min(self.look_due());
        if let Some(at) = self.asks_for_order_at() {
            wake = wake.min(at);
        }
        let asks_at = self.leaving.as_ref().map(Leaving::ask_at);
        let moments = [
            self.lease.ends_at(),
            self.renewal_due(),
            self.asks_backers_at(clock::boottime()),
            self.probe.due(),
            asks_at,
        ];
        for moment in moments.into_iter().flatten() {
            wake = wake.min(moment);
        }
        if let Some(running) = &self.running
            && !self.acts_for_it()
        {
            wake = wake.min(running.deadline);
        }
        wake
    }

    fn renewal_due(&self) -> Option<Timestamp> {
        let promotes =
            matches!(&self.running, Some(it) if matches!(it.action, Action::Promote { .. }));
        let needed = promotes || self.known.processes.postmaster.is_some() || self.looks < 2;
        self.lease.renew_at().filter(|_| needed)
    }

    /// When to ask for the present order; none if there is no reason to.
    fn asks_for_order_at(&self) -> Option<Timestamp> {
        let lost_it = self.promise.record().is_none() && self.may_have_filled_data();
        let wanted = self.promise.record().is_none() || self.lease.asks_for_present();
        let from = match lost_it {
            true => Word::may_be_forgotten(self.began_at),
            false => Timestamp::default(),
        };
        wanted.then_some(self.adopt_at.max(from))
    }

    /// Whether its promise would count: only who was filled for this instance may have backed a primary.
    fn may_have_filled_data(&self) -> bool {
        let data = self.known.data.as_ref();
        data.is_none_or(|it| {
            matches!(
                it,
                Data::Cluster {
                    incarnation: Some(_),
                    ..
                }
            )
        })
    }

    async fn drive(&mut self) {
        let now = clock::boottime();
        if now.since(self.turned_at) > GAP {
            self.probe.restart(now);
            self.known.answered_at = now;
        }
        self.turned_at = now;
        if self.asks_for_order_at().is_some_and(|at| now >= at) {
            self.adopt_at = now.after(REPORT_EVERY);
            self.adopt_serial += 1;
            let serial = self.adopt_serial;
            self.tell_all(|| AgentMessage::Adopt { serial });
        }
        if self.lease.has_lapsed(now) {
            self.lease.drop_it();
            let runs = self.known.processes.is_running || self.looks < 2;
            if runs && !crate::broken!(LeaseEnd) {
                self.stop(Stopped::LeaseEnded, "its lease ended");
            }
        }
        if self.renewal_due().is_some_and(|due| now >= due) {
            self.renew(now);
        }
        self.ask_backers(now);
        self.prepare_stop(now);
        self.give_up_late(now).await;
        if self.looking.is_none() && now >= self.look_due() {
            self.begin_look(now);
        }
        self.begin_barrier(now);
        self.keep_slots(now);
        self.begin_probe(now);
        if now >= self.publish_at {
            self.publish();
        }
    }

    fn renew(&mut self, now: Timestamp) {
        let Some(serial) = self.lease.request(now) else {
            return;
        };
        match self.lease.given_up() {
            None => self.tell_all(|| AgentMessage::Renew { serial }),
            Some(stop) => self.tell_all(|| AgentMessage::RenewAfterStop { serial, stop }),
        }
    }

    fn publish(&mut self) {
        let now = clock::boottime();
        self.publish_at = now.after(REPORT_EVERY);
        if !self.has_looked {
            return;
        }
        self.known.promised = self.promise.record().map(|it| it.order);
        self.known.lease = self.lease.live(self.promise.epoch(), now);
        self.judge_disk(now);
        self.outlets
            .reports
            .send_replace(Some(self.known.report(now)));
        let backed_by = match self.backing.carries(now) {
            true => self.backing.by(now),
            false => vec![],
        };
        self.outlets.health.send_replace(Health {
            backed_by,
            ..self.known.health(now)
        });
    }
}

async fn died(death: Option<&(i32, Death)>) {
    match death {
        Some((_, death)) if death.wait().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}
