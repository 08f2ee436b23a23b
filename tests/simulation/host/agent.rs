//! What the agent hears and does in each tick: messages, the disk, the watch.

use super::*;

/// As in the agent's worker.
const GAP: Duration = Duration::from_secs(2);

impl Host {
    /// A message from a peer.
    pub fn receive(
        &mut self,
        from: usize,
        message: PeerMessage,
        tick: u64,
        random: &mut Random,
    ) -> Vec<Effect> {
        let now = self.now(tick);
        let Some(agent) = &mut self.agent else {
            return vec![];
        };
        match message {
            // There is one agent for each instance, so none is turned away.
            PeerMessage::Welcome { .. }
            | PeerMessage::Declined { .. }
            | PeerMessage::TurnedAway { .. }
            | PeerMessage::Peers { .. } => vec![],
            PeerMessage::Granted {
                serial,
                order,
                length,
            } => self.granted(serial, order, length, tick, random),
            PeerMessage::GrantedWithBackers {
                serial,
                order,
                length,
                backers,
            } => {
                if agent.lease.has_sent(serial) {
                    agent.backing.told(serial, order.epoch, backers, now);
                }
                self.granted(serial, order, length, tick, random)
            }
            PeerMessage::NotThePrimary { .. } => {
                agent.backing.denied();
                vec![]
            }
            PeerMessage::Adopted { order, .. } => {
                if agent.promise.is_none() {
                    self.persist(PromiseRecord {
                        group: "group".to_owned(),
                        order,
                        // What it was asked before is unknown.
                        promotion_asked: true,
                        backs: false,
                    });
                }
                vec![]
            }
            PeerMessage::Command { id, step } => self.command(from, id, step, tick, random),
        }
    }

    fn granted(
        &mut self,
        serial: u64,
        order: Order,
        length: Duration,
        tick: u64,
        random: &mut Random,
    ) -> Vec<Effect> {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it received");
        let Some(lease) = agent.lease.granted(serial, order, length) else {
            return vec![];
        };
        if agent.disarm_at.is_some() {
            return vec![];
        }
        let admitted = gate::admit_lease(agent.promise.as_ref(), order, agent.word.remaining(now));
        let Some(record) = admitted.ok().filter(|record| self.keeps(record, tick)) else {
            return vec![];
        };
        let agent = self.agent.as_mut().expect("it received");
        // It counts only once the leash has echoed the deadline.
        let is_new = agent.armed != Some(order);
        agent.arming.push((tick + random.below(2), lease, is_new));
        self.persist(record);
        vec![]
    }

