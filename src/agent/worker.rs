//! The one task that owns the instance: events in, one look or act at a time out.
//!
//! It never waits for PostgreSQL, the data disk or a peer: looks and acts run beside it, so that
//! renewals, reports, a dead postmaster and the end of a lease are always dealt with at once. The only
//! thing it waits for is the fsync of the promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::sleep;

use super::hands::Processes;
use super::health::Health;
use super::lease::LeaseKeeper;
use super::observe::{Ask, Seen, look};
use super::perform::{Tools, is_droppable, perform, runs_processes};
use super::report::Known;
use super::running::{Running, Waiter};
use super::session::{Incoming, SessionId};
use crate::clock;
use crate::control::{AgentMessage, PeerMessage, REPORT_EVERY};
use crate::duty::{Act, Data, Lease, Local, Outcome, gate, watch as rules};
use crate::gate::{GateError, PromiseStore};
use crate::host::processes::Death;
use crate::model::view::DEAF_AFTER;
use crate::model::{Answer, Epoch, Lsn, Order, Report, Stopped, Timeline, Timestamp};
use crate::provider::DatabaseProvider;
use crate::recovery::{Action, Step};

/// How often to look while nothing is to be done.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How often to look while a duty waits for something.
const BUSY_LOOK: Duration = Duration::from_millis(3);
/// How often to look while a duty waits for a lease, a server to start or a source.
const PATIENT_LOOK: Duration = Duration::from_millis(15);
/// How often the data folder is read while nothing is to be done.
const FOLDER_EVERY: Duration = Duration::from_secs(5);
/// How long SQL may take in a look for reports.
const IDLE_SQL: Duration = Duration::from_secs(1);
/// The longest checkpoint after a promotion that the first commit waits for.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(600);
/// A barrier that failed is tried again after this.
const BARRIER_AGAIN: Duration = Duration::from_millis(500);

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

#[derive(Debug)]
struct Looking {
    number: u64,
    handle: AbortHandle,
    questions: Vec<Question>,
    is_for_duty: bool,
}

#[derive(Debug)]
struct Acting {
    act: Act,
    handle: AbortHandle,
}

enum Done {
    Looked(Box<Seen>),
    Acted(Result<Option<Outcome>, String>),
    Stopped(Result<(), String>),
    Disarmed(Result<(), String>),
    Armed(Lease, Result<(), String>),
    Barrier(Epoch, Result<Lsn, String>),
}

/// The worker of one agent.
pub struct Worker {
    tools: Tools,
    promise: PromiseStore,
    lease: LeaseKeeper,
    known: Known,
    peers: BTreeMap<usize, Peer>,
    incoming: mpsc::Receiver<Incoming>,
    outlets: Outlets,
    tasks: JoinSet<Done>,
    running: Option<Running>,
    acting: Option<Acting>,
    looking: Option<Looking>,
    questions: Vec<Question>,
    looks: u64,
    /// Looks before this one say nothing about what runs now.
    first_trusted: u64,
    look_at: Timestamp,
    folder_read_at: Timestamp,
    death: Option<(i32, Death)>,
    /// The highest timeline that the present postmaster was seen to replay.
    timeline: Timeline,
    stopping: Option<Stopped>,
    armed: Option<Order>,
    barrier: Option<Epoch>,
    barrier_at: Timestamp,
    adopt_at: Timestamp,
    adopt_serial: u64,
    publish_at: Timestamp,
}

