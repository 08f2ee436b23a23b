//! What peers hear from agents: reports, renewals, adoptions and outcomes.

use super::*;

impl World {
    pub(super) fn hear(
        &mut self,
        from: usize,
        to: usize,
        (session, sent): (u32, u64),
        message: AgentMessage,
    ) {
        let id = self.hosts[from].id.clone();
        let now = self.stamp();
        let peer = &mut self.peers[to];
        if peer
            .sessions
            .get(&from)
            .is_some_and(|known| *known > session)
        {
            return;
        }
        if peer
            .sessions
            .insert(from, session)
            .is_some_and(|known| known < session)
        {
            peer.flights.retain(|flight| flight.host != from);
        }
        match message {
            AgentMessage::Hello { .. } => {}
            // A connection keeps the order of what is sent over it.
            AgentMessage::Report(_) if peer.last_report.get(&from).is_some_and(|at| *at > sent) => {
            }
            AgentMessage::Report(report) => {
                peer.last_report.insert(from, sent);
                let sighting = peer.sightings.entry(id).or_insert_with(|| Sighting {
                    report: report.clone(),
                    received_at: now,
                    connected: true,
                    answer: None,
                    failure: None,
                });
                sighting.report = report;
                sighting.received_at = now;
                sighting.connected = true;
            }
            AgentMessage::Renew { serial } => self.renewal(from, to, (session, serial), false),
            AgentMessage::RenewAfterStop { serial, stop } => {
                if let Some(tenure) = &mut peer.tenure {
                    tenure.gave_up(&self.name, stop);
                }
                self.renewal(from, to, (session, serial), false);
            }
            AgentMessage::PlanStop { serial } => self.renewal(from, to, (session, serial), true),
            AgentMessage::Adopt { serial } => {
                if self.leader == Some(to) && self.has_majority(to) {
                    let order = self.cluster().order();
                    let message = PeerMessage::Adopted { serial, order };
                    self.tell(to, from, session, message);
                }
            }
            AgentMessage::Outcome {
                id: command,
                outcome,
            } => self.outcome(from, to, command, outcome),
        }
    }

    /// As `server::lease::renew` and `plan_stop`, first half: who is not recorded as the primary is declined.
    fn renewal(&mut self, from: usize, to: usize, (session, serial): (u32, u64), for_stop: bool) {
        let now = self.stamp();
        let recorded = self.record_of(to).lease_order(&self.hosts[from].id);
        let confirmed = self.leader == Some(to) && self.has_majority(to);
        if recorded.is_none() && confirmed {
            self.tell(to, from, session, PeerMessage::NotThePrimary { serial });
        }
        let (Some(order), Some(tenure)) = (recorded, &mut self.peers[to].tenure) else {
            return;
        };
        if for_stop {
            let term = tenure.term;
            tenure.plan_stop(&self.name, term, now);
        }
        let renewal = Renewal {
            due: self.now + self.random.below(3),
            host: from,
            session,
            serial,
            arrived: now,
            order,
            term: tenure.term,
            for_stop,
        };
        self.peers[to].renewals.push(renewal);
    }

    /// Second half: after a heartbeat round to a majority that began later than the renewal arrived, the
    /// grant is noted, then the record is looked at again.
    pub(super) fn grant(&mut self, index: usize) {
        let now = self.now;
        let due = self.peers[index]
            .renewals
            .extract_if(.., |it| it.due <= now)
            .collect::<Vec<_>>();
        for renewal in due {
            if renewal.for_stop {
                self.propose_stop(index, renewal);
                continue;
            }
            let confirmed = self.leader == Some(index) && self.has_majority(index);
            let name = self.name.clone();
            let Some(tenure) = &mut self.peers[index].tenure else {
                return;
            };
            if !(confirmed || broken!(HeartbeatBeforeGrant))
                || !tenure.grant(&name, renewal.term, renewal.arrived)
            {
                continue;
            }
            let state = self.record_of(index);
            if state.lease_order(&self.hosts[renewal.host].id) != Some(renewal.order) {
                continue;
            }
            let message = PeerMessage::GrantedWithBackers {
                serial: renewal.serial,
                order: renewal.order,
                backers: state.cluster.backers(&self.hosts[renewal.host].id),
                length: state.cluster.lease_length(primacy::model::Network::Lan),
            };
            self.tell(index, renewal.host, renewal.session, message);
        }
    }

    /// A longer lease is granted once it is recorded.
    fn propose_stop(&mut self, index: usize, request: Renewal) {
        let change = Change::PlanStop {
            instance: self.hosts[request.host].id.clone(),
            order: request.order,
            length: PlannedStop::LONGEST,
        };
        let due = self.now + self.random.between(0, 2);
        self.proposals.push((due, index, change.clone()));
        self.peers[index].stops.push((change, request));
    }

    fn outcome(&mut self, from: usize, to: usize, command: u64, outcome: Outcome) {
        let id = self.hosts[from].id.clone();
        let now = self.stamp();
        let peer = &mut self.peers[to];
        let Some(position) = peer
            .flights
            .iter()
            .position(|f| f.id == command && f.host == from)
        else {
            return;
        };
        let flight = peer.flights.swap_remove(position);
        let order = flight.order;
        let backs = matches!(outcome, Outcome::Refused(Refusal::Backing { .. }));
        let mut fail = |reason: String| {
            if let Some(sighting) = peer.sightings.get_mut(&id) {
                sighting.failure = Some(Failure {
                    order,
                    at: now,
                    reason,
                    backs,
                });
            }
        };
        match outcome {
            Outcome::Evidence(evidence) => {
                self.proposals
                    .push((self.now + 1, to, Change::Record { order, evidence }));
            }
            Outcome::At(target) => {
                if let Some(instance) = flight.rejoining {
                    let evidence = Evidence::Located { instance, target };
                    self.proposals
                        .push((self.now + 1, to, Change::Record { order, evidence }));
                }
            }
            Outcome::Answer(answer) => {
                if let Some(sighting) = peer.sightings.get_mut(&id) {
                    sighting.answer = Some((now, answer));
                }
            }
            Outcome::Done => {}
            Outcome::Refused(refusal) => fail(refusal.to_string()),
            Outcome::Failed(why) => fail(why),
        }
    }
}
