//! What peers do: elect, decide, command, and have changes recorded.

use super::*;

impl World {
    pub(super) fn elections(&mut self) {
        let healthy = self.leader.is_some_and(|leader| self.has_majority(leader));
        if healthy {
            self.elect_at = None;
        } else if self.elect_at.is_none() {
            self.elect_at = Some(self.now + self.random.between(20, 45));
        } else if self.elect_at.is_some_and(|at| at <= self.now) {
            let able: Vec<_> = (0..self.peers.len())
                .filter(|p| self.has_majority(*p))
                .collect();
            if !able.is_empty() {
                let chosen = able[self.random.below(able.len() as u64) as usize];
                self.elect(chosen);
            }
        }
        for index in 0..self.peers.len() {
            let notices = self.now >= self.peers[index].believes_until;
            let peer = &mut self.peers[index];
            if peer.applied.is_some() && peer.works() && notices {
                peer.tenure = None;
                peer.renewals.clear();
                peer.stops.clear();
                peer.applied = None;
                peer.flights.clear();
            }
            if peer.restart_at.is_some_and(|at| at <= self.now) {
                peer.restart_at = None;
                peer.alive = true;
                peer.awake_since = Timestamp(self.now * TICK);
            }
            if peer.thaw_at.is_some_and(|at| at <= self.now) {
                peer.thaw_at = None;
                peer.frozen = false;
                peer.awake_since = Timestamp(self.now * TICK);
                // A thawed leader acts on what it remembers before it hears better.
                peer.believes_until = peer
                    .believes_until
                    .max(self.now + self.random.between(1, 20));
            }
        }
    }

    /// Makes `chosen` the leader; the one before goes on believing for a while.
    pub fn elect(&mut self, chosen: usize) {
        if self.leader == Some(chosen) {
            return;
        }
        if let Some(old) = self.leader
            && self.peers[old].alive
            && self.peers[old].tenure.is_some()
        {
            self.peers[old].applied = Some(self.cluster().clone());
            self.peers[old].believes_until = self.now + self.random.between(5, 150);
        }
        self.say(|| format!("peer {chosen} leads"));
        self.leader = Some(chosen);
        self.elect_at = None;
        self.term += 1;
        let tenure = Tenure::new(self.term, self.stamp(), primacy::model::Network::Lan);
        let peer = &mut self.peers[chosen];
        peer.tenure = Some(tenure);
        peer.renewals.clear();
        peer.stops.clear();
        peer.applied = None;
        peer.flights.clear();
    }

    fn view(&self, peer: usize, state: &ClusterState) -> View {
        let leader = &self.peers[peer];
        let now = self.stamp();
        let lapse = |tenure: &Tenure| tenure.lapse_at(&state.cluster);
        let is_over = |tenure: &Tenure| tenure.stop_is_over(&state.cluster, now);
        View {
            now,
            stop_is_over: leader.tenure.as_ref().is_some_and(is_over),
            awake_since: leader.awake_since,
            directives: self.said(),
            leases_lapse_at: leader.tenure.as_ref().map_or(Timestamp(u64::MAX), lapse),
            instances: leader.sightings.clone(),
            peers: self.peers.len(),
            looks: leader.looks.clone(),
        }
    }

    pub(super) fn lead(&mut self, index: usize) {
        self.peers[index]
            .flights
            .retain(|flight| flight.expires > self.now);
        self.grant(index);
        let state = self.record_of(index);
        let plan = decide(state, &self.view(index, state));
        for instance in &plan.looks {
            self.look(index, instance.clone());
        }
        if self.trace.is_some()
            && plan
                .proposals
                .iter()
                .any(|change| matches!(change, Change::Begin { .. }))
        {
            let answers: Vec<_> = self.peers[index]
                .sightings
                .iter()
                .map(|(id, seen)| {
                    format!("{id}: {:?} heard at {}", seen.answer, seen.received_at.0)
                })
                .collect();
            self.say(|| answers.join("; "));
        }
        for change in plan.proposals.iter().cloned() {
            let queued = self
                .proposals
                .iter()
                .any(|(_, who, c)| *who == index && *c == change);
            if !queued {
                let due = self.now + self.random.between(0, 2);
                self.proposals.push((due, index, change));
            }
        }
        for step in plan.steps.iter().cloned() {
            self.run(index, step);
        }
        if self.leader == Some(index) {
            self.plan = plan;
        }
    }