impl Worker {
    /// A worker that has not looked yet.
    pub fn new(
        tools: Tools,
        promise: PromiseStore,
        incoming: mpsc::Receiver<Incoming>,
        outlets: Outlets,
    ) -> Worker {
        Worker {
            tools,
            promise,
            lease: LeaseKeeper::default(),
            known: Known::default(),
            peers: BTreeMap::new(),
            incoming,
            outlets,
            tasks: JoinSet::new(),
            running: None,
            acting: None,
            looking: None,
            questions: Vec::new(),
            looks: 0,
            first_trusted: 0,
            look_at: Timestamp::default(),
            folder_read_at: Timestamp::default(),
            death: None,
            timeline: Timeline::default(),
            stopping: None,
            armed: None,
            barrier: None,
            barrier_at: Timestamp::default(),
            adopt_at: Timestamp::default(),
            adopt_serial: 0,
            publish_at: Timestamp::default(),
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

    /// A lease that the leash still holds from before a restart, if it is of the epoch promised.
    async fn take_over(&mut self) {
        if let Some(lease) = self.tools.leash.held().await
            && Some(lease.order.epoch) == self.promise.epoch()
        {
            tracing::info!(epoch = %lease.order.epoch, "the lease is taken over from the leash");
            self.armed = Some(lease.order);
            self.lease.take_over(lease, clock::boottime());
        }
    }

    // --- what is due --------------------------------------------------------------------------

    fn wake_at(&self) -> Timestamp {
        let mut wake = self.publish_at.min(self.look_due());
        if self.promise.record().is_none() {
            wake = wake.min(self.adopt_at);
        }
        for moment in [self.lease.ends_at(), self.renewal_due()].into_iter().flatten() {
            wake = wake.min(moment);
        }
        if let Some(running) = &self.running
            && self.acting.is_none()
        {
            wake = wake.min(running.deadline);
        }
        wake
    }

    fn look_due(&self) -> Timestamp {
        match (&self.looking, &self.running) {
            (Some(_), _) => Timestamp(u64::MAX),
            (None, _) if !self.questions.is_empty() => Timestamp::default(),
            (None, Some(running)) if self.acting.is_none() => running.look_at.min(self.look_at),
            (None, _) => self.look_at,
        }
    }

    fn renewal_due(&self) -> Option<Timestamp> {
        let promotes = matches!(&self.running, Some(it) if matches!(it.action, Action::Promote { .. }));
        let needed = promotes || self.known.processes.is_running || self.looks < 2;
        self.lease.renew_at().filter(|_| needed)
    }

    async fn drive(&mut self) {
        let now = clock::boottime();
        if self.promise.record().is_none() && now >= self.adopt_at {
            self.adopt_at = now.after(REPORT_EVERY);
            self.adopt_serial += 1;
            let serial = self.adopt_serial;
            self.tell_all(|| AgentMessage::Adopt { serial });
        }
        if self.lease.has_lapsed(now) {
            self.lease.drop_it();
            if self.known.processes.is_running || self.looks < 2 {
                self.stop(Stopped::LeaseEnded, "its lease ended");
            }
        }
        if self.renewal_due().is_some_and(|due| now >= due) {
            self.renew(now);
        }
        self.give_up_late(now);
        if self.looking.is_none() && now >= self.look_due() {
            self.begin_look(now);
        }
        self.begin_barrier(now);
        if now >= self.publish_at {
            self.publish();
        }
    }

    fn renew(&mut self, now: Timestamp) {
        if let Some(serial) = self.lease.request(now) {
            self.tell_all(|| AgentMessage::Renew { serial });
        }
    }

    fn give_up_late(&mut self, now: Timestamp) {
        let late = |running: &Running| self.acting.is_none() && now >= running.deadline;
        if let Some(running) = self.running.as_ref().filter(|running| late(running)) {
            let took = now.since(running.began).as_secs_f32();
            let words = self.tools.hands.last_words().unwrap_or_default();
            let name = running.action.name();
            self.finish(Outcome::Failed(format!(
                "{name} got nowhere for {took:.1} s; PostgreSQL's log ends with: {words}"
            )));
        }
    }

    fn begin_look(&mut self, now: Timestamp) {
        self.looks += 1;
        let is_for_duty = self.running.is_some() && self.acting.is_none();
        let asked = !self.questions.is_empty();
        let folder_is_due =
            is_for_duty || asked || now.since(self.folder_read_at) >= FOLDER_EVERY;
        if folder_is_due {
            self.folder_read_at = now;
        }
        let ask = Ask {
            number: self.looks,
            new_session: is_for_duty || asked,
            sql_within: match &self.running {
                Some(running) if is_for_duty => running.sql_within(),
                _ if asked => Duration::from_millis(300),
                _ => IDLE_SQL,
            },
            data: self.known.data.clone().filter(|_| !folder_is_due),
            timeline: self.timeline,
            postmaster: self.known.processes.postmaster,
        };
        let tools = self.tools.clone();
        let handle = self.tasks.spawn(async move {
            Done::Looked(Box::new(look(tools.hands, tools.provider, ask).await))
        });
        self.looking = Some(Looking {
            number: self.looks,
            handle,
            questions: std::mem::take(&mut self.questions),
            is_for_duty,
        });
        self.look_at = now.after(IDLE_LOOK);
    }

    /// A look under way is of no use for what came meanwhile: begin another.
    fn look_anew(&mut self) {
        if let Some(looking) = self.looking.take() {
            looking.handle.abort();
            self.questions.extend(looking.questions);
        }
        self.look_at = clock::boottime();
    }

    fn begin_barrier(&mut self, now: Timestamp) {
        let is_open = self
            .known
            .reading
            .as_ref()
            .is_some_and(|reading| !reading.session.in_recovery);
        let Some(lease) = self.lease.live(self.promise.epoch(), now) else {
            return;
        };
        let epoch = lease.order.epoch;
        let is_known = self.known.first_commit.is_some_and(|(of, _)| of == epoch);
        let idle = self.running.is_none() && self.barrier.is_none() && now >= self.barrier_at;
        if !is_open || is_known || !idle {
            return;
        }
        self.barrier = Some(epoch);
        let provider = Arc::clone(&self.tools.provider);
        self.tasks.spawn(async move {
            // Before anybody rewinds: pg_rewind believes what the last checkpoint says.
            let acknowledged = match provider.checkpoint(CHECKPOINT_WITHIN).await {
                Ok(()) => provider.barrier(epoch).await,
                Err(error) => Err(error),
            };
            Done::Barrier(epoch, acknowledged.map_err(|error| super::chain(&error)))
        });
    }

    // --- events -------------------------------------------------------------------------------

    fn on_death(&mut self) {
        let pid = self.death.take().map(|(pid, _)| pid);
        let stops_it = matches!(&self.acting, Some(acting) if acting.act == Act::StopAll);
        if self.stopping.is_none() && !stops_it {
            let lapsed = self.lease.has_lapsed(clock::boottime());
            let reason = if lapsed { Stopped::LeaseEnded } else { Stopped::Died };
            tracing::warn!(pid, "the postmaster ended");
            self.stop(reason, "its postmaster ended");
        }
    }

    /// Stops everything at once, whatever else is under way.
    fn stop(&mut self, reason: Stopped, why: &str) {
        if self.stopping.is_some() {
            return;
        }
        tracing::warn!(instance = %self.tools.hands.instance(), why, "every process is being stopped");
        self.stopping = Some(reason);
        let hands = Arc::clone(&self.tools.hands);
        self.tasks.spawn(async move {
            let stopped = hands.stop_all().await;
            Done::Stopped(stopped.map_err(|error| super::chain(&error)))
        });
    }

    fn on_cancelled(&mut self, error: JoinError) {
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic());
        }
        if self
            .acting
            .as_ref()
            .is_some_and(|acting| acting.handle.id() == error.id())
        {
            self.acting = None;
            self.trust_from_now();
        }
    }

