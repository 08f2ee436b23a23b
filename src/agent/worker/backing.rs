//! Being backed by other agents while the peers are out of reach, and backing another.

use super::answers::hears;
use super::{Done, Worker};
use crate::agent::backing::{self, Asked};
use crate::clock;
use crate::control::backing::BackRequest;
use crate::duty::backing::BACKED_FOR;
use crate::model::{Database, DiskTrouble, Epoch, InstanceId, Timestamp};

impl Worker {
    /// When to ask the others; none without a lease.
    pub(super) fn asks_backers_at(&self, now: Timestamp) -> Option<Timestamp> {
        let lease = self.lease.live(self.promise.epoch(), now)?;
        let is_wanted = self.lease.is_own() && self.leaving.is_none();
        let at = self.backing.ask_at(Some(lease), self.lease.length());
        at.filter(|_| is_wanted)
    }

    /// Asks them, once the lease was not renewed in time, for a primary that serves.
    pub(super) fn ask_backers(&mut self, now: Timestamp) {
        if self.asks_backers_at(now).is_none_or(|at| now < at) {
            return;
        }
        let (epoch, backers) = self.backing.ask(now);
        let (agents, receiving) = (backers.agents.clone(), backers.receiving);
        let report = self.known.report(now);
        let fails = report.disk.as_ref().is_some_and(DiskTrouble::is_failure);
        let serves = matches!(report.database, Database::Primary { .. }) && !fails;
        let Some(group) = self.outlets.group.borrow().clone().filter(|_| serves) else {
            return;
        };
        let hands = &self.tools.hands;
        let (cluster, instance) = (hands.config().cluster.clone(), hands.instance().clone());
        let asked = BackRequest {
            cluster,
            instance,
            group,
            epoch,
            receiving,
        };
        for (whom, at) in agents {
            // One question at a time.
            if !self.asked_backers.insert(whom.clone()) {
                continue;
            }
            let (wire, asked) = (self.tools.wire.clone(), asked.clone());
            self.tasks.spawn(async move {
                let said = backing::ask(wire, whom.clone(), at, asked).await;
                Done::Backed(whom, epoch, now, said)
            });
        }
        // Where nobody else is, nobody is needed.
        self.count_backers(now);
    }

    /// One of them answered a question sent at `sent`.
    pub(super) fn on_backed(
        &mut self,
        by: &InstanceId,
        epoch: Epoch,
        sent: Timestamp,
        said: Result<(), String>,
    ) {
        let now = clock::boottime();
        self.asked_backers.remove(by);
        match said {
            Ok(()) => {
                let before = self.backing.carries(now);
                self.backing.backed(by, epoch, sent, now);
                self.count_backers(now);
                if !before && self.backing.carries(now) {
                    let by = self.backing.by(now);
                    tracing::warn!(
                        ?by,
                        "no peer renews the lease; other agents back this primary"
                    );
                }
            }
            Err(why) => tracing::debug!(%by, why, "it does not back this primary"),
        }
    }

    fn count_backers(&mut self, now: Timestamp) {
        let lives = self.lease.live(self.promise.epoch(), now).is_some() && !self.releasing;
        let until = self.backing.until().filter(|until| lives && *until > now);
        if let Some(lease) = until.and_then(|until| self.lease.backed(until)) {
            self.arm(lease);
        }
    }

    /// Another agent asks this one to back it.
    pub(super) async fn back(&mut self, asked: Asked) {
        let was_free = self.promise.word().is_zero();
        let reading = self.known.reading.as_ref();
        let given = match asked.receiving && !hears(reading.map(|it| &it.session)) {
            true => Err("its instance receives nothing from the primary".to_owned()),
            false => self.promise.back(asked.epoch).await,
        };
        if given.is_ok() && was_free {
            tracing::info!(
                epoch = %asked.epoch,
                seconds = BACKED_FOR.as_secs(),
                "this agent backs the primary, whose peers are out of reach, and promises nothing newer meanwhile"
            );
        }
        // Whoever asked may have given up.
        let _ = asked.answer.send(given);
    }
}
