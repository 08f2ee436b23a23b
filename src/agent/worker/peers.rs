//! What peers say, and what is said to them.

use std::sync::Arc;
use std::time::Duration;

use super::leaving::Leaving;
use super::{Peer, Question, Worker};
use crate::agent::chain;
use crate::agent::perform::is_droppable;
use crate::agent::running::{Running, Waiter};
use crate::agent::session::{Incoming, SessionId};
use crate::clock;
use crate::control::{AgentMessage, PeerMessage};
use crate::duty::Outcome;
use crate::gate::GateError;
use crate::model::{Order, Stopped, Timestamp};
use crate::recovery::{Action, Step};

impl Worker {
    pub(super) async fn on_incoming(&mut self, incoming: Incoming) {
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
                if self
                    .peers
                    .get(&session.peer)
                    .is_some_and(|it| it.session == session)
                {
                    self.peers.remove(&session.peer);
                    self.forget_whoever_left();
                }
            }
            Incoming::Said(session, message) => self.on_message(session, message).await,
            Incoming::Back(asked) => self.back(asked).await,
            Incoming::Stop(may_end) => self.leaving = Some(Leaving::new(may_end)),
        }
    }

    pub(super) async fn on_message(&mut self, session: SessionId, message: PeerMessage) {
        let Some(peer) = self
            .peers
            .get_mut(&session.peer)
            .filter(|it| it.session == session)
        else {
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
        // That of the promise, or without one that under which the data was filled.
        let obeyed = self.outlets.group.borrow().clone();
        if obeyed.is_some_and(|ours| ours != group) {
            return;
        }
        match message {
            PeerMessage::Welcome { .. }
            | PeerMessage::TurnedAway { .. }
            | PeerMessage::Peers { .. } => {}
            PeerMessage::Granted {
                serial,
                order,
                length,
            } => self.on_granted(serial, order, length).await,
            PeerMessage::GrantedWithBackers {
                serial,
                order,
                length,
                backers,
            } => {
                if self.lease.has_sent(serial) {
                    let now = clock::boottime();
                    self.backing.told(serial, order.epoch, backers, now);
                }
                self.on_granted(serial, order, length).await;
            }
            PeerMessage::NotThePrimary { serial } => {
                tracing::debug!(serial, "not the primary");
                self.backing.denied();
            }
            PeerMessage::Adopted { serial, order } => {
                if (1..=self.adopt_serial).contains(&serial) {
                    self.on_adopted(group, order).await;
                }
            }
            PeerMessage::Declined {
                serial,
                why,
                lasting,
            } => self.on_declined(serial, why, lasting),
            PeerMessage::Command { id, step } => {
                self.on_command(Waiter { session, id }, step).await;
            }
        }
    }

    /// What lasts is a matter for whoever reads the log: said once.
    fn on_declined(&mut self, serial: u64, why: String, lasting: bool) {
        if !lasting {
            tracing::debug!(serial, why, "declined");
        } else if self.declined.as_ref() != Some(&why) {
            tracing::error!(
                why,
                "the peers do not know this agent, and nothing is done here"
            );
            self.declined = Some(why);
        }
    }

    pub(super) async fn on_adopted(&mut self, group: String, order: Order) {
        if self.promise.record().is_some() {
            self.lease.note_present(order);
            return;
        }
        match self.promise.adopt(&group, order).await {
            Ok(()) => {
                tracing::info!(%order, group, "the present epoch is adopted");
                self.declined = None;
                self.outlets.group.send_replace(Some(group));
                self.publish();
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "adopt the present epoch")
            }
        }
    }

    pub(super) async fn on_granted(&mut self, serial: u64, order: Order, length: Duration) {
        let Some(lease) = self.lease.granted(serial, order, length) else {
            return;
        };
        if self.releasing {
            return;
        }
        match self.promise.admit_lease(order).await {
            Ok(()) => {}
            Err(GateError::Refused(refusal)) => {
                tracing::info!(%order, %refusal, "a lease is refused");
                return;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "a lease is not admitted");
                return;
            }
        }
        self.arm(lease);
    }

    pub(super) async fn on_command(&mut self, waiter: Waiter, step: Step) {
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
            self.wait_for_look(Question::Ask(waiter, epoch));
            return;
        }
        let admission = match self.promise.admit(order).await {
            Ok(admission) => Arc::new(admission),
            Err(GateError::Refused(refusal)) => {
                tracing::info!(action = action.name(), %order, %refusal, "refused");
                self.send(waiter, Outcome::Refused(refusal));
                return;
            }
            Err(error) => {
                if action == Action::Fence && self.known.processes.is_running {
                    // It cannot promise to stop for good, but it can stop.
                    self.stop(Stopped::Ordered, "its promise cannot be kept on disk");
                }
                self.send(waiter, Outcome::Failed(chain(&error)));
                return;
            }
        };
        // A newer epoch voids the lease: the health endpoint says so at once.
        self.publish();
        if let Action::Locate { .. } = action {
            self.wait_for_look(Question::Locate(waiter, order));
            return;
        }
        if let Action::Confirm { .. } = action {
            self.backing.forget(self.lease.last_serial());
        }
        if let Some(running) = &mut self.running {
            let sets_names = matches!(action, Action::Configure { .. } | Action::Confirm { .. });
            if running.duty.shuts_down() == Some(true) && sets_names {
                let why = "it is being shut down".to_owned();
                self.send(waiter, Outcome::Failed(why));
                return;
            }
            if running.is_same(&action, order) {
                running.admission = admission;
                running.waiters.push(waiter);
                return;
            }
            self.replace(order);
        }
        let now = clock::boottime();
        self.want_slots(&action, Arc::clone(&admission));
        let log_from = match &action {
            Action::Follow { .. } | Action::Rebuild { .. } => {
                let length = self.in_log(|hands| Some(hands.log_length())).await;
                // Words of before speak of another command: without a beginning, none is read.
                length.unwrap_or(u64::MAX)
            }
            Action::Ask { .. }
            | Action::Fence
            | Action::Promote { .. }
            | Action::Initialise { .. }
            | Action::Configure { .. }
            | Action::Confirm { .. }
            | Action::Locate { .. }
            | Action::TakeOver
            | Action::ShutDown => 0,
        };
        self.commands += 1;
        self.running = Running::new(action, admission, waiter, now, self.looks + 1, log_from);
        self.look_anew();
    }

    /// A shutdown that nobody waits for any more is dropped while PostgreSQL was not told: the leader that ordered it may be
    /// deposed, and its successor says so again, or gives it up.
    fn forget_whoever_left(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        if running.duty.shuts_down() != Some(false) {
            return;
        }
        let peers = &self.peers;
        running.waiters.retain(|waiter| {
            let peer = peers.get(&waiter.session.peer);
            peer.is_some_and(|it| it.session == waiter.session)
        });
        if running.waiters.is_empty() {
            self.end_early("whoever ordered it is gone".to_owned());
        }
    }

    /// A newer command takes the place of the one under way.
    pub(super) fn replace(&mut self, order: Order) {
        self.end_early(format!("replaced by command {order}"));
    }

    fn end_early(&mut self, why: String) {
        if let Some(acting) = &self.acting
            && is_droppable(&acting.act)
        {
            acting.handle.abort();
        }
        self.finish(Outcome::Failed(why));
    }

    pub(super) fn send(&mut self, waiter: Waiter, outcome: Outcome) {
        let peer = self.peers.get(&waiter.session.peer);
        let Some(peer) = peer.filter(|it| it.session == waiter.session) else {
            return;
        };
        let message = AgentMessage::Outcome {
            id: waiter.id,
            outcome,
        };
        if peer.outbox.try_send(message).is_err() {
            tracing::warn!(
                peer = waiter.session.peer,
                "a peer does not read; an outcome is lost to it"
            );
        }
    }

    pub(super) fn tell_all(&self, message: impl Fn() -> AgentMessage) {
        for peer in self.peers.values() {
            // Full: its session is ending, and the next one asks anew.
            let _ = peer.outbox.try_send(message());
        }
    }
}
