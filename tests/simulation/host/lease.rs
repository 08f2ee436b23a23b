//! The primary lease on the agent's side: renewing it, handing it to the leash, and the longer one of a planned stop.

use super::*;

/// How often a longer lease is asked for, in ticks.
const ASK_EVERY: u64 = 500 / TICK;

impl Host {
    /// What the leash echoes, and when it lets go: only while nothing runs.
    pub(super) fn hear_leash(&mut self, tick: u64) {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it works");
        let (due, later) = std::mem::take(&mut agent.arming)
            .into_iter()
            .partition(|(at, ..)| *at <= tick);
        agent.arming = later;
        let due: Vec<(u64, Lease, bool)> = due;
        for (_, lease, is_new) in due {
            if lease.until <= now {
                continue;
            }
            let held = self.deadline.filter(|_| !is_new);
            self.deadline = Some(held.map_or(lease.until, |held| held.max(lease.until)));
            if is_new {
                self.note = Some(lease.order);
            }
            let promised = agent.promise.as_ref().map(|it| it.order.epoch);
            if promised == Some(lease.order.epoch) && agent.lease.hold(lease) {
                agent.armed = Some(lease.order);
            }
        }
        if agent.disarm_at.take_if(|at| *at <= tick).is_some() && self.postgres.is_none() {
            self.deadline = None;
        }
    }

    pub(super) fn keep_lease(&mut self, tick: u64, random: &mut Random, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it works");
        let runs = agent
            .known
            .as_ref()
            .is_none_or(|known| known.local.is_running);
        if agent.lease.has_lapsed(now) {
            agent.lease.drop_it();
            if runs {
                self.stop(Stopped::LeaseEnded, tick, random);
            }
        }
        let agent = self.agent.as_ref().expect("it works");
        let promotes =
            matches!(&agent.running, Some(it) if matches!(it.action, Action::Promote { .. }));
        let due = agent.lease.renew_at().filter(|_| runs || promotes);
        if due.is_some_and(|due| now >= due) {
            self.renew(tick, effects);
        }
    }

    pub(super) fn renew(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it works");
        let Some(serial) = agent.lease.request(now) else {
            return;
        };
        let message = match agent.lease.given_up() {
            None => AgentMessage::Renew { serial },
            Some(stop) => AgentMessage::RenewAfterStop { serial, stop },
        };
        effects.extend((0..self.peers).map(|to| Effect::Send {
            to,
            message: message.clone(),
        }));
    }

    /// As the agent's worker: asks for the longer lease, or ends.
    pub(super) fn prepare_stop(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it works");
        let Some(leaving) = agent.leaving else {
            return;
        };
        let may_run = agent
            .known
            .as_ref()
            .is_none_or(|known| known.local.is_running);
        let is_over = agent.lease.may_stop() || agent.live_lease(now).is_none() || !may_run;
        if is_over || tick >= leaving.until {
            let back_in = leaving.back_in;
            effects.push(Effect::Leave { back_in });
        } else if tick >= leaving.ask_at {
            let serial = agent.lease.request_stop(now);
            let ask_at = tick + ASK_EVERY;
            agent.leaving = Some(Leaving { ask_at, ..leaving });
            effects.extend((0..self.peers).map(|to| Effect::Send {
                to,
                message: AgentMessage::PlanStop { serial },
            }));
        }
    }
}

impl Agent {
    /// The lease, while it is live and of the highest epoch promised.
    pub fn live_lease(&self, now: Timestamp) -> Option<Lease> {
        let promised = self.promise.as_ref().map(|it| it.order.epoch);
        self.lease.live(promised, now)
    }

    /// Its epoch.
    pub fn lease_epoch(&self, now: Timestamp) -> Option<Epoch> {
        self.live_lease(now).map(|lease| lease.order.epoch)
    }
}