    fn trust_from_now(&mut self) {
        self.first_trusted = self.looks + 1;
        if let Some(running) = &mut self.running {
            running.first_look = self.looks + 1;
        }
        self.look_anew();
    }

    async fn on_done(&mut self, done: Done) {
        match done {
            Done::Looked(seen) => {
                let ours = self.looking.as_ref().is_some_and(|it| it.number == seen.number);
                if let Some(looking) = self.looking.take_if(|_| ours) {
                    self.on_seen(*seen, looking.questions, looking.is_for_duty).await;
                }
            }
            Done::Acted(result) => self.on_acted(result).await,
            Done::Stopped(result) => {
                let reason = self.stopping.take();
                match result {
                    Ok(()) => self.all_stopped(reason).await,
                    Err(error) => tracing::error!(error, "not every process could be stopped"),
                }
                self.trust_from_now();
            }
            Done::Disarmed(Ok(())) => {}
            Done::Disarmed(Err(error)) => tracing::debug!(error, "the leash stays armed"),
            Done::Armed(lease, Ok(())) => {
                if Some(lease.order.epoch) == self.promise.epoch() {
                    self.lease.hold(lease);
                    self.armed = Some(lease.order);
                    if let Some(running) = &mut self.running {
                        running.look_at = clock::boottime();
                    }
                    self.publish();
                }
            }
            Done::Armed(_, Err(error)) => {
                tracing::error!(error, "the leash did not take the deadline: the lease does not count");
            }
            Done::Barrier(epoch, result) => {
                self.barrier = None;
                match result {
                    Ok(lsn) => {
                        tracing::info!(%epoch, %lsn, "the first commit of the epoch is acknowledged");
                        self.known.first_commit = Some((epoch, lsn));
                        self.publish();
                    }
                    Err(error) => {
                        tracing::debug!(error, "the first commit is not acknowledged yet");
                        self.barrier_at = clock::boottime().after(BARRIER_AGAIN);
                    }
                }
            }
        }
    }

