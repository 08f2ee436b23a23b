//! What becomes of a message that arrives, and of what a host wants from others.

use super::*;

impl World {
    pub(super) fn deliver(&mut self, message: Message) {
        match message {
            Message::ToPeer {
                from,
                to,
                session,
                sent,
                message,
            } => {
                if self.peers[to].works() {
                    self.hear(from, to, (session, sent), message);
                }
            }
            Message::Closed { from, to, session } => {
                let id = self.hosts[from].id.clone();
                let peer = &mut self.peers[to];
                if peer.works() && peer.sessions.get(&from) == Some(&session) {
                    if let Some(sighting) = peer.sightings.get_mut(&id) {
                        sighting.connected = false;
                    }
                    peer.flights.retain(|flight| flight.host != from);
                }
            }
            Message::ToAgent {
                from,
                to,
                session,
                message,
            } => {
                // A late command of a connection that is gone is stricter than TCP; the gate must refuse it.
                let is_command = matches!(message, PeerMessage::Command { .. });
                let current = self.hosts[to]
                    .agent
                    .as_ref()
                    .is_some_and(|a| (a.session == session || is_command) && !a.frozen);
                if current {
                    let effects = self.hosts[to].receive(from, message, self.now, &mut self.random);
                    self.perform(to, effects);
                }
            }
            Message::Between {
                from,
                to,
                session,
                talk,
            } => {
                let by = self.hosts[from].id.clone();
                let effects = self.hosts[to].hear_agent(from, session, &by, talk, self.now);
                self.perform(to, effects);
            }
        }
    }

    pub(super) fn perform(&mut self, index: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    let session = self.hosts[index].sessions;
                    let sent = self.now;
                    let message = Message::ToPeer {
                        from: index,
                        to,
                        session,
                        sent,
                        message,
                    };
                    self.network.send(self.now, message, &mut self.random);
                }
                Effect::Say { to, session, talk } => {
                    let message = Message::Between {
                        from: index,
                        to,
                        session,
                        talk,
                    };
                    self.network.send(self.now, message, &mut self.random);
                }
                Effect::Backed => {
                    self.seen.insert("backed");
                }
                Effect::CopyFrom { source, act } => self.copy(index, source, &act),
                Effect::Fenced { order } => {
                    let timeline = order.epoch.0 as u32 + 1;
                    let host = &mut self.hosts[index];
                    host.fenced = Some(host.fenced.unwrap_or(0).max(timeline));
                }
                Effect::FenceAdmitted { order } => {
                    self.events
                        .push(Event::FenceAdmitted { host: index, order });
                }
                Effect::ToldToShutDown { order } => {
                    self.events
                        .push(Event::ToldToShutDown { host: index, order });
                }
                Effect::Crash => self.crash_agent(index, 2),
                Effect::Leave { back_in } => self.crash_agent(index, back_in),
                Effect::Barrier { .. } | Effect::Commit if !self.hosts[index].writes(self.now) => {}
                Effect::Commit => self.begin_commit(index),
                Effect::Barrier { epoch } => {
                    let value = self.write(index);
                    if let Some(agent) = &mut self.hosts[index].agent {
                        agent.barrier = Some((value, epoch));
                    }
                }
            }
        }
    }
}
