//! What the agent says and obeys: messages, the gate, the lease, the watch.

use super::*;

impl Host {
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

    pub(super) fn command(&mut self, from: usize, id: u64, step: Step, tick: u64) -> Vec<Effect> {
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

    pub(super) fn keep_lease(&mut self, tick: u64, effects: &mut Vec<Effect>) {
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

    pub(super) fn renew(&mut self, tick: u64, effects: &mut Vec<Effect>) {
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

    pub(super) fn watch(&mut self, tick: u64) {
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

    pub(super) fn stop_all(&mut self, tick: u64, why: Stopped) {
        self.postgres = None;
        let agent = self.agent.as_mut().expect("it works");
        agent.stopped = why;
        agent.barrier = None;
        agent.lease = None;
        agent.next_report = tick;
        // Nothing runs: the leash lets go.
        if !self.leash_frozen {
            self.deadline = None;
        }
        if let Some(promise) = agent.promise.clone()
            && promise.promotion_asked
        {
            self.persist(PromiseRecord {
                promotion_asked: false,
                ..promise
            });
        }
    }

    pub(super) fn finish(&mut self, outcome: Outcome, tick: u64, effects: &mut Vec<Effect>) {
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

    pub(super) fn try_barrier(&mut self, tick: u64, effects: &mut Vec<Effect>) {
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
