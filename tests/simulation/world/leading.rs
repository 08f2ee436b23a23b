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
            longer_leases_lapsed: {
                let tenure = leader.tenure.as_ref();
                tenure.is_some_and(|it| it.has_lapsed(&state.cluster, now))
            },
            stop_is_over: leader.tenure.as_ref().is_some_and(is_over),
            switchover_is_late: {
                let asked = state.cluster.switchover.as_ref();
                asked.is_some_and(|it| now.0 >= it.until)
            },
            awaits_the_slow: {
                let word = state.cluster.forced.as_ref();
                word.is_some_and(|it| now.0 < it.patient_until)
            },
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
        let (now, cluster) = (self.stamp(), self.record_of(index).cluster.clone());
        if let Some(tenure) = &mut self.peers[index].tenure {
            tenure.note_forced(&cluster, now);
            tenure.note_lapsing(&cluster, now);
        }
        let state = self.record_of(index);
        let view = self.view(index, state);
        let mut plan = decide(state, &view);
        if let Some((name, turns)) = self.turns.as_ref().filter(|_| self.leader == Some(index)) {
            let stand = plan.stand(state, view.directives.priority);
            let mut turns = turns.lock().expect("no panic");
            plan = plan.in_turn(turns.note(name, stand, view.now));
        }
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
            let codes = plan.waiting.iter().map(|(_, reason)| reason.code());
            self.seen.extend(codes.filter(|code| EVENTS.contains(code)));
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

    /// Somebody asks the leader for another primary; whether it takes that. A rash one asks past the door.
    pub fn ask_switchover(&mut self, to: usize, is_rash: bool) -> bool {
        let Some(leader) = self.leader.filter(|it| self.has_majority(*it)) else {
            return false;
        };
        let to = self.hosts[to].id.clone();
        let state = self.cluster();
        let obstacle = switchover::obstacle(state, &self.view(leader, state), &to);
        if obstacle.is_some() && !is_rash {
            return false;
        }
        let new = NewSwitchover {
            seen: state.cluster.epoch,
            to,
            length: USUAL_WAIT,
            owner: "somebody".to_owned(),
            reason: "work".to_owned(),
        };
        let change = Change::PlanSwitchover(new);
        self.proposals.push((self.now + 1, leader, change));
        true
    }

    /// Somebody asks the leader for another durability, `async` if that is of no standbys; whether it may be one.
    pub fn ask_durability(&mut self, standbys: u8) -> bool {
        let Some(leader) = self.leader.filter(|it| self.has_majority(*it)) else {
            return false;
        };
        if !self.cluster().is_established() {
            return false;
        }
        let to = match standbys {
            0 => Durability::Async,
            standbys => Durability::Quorum { standbys },
        };
        let new = NewDurability {
            to,
            owner: "somebody".to_owned(),
            reason: "work".to_owned(),
        };
        let change = Change::PlanDurability(new);
        self.proposals.push((self.now + 1, leader, change));
        true
    }

    /// What the leader says would happen now.
    pub fn explain(
        &self,
        explain: fn(&ClusterState, &View, &Programs) -> Explanation,
    ) -> Option<Explanation> {
        let leader = self.leader?;
        let state = self.cluster();
        Some(explain(
            state,
            &self.view(leader, state),
            &Programs::default(),
        ))
    }

    /// How many records of this host's WAL the leader has heard of.
    pub fn reported(&self, host: usize) -> u64 {
        let seen = self.leader.map(|leader| &self.peers[leader].sightings);
        let seen = seen.and_then(|it| it.get(&self.hosts[host].id));
        match seen.map(|it| &it.report.database) {
            Some(Database::Primary { position, .. }) => position.lsn.0,
            _ => 0,
        }
    }

    /// Somebody forces the failover that waits; who would be elected by what is known, if the leader takes that.
    pub fn force_failover(&mut self) -> Option<usize> {
        let leader = self.leader.filter(|it| self.has_majority(*it))?;
        let state = self.cluster();
        let view = self.view(leader, state);
        let loss = forced::forecast(state, &view, &decide(state, &view)).ok()?;
        let to = self.hosts.iter().position(|host| host.id == loss.to);
        let new = ForceFailover {
            seen: state.cluster.epoch,
            owner: "somebody".to_owned(),
            reason: "work".to_owned(),
            loss: loss.to_string(),
            accepted: loss.at,
            old_is_off: loss.may_go_on.is_some(),
        };
        let change = Change::ForceFailover(new);
        self.proposals.push((self.now + 1, leader, change));
        to
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
            let begins = matches!(change, Change::Begin { .. } | Change::ForceFailover(_));
            let before = self.cluster().cluster.epoch;
            let forced = match &change {
                Change::Record {
                    evidence:
                        Evidence::Elected {
                            candidate,
                            proof: FenceProof::Forced { .. },
                        },
                    ..
                } => {
                    let word = self.cluster().cluster.forced.as_ref();
                    word.map(|it| (candidate.clone(), it.accepted))
                }
                _ => None,
            };
            let stop = take_stop(&mut self.peers[proposer].stops, &change);
            let text = self.trace.is_some().then(|| format!("{change:?}"));
            let recalls = matches!(change, Change::EndSwitchover { .. });
            let durability = self.cluster().cluster.durability;
            let was_confirming = self.cluster().cluster.confirming().is_some();
            let phase = self.cluster().cluster.durability_change.as_ref();
            let was_lapsing = phase.is_some_and(|it| it.phase == ChangePhase::Lapsing);
            let command = Command {
                cluster: self.name.clone(),
                at: self.now * TICK,
                change,
            };
            let reply = self.state.apply(command);
            if let (Some((candidate, accepted)), Ok(_)) = (&forced, &reply) {
                self.seen.insert("forced_election");
                self.lose_what_was_accepted(candidate, *accepted);
            }
            let now = self.cluster().cluster.durability;
            if now == Durability::Async && durability != now {
                self.seen.insert("async_recorded");
            } else if durability == Durability::Async && durability != now {
                self.seen.insert("quorum_after_async");
            } else if was_lapsing && begins && reply.is_ok() {
                self.seen.insert("handover_while_lapsing");
            } else if now.standby_acks() > durability.standby_acks() {
                self.seen.insert("durability_confirmed");
            } else if now != durability {
                self.seen.insert("durability_weakened");
            } else if was_confirming && begins && reply.is_ok() {
                self.seen.insert("handover_while_confirming");
            }
            if recalls && reply.is_ok() {
                self.seen.insert("switchover_recalled");
            }
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
            let epoch = self.cluster().cluster.epoch;
            if begins && epoch > before {
                self.handovers += 1;
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
