//! A planned stop of the agent of a primary: before it ends it asks for one longer lease and hands that to the
//! leash, so that PostgreSQL lives on until the agent is back.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Worker;
use crate::control::AgentMessage;
use crate::model::Timestamp;

/// How often the leader is asked: one that was elected a moment ago shall be asked soon.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A stop that waits for its lease.
#[derive(Debug)]
pub(super) struct Leaving {
    ask_at: Timestamp,
    may_end: oneshot::Sender<()>,
}

impl Leaving {
    pub(super) fn new(may_end: oneshot::Sender<()>) -> Leaving {
        Leaving {
            ask_at: Timestamp::default(),
            may_end,
        }
    }

    pub(super) fn ask_at(&self) -> Timestamp {
        self.ask_at
    }
}

impl Worker {
    /// Asks for the longer lease, or lets the agent end: nothing runs that would need one, or the leash has it.
    pub(super) fn prepare_stop(&mut self, now: Timestamp) {
        let Some(mut leaving) = self.leaving.take() else {
            return;
        };
        let is_leased = self.lease.live(self.promise.epoch(), now).is_some();
        let may_run = self.known.processes.is_running || self.looks < 2;
        if self.lease.may_stop() || !is_leased || !may_run {
            // Whoever waits may have given up.
            let _ = leaving.may_end.send(());
            return;
        }
        if now >= leaving.ask_at {
            leaving.ask_at = now.after(ASK_EVERY);
            let serial = self.lease.request_stop(now);
            self.tell_all(|| AgentMessage::PlanStop { serial });
        }
        self.leaving = Some(leaving);
    }
}