    /// One tick of the agent.
    pub fn work(&mut self, tick: u64, random: &mut Random) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.agent.as_ref().is_none_or(|agent| agent.frozen) {
            return effects;
        }
        let now = self.now(tick);
        self.note_gap(tick);
        self.hear_leash(tick);
        self.keep_lease(tick, random, &mut effects);
        self.prepare_stop(tick, &mut effects);
        self.ask_backers(tick, &mut effects);
        self.probe_disk(tick);
        let agent = self.agent.as_mut().expect("checked above");
        let may_adopt = now >= agent.adopts_from && tick >= agent.next_adoption;
        if agent.promise.is_none() && may_adopt {
            agent.next_adoption = tick + 25;
            effects.extend((0..self.peers).map(|to| Effect::Send {
                to,
                message: AgentMessage::Adopt { serial: 1 },
            }));
        }
        self.watch_postmaster(tick, random);
        // Killing goes on until nothing is left, whoever was started meanwhile.
        let agent = self.agent.as_ref().expect("checked above");
        if agent.stopping.is_some() || matches!(agent.acting, Some((_, Act::StopAll))) {
            self.kill_postgres(tick, random);
        }
        let is_stopped = self.postgres.is_none();
        let agent = self.agent.as_mut().expect("checked above");
        if let Some(reason) = agent.stopping.take_if(|_| is_stopped) {
            self.all_stopped(tick, Some(reason));
        }
        self.continue_act(tick, random, &mut effects);
        if let Some(seen) = self.look(tick, random) {
            self.on_seen(seen, tick, random, &mut effects);
        }
        self.try_barrier(tick, &mut effects);
        let agent = self.agent.as_mut().expect("checked above");
        if tick >= agent.next_report {
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

    /// An agent that was frozen cannot tell how long others have said nothing meanwhile.
    fn note_gap(&mut self, tick: u64) {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it works");
        if now.since(agent.turned_at) > GAP {
            agent.probe.restart(now);
            if let Some(known) = &mut agent.known {
                known.answered_at = now;
            }
        }
        agent.turned_at = now;
    }

    /// A write that hangs comes back when the disk works again.
    fn probe_disk(&mut self, tick: u64) {
        let now = self.now(tick);
        let trouble = self.disk_fault(tick).map(|fault| fault.trouble);
        let agent = self.agent.as_mut().expect("it works");
        let is_under_way = agent.probe.begins(now) || agent.probe.due().is_none();
        match trouble {
            None if is_under_way => agent.probe.ended(Ok(()), now),
            Some(Trouble::Full) if is_under_way => {
                agent.probe.ended(Err("no space left".to_owned()), now);
            }
            None | Some(Trouble::Full | Trouble::Stalled) => {}
        }
    }

    /// A postmaster that was seen is watched, and its end known at once.
    fn watch_postmaster(&mut self, tick: u64, random: &mut Random) {
        let agent = self.agent.as_ref().expect("it works");
        let was_there = agent
            .known
            .as_ref()
            .is_some_and(|known| known.local.has_postmaster);
        let is_there = self.postgres.as_ref().is_some_and(|p| p.postmaster);
        let stops_it = matches!(agent.acting, Some((_, Act::StopAll)));
        if was_there && !is_there && !stops_it {
            let lapsed = agent.lease.has_lapsed(self.now(tick));
            let is_told =
                matches!(&agent.running, Some(running) if running.action == Action::ShutDown);
            let reason = match (lapsed, is_told) {
                (true, _) => Stopped::LeaseEnded,
                (false, true) => Stopped::Ordered,
                (false, false) => Stopped::Died,
            };
            self.stop(reason, tick, random);
        }
    }

    /// Stops everything at once, whatever else is under way.
    pub(super) fn stop(&mut self, reason: Stopped, tick: u64, random: &mut Random) {
        let agent = self.agent.as_mut().expect("it works");
        if agent.stopping.is_none() {
            agent.stopping = Some(reason);
            self.kill_postgres(tick, random);
        }
    }

    /// Nothing runs any more: no lease is needed, and no promotion is under way.
    pub(super) fn all_stopped(&mut self, tick: u64, reason: Option<Stopped>) {
        let agent = self.agent.as_mut().expect("it works");
        if let Some(known) = &mut agent.known {
            known.local.is_running = false;
            known.local.has_postmaster = false;
            known.local.session = None;
            known.has_answered = false;
        }
        agent.stopped = reason.unwrap_or(agent.stopped);
        agent.barrier = None;
        agent.commit = None;
        agent.lease.drop_it();
        agent.armed = None;
        // What is on its way still reaches the leash, before it lets go, and is not held any more.
        agent.arming.clear();
        agent.disarm_at = Some(tick + 1);
        agent.next_report = tick;
        agent.trust_from_now(tick);
        self.note_promotion(false);
    }

    pub(super) fn note_promotion(&mut self, asked: bool) {
        let promise = self.agent.as_ref().and_then(|a| a.promise.clone());
        if let Some(promise) = promise.filter(|it| it.promotion_asked != asked) {
            self.persist(PromiseRecord {
                promotion_asked: asked,
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

    fn try_barrier(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let answers = self.postgres.as_ref().is_some_and(|p| p.answers(tick));
        let agent = self.agent.as_mut().expect("it works");
        let session = agent
            .known
            .as_ref()
            .and_then(|it| it.local.session.as_ref());
        let is_open = session.is_some_and(|session| !session.in_recovery);
        let Some(epoch) = agent.lease_epoch(now) else {
            return;
        };
        let is_known = agent.first_commit.is_some_and(|(of, _)| of == epoch);
        let idle = agent.running.is_none() && agent.barrier.is_none();
        if is_open && answers && idle && !is_known {
            effects.push(Effect::Barrier { epoch });
        }
    }
}