    fn look(&mut self, index: usize, instance: InstanceId) {
        let now = self.stamp();
        let hears = |other: &usize| {
            *other != index
                && self.peers[*other].works()
                && self.network.both_ways(End::Peer(index), End::Peer(*other))
                && self.peers[*other]
                    .sightings
                    .get(&instance)
                    .is_some_and(|s| s.connected && now.since(s.received_at) <= SILENT_AFTER)
        };
        let heard = (0..self.peers.len()).filter(hears).count();
        self.peers[index].looks.insert(instance, (now, heard));
    }

    fn run(&mut self, index: usize, step: Step) {
        let host = self
            .hosts
            .iter()
            .position(|h| h.id == step.instance)
            .expect("a known instance");
        let peer = &mut self.peers[index];
        let name = step.action.name();
        let under_way = peer.flights.iter().any(|flight| {
            flight.host == host && flight.name == name && flight.order.epoch == step.order.epoch
        });
        let Some(session) = peer.sessions.get(&host).copied().filter(|_| !under_way) else {
            return;
        };
        peer.next_command += 1;
        let id = peer.next_command;
        peer.flights.push(Flight {
            id,
            host,
            name,
            order: step.order,
            rejoining: match &step.action {
                Action::Locate { rejoining } => Some(rejoining.clone()),
                _ => None,
            },
            // A lost message is sent again soon.
            expires: self.now + (step.action.timeout().as_millis() as u64 / TICK).min(150),
        });
        if name != "ask" {
            self.say(|| format!("peer {index}: {step}"));
        }
        let message = PeerMessage::Command { id, step };
        self.tell(index, host, session, message);
    }

    pub(super) fn commit_proposals(&mut self) {
        let (due, later) = std::mem::take(&mut self.proposals)
            .into_iter()
            .partition(|(at, _, _)| *at <= self.now);
        self.proposals = later;
        let due: Vec<(u64, usize, Change)> = due;
        for (_, proposer, change) in due {
            if self.leader != Some(proposer) || !self.has_majority(proposer) {
                continue;
            }
            let begins = matches!(change, Change::Begin { .. });
            let stop = take_stop(&mut self.peers[proposer].stops, &change);
            let text = self.trace.is_some().then(|| format!("{change:?}"));
            let command = Command {
                cluster: self.name.clone(),
                at: self.now * TICK,
                change,
            };
            let reply = self.state.apply(command);
            if let (Some(stop), Ok(order)) = (stop, &reply) {
                // Who has its proposal taken led after the request had arrived.
                let message = PeerMessage::Granted {
                    serial: stop.serial,
                    order: *order,
                    length: PlannedStop::LONGEST,
                };
                self.tell(proposer, stop.host, stop.session, message);
            }
            if let Some(text) = text {
                self.say(|| format!("{} {text}", if reply.is_ok() { "log" } else { "refused" }));
            }
            if begins && reply.is_ok() {
                self.handovers += 1;
                let epoch = self.cluster().cluster.epoch;
                self.events.push(Event::Begun { epoch });
            }
        }
    }

    /// What this peer takes for the record: a deposed leader may have applied less than there is.
    pub(super) fn record_of(&self, peer: usize) -> &ClusterState {
        let own = self.peers[peer].applied.as_ref();
        own.unwrap_or(&self.state.clusters[&self.name])
    }

    pub(super) fn tell(&mut self, from: usize, to: usize, session: u32, message: PeerMessage) {
        let message = Message::ToAgent {
            from,
            to,
            session,
            message,
        };
        self.network.send(self.now, message, &mut self.random);
    }
}

/// The request that this change was proposed for.
fn take_stop(stops: &mut Vec<(Change, Renewal)>, change: &Change) -> Option<Renewal> {
    let found = stops.iter().position(|(proposed, _)| proposed == change)?;
    Some(stops.swap_remove(found).1)
}