    /// Nothing runs any more: no lease is needed, and no promotion is under way.
    async fn all_stopped(&mut self, reason: Option<Stopped>) {
        self.known.processes = Processes::default();
        self.known.reading = None;
        self.known.has_answered = false;
        self.known.stopped = reason.or(self.known.stopped);
        self.timeline = Timeline::default();
        self.death = None;
        self.lease.drop_it();
        let leash = self.tools.leash.clone();
        self.tasks
            .spawn(async move { Done::Disarmed(leash.disarm().await) });
        if let Err(error) = self.promise.note_promotion(false).await {
            tracing::error!(error = %super::chain(&error), "the promise could not be kept");
        }
        self.publish();
    }

    async fn on_seen(&mut self, seen: Seen, questions: Vec<Question>, is_for_duty: bool) {
        let before = std::mem::discriminant(&self.known.report(seen.began).database);
        self.learn(&seen);
        let asked = self.promise.promotion_asked();
        let opened = seen.reading.as_ref().is_some_and(|it| !it.session.in_recovery);
        let owns = self.acting.as_ref().is_some_and(|it| runs_processes(&it.act));
        let trusted = seen.number >= self.first_trusted && !owns && self.stopping.is_none();
        let undone = !seen.processes.is_running && trusted;
        if asked && undone {
            // Left behind, the file would promote it as soon as it runs.
            let hands = Arc::clone(&self.tools.hands);
            if hands.stop_all().await.is_err() {
                return;
            }
        }
        if asked
            && (opened || undone)
            && let Err(error) = self.promise.note_promotion(false).await
        {
            tracing::error!(error = %super::chain(&error), "the promise could not be kept");
        }
        let local = self.local(&seen);
        if let Some(local) = &local {
            for question in questions {
                self.answer(question, local);
            }
        } else {
            self.questions.extend(questions);
        }
        if std::mem::discriminant(&self.known.report(seen.began).database) != before {
            self.publish();
        }
        let Some(local) = local else { return };
        if trusted && let Some(why) = rules::must_stop(&local) {
            let reason = if seen.processes.postmaster.is_none() {
                Stopped::Died
            } else {
                Stopped::LeaseEnded
            };
            self.stop(reason, why);
            return;
        }
        let wanted = self
            .running
            .as_ref()
            .is_some_and(|running| seen.number >= running.first_look);
        if is_for_duty && wanted && self.acting.is_none() && self.stopping.is_none() {
            self.continue_duty(local).await;
        }
    }

    fn learn(&mut self, seen: &Seen) {
        let known = &mut self.known;
        known.looked_at = seen.began;
        if known.processes.postmaster != seen.processes.postmaster {
            known.has_answered = false;
            self.timeline = Timeline::default();
        }
        let ended = known.processes.is_running && !seen.processes.is_running;
        if ended && self.stopping.is_none() && self.acting.is_none() {
            known.stopped = Some(Stopped::Died);
        }
        known.processes = seen.processes;
        known.has_answered |= seen.reading.is_some();
        known.is_starting = seen.is_starting;
        known.reading = seen.reading.clone();
        if let Some(reading) = &seen.reading {
            self.timeline = self.timeline.max(reading.session.position.timeline);
        }
        if let Some(data) = &seen.data {
            known.data = Some(data.clone());
        }
        match (seen.processes.postmaster, &self.death) {
            (Some(pid), Some((watched, _))) if pid == *watched => {}
            (Some(pid), _) => match Death::watch(&self.tools.hands.config().data, pid) {
                Ok(death) => self.death = death.map(|death| (pid, death)),
                Err(error) => tracing::error!(%error, "the postmaster cannot be watched"),
            },
            (None, _) => self.death = None,
        }
    }

    fn local(&self, seen: &Seen) -> Option<Local> {
        let data: Data = seen.data.clone().or_else(|| self.known.data.clone())?;
        let lease = self.lease.live(self.promise.epoch(), clock::boottime());
        Some(seen.local(
            &self.tools.hands,
            data,
            lease.map(|lease| lease.order.epoch),
            self.promise.promotion_asked(),
        ))
    }

    fn answer(&mut self, question: Question, local: &Local) {
        match question {
            Question::Ask(waiter, epoch) => {
                let heard = local.session.as_ref().and_then(|it| it.streams.as_ref());
                let answer = Answer {
                    epoch,
                    would_promise: gate::would_promise(self.promise.record(), epoch),
                    hears_primary: heard.is_some_and(|(_, silent)| *silent < DEAF_AFTER),
                    incarnation: local.incarnation(),
                };
                self.send(waiter, Outcome::Answer(answer));
            }
            Question::Locate(waiter, order) => {
                let open = local.session.as_ref().filter(|it| !it.in_recovery);
                let outcome = match open {
                    Some(session) if local.lease == Some(order.epoch) => {
                        Outcome::At(session.position.lsn)
                    }
                    Some(_) => Outcome::Failed("it holds no lease of this epoch".to_owned()),
                    None => Outcome::Failed("it is not a primary that answers".to_owned()),
                };
                self.send(waiter, outcome);
            }
        }
    }

    // --- the duty under way -------------------------------------------------------------------

    async fn continue_duty(&mut self, local: Local) {
        let now = clock::boottime();
        let Some(running) = &mut self.running else { return };
        let act = running.duty.next(&local);
        if running.must_pause(&act, now) {
            running.look_at = now.after(PATIENT_LOOK);
            return;
        }
        match act {
            Act::Look => {
                let waits_long = !matches!(running.action, Action::Fence)
                    && !(local.promotion_asked && local.session.is_some());
                let pause = if waits_long { PATIENT_LOOK } else { BUSY_LOOK };
                running.look_at = now.after(pause);
            }
            Act::Renew => {
                running.look_at = now.after(PATIENT_LOOK);
                self.renew(now);
            }
            Act::Finish(outcome) => self.finish(outcome),
            act => {
                running.progressed(now);
                tracing::debug!(?act, order = %running.admission.order(), "act");
                if act == Act::AskPromotion
                    && let Err(error) = self.promise.note_promotion(true).await
                {
                    self.finish(Outcome::Failed(super::chain(&error)));
                    return;
                }
                self.begin_act(act, local);
            }
        }
    }

    fn begin_act(&mut self, act: Act, local: Local) {
        let Some(running) = &self.running else { return };
        let (tools, by, within) = (self.tools.clone(), running.admission, running.sql_within());
        let done = act.clone();
        let handle = self.tasks.spawn(async move {
            Done::Acted(perform(&tools, &by, &done, &local, within).await)
        });
        self.acting = Some(Acting { act, handle });
    }

    async fn on_acted(&mut self, result: Result<Option<Outcome>, String>) {
        let Some(acting) = self.acting.take() else { return };
        let ran = self.known.processes.is_running;
        if acting.act == Act::StopAll && result.is_ok() {
            let reason = ran.then_some(Stopped::Ordered);
            self.all_stopped(reason).await;
        }
        self.trust_from_now();
        let Some(running) = &mut self.running else { return };
        let now = clock::boottime();
        running.look_at = now;
        running.progressed(now);
        match result {
            Ok(None) => {}
            Ok(Some(outcome)) => self.finish(outcome),
            Err(why) => {
                tracing::warn!(act = ?acting.act, why, "an act failed");
                if let Some(outcome) = running.duty.failed(&acting.act, &why) {
                    self.finish(outcome);
                }
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        let Some(running) = self.running.take() else { return };
        let took_ms = clock::boottime().since(running.began).as_millis() as u64;
        tracing::info!(
            instance = %self.tools.hands.instance(),
            action = running.action.name(),
            order = %running.admission.order(),
            took_ms,
            ?outcome,
            "the command ended"
        );
        for waiter in running.waiters {
            self.send(waiter, outcome.clone());
        }
        self.publish();
        self.look_anew();
    }

    // --- peers --------------------------------------------------------------------------------

    async fn on_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Opened(session, outbox) => {
                let peer = Peer {
                    session,
                    outbox,
                    group: None,
                };
                self.peers.insert(session.peer, peer);
                self.adopt_at = Timestamp::default();
            }
            Incoming::Closed(session) => {
                if self.peers.get(&session.peer).is_some_and(|it| it.session == session) {
                    self.peers.remove(&session.peer);
                }
            }
            Incoming::Said(session, message) => self.on_message(session, message).await,
        }
    }

    async fn on_message(&mut self, session: SessionId, message: PeerMessage) {
        let Some(peer) = self.peers.get_mut(&session.peer).filter(|it| it.session == session) else {
            return;
        };
        if let PeerMessage::Welcome { group, .. } = message {
            peer.group = Some(group);
            return;
        }
        let Some(group) = peer.group.clone() else {
            tracing::warn!("a peer that has not said its Raft group is not obeyed");
            return;
        };
        if self.promise.record().is_some_and(|it| it.group != group) {
            return;
        }
        match message {
            PeerMessage::Welcome { .. } => {}
            PeerMessage::Granted {
                serial,
                order,
                length,
            } => self.on_granted(serial, order, length).await,
            PeerMessage::Adopted { serial, order } => {
                if (1..=self.adopt_serial).contains(&serial) {
                    self.on_adopted(group, order).await;
                }
            }
            PeerMessage::Declined { serial, why } => tracing::debug!(serial, why, "declined"),
            PeerMessage::Command { id, step } => {
                self.on_command(Waiter { session, id }, step).await;
            }
        }
    }

    async fn on_adopted(&mut self, group: String, order: Order) {
        if self.promise.record().is_some() {
            return;
        }
        match self.promise.adopt(&group, order).await {
            Ok(()) => {
                tracing::info!(%order, group, "the present epoch is adopted");
                self.outlets.group.send_replace(Some(group));
                self.publish();
            }
            Err(error) => tracing::error!(error = %super::chain(&error), "adopt the present epoch"),
        }
    }

    async fn on_granted(&mut self, serial: u64, order: Order, length: Duration) {
        let Some(record) = self.promise.record() else { return };
        let promised = record.order;
        if order.epoch < promised.epoch {
            return;
        }
        let Some(lease) = self.lease.granted(serial, order, length) else {
            return;
        };
        if order > promised
            && let Err(error) = self.promise.admit(order).await
        {
            tracing::error!(error = %super::chain(&error), "a lease is not admitted");
            return;
        }
        let is_new = self.armed != Some(order);
        let leash = self.tools.leash.clone();
        self.tasks
            .spawn(async move { Done::Armed(lease, leash.arm(lease, is_new).await) });
    }

    async fn on_command(&mut self, waiter: Waiter, step: Step) {
        let Step {
            instance,
            order,
            action,
        } = step;
        if instance != *self.tools.hands.instance() {
            let why = format!("this is the agent of {}", self.tools.hands.instance());
            self.send(waiter, Outcome::Failed(why));
            return;
        }
        if let Action::Ask { epoch } = action {
            self.questions.push(Question::Ask(waiter, epoch));
            self.look_anew();
            return;
        }
        let admission = match self.promise.admit(order).await {
            Ok(admission) => admission,
            Err(GateError::Refused(refusal)) => {
                tracing::info!(action = action.name(), %order, %refusal, "refused");
                self.send(waiter, Outcome::Refused(refusal));
                return;
            }
            Err(error) => {
                self.send(waiter, Outcome::Failed(super::chain(&error)));
                return;
            }
        };
        if let Action::Locate { .. } = action {
            self.questions.push(Question::Locate(waiter, order));
            self.look_anew();
            return;
        }
        if let Some(running) = &mut self.running {
            if running.is_same(&action, order) {
                running.admission = admission;
                running.waiters.push(waiter);
                return;
            }
            self.replace(order);
        }
        let now = clock::boottime();
        self.running = Running::new(action, admission, waiter, now, self.looks + 1);
        self.look_anew();
    }

    /// A newer command takes the place of the one under way.
    fn replace(&mut self, order: Order) {
        if let Some(acting) = &self.acting
            && is_droppable(&acting.act)
        {
            acting.handle.abort();
        }
        self.finish(Outcome::Failed(format!("replaced by command {order}")));
    }

    fn send(&mut self, waiter: Waiter, outcome: Outcome) {
        let peer = self.peers.get(&waiter.session.peer);
        let Some(peer) = peer.filter(|it| it.session == waiter.session) else {
            return;
        };
        let message = AgentMessage::Outcome {
            id: waiter.id,
            outcome,
        };
        if peer.outbox.try_send(message).is_err() {
            tracing::warn!(peer = waiter.session.peer, "a peer does not read; an outcome is lost to it");
        }
    }

    fn tell_all(&self, message: impl Fn() -> AgentMessage) {
        for peer in self.peers.values() {
            // Full: its session is ending, and the next one asks anew.
            let _ = peer.outbox.try_send(message());
        }
    }

    fn publish(&mut self) {
        let now = clock::boottime();
        self.publish_at = now.after(REPORT_EVERY);
        if self.known.data.is_none() {
            return;
        }
        self.known.promised = self.promise.record().map(|it| it.order);
        self.known.lease = self.lease.live(self.promise.epoch(), now);
        self.outlets.reports.send_replace(Some(self.known.report(now)));
        self.outlets.health.send_replace(self.known.health(now));
    }
}

async fn died(death: Option<&(i32, Death)>) {
    match death {
        Some((_, death)) if death.wait().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}
