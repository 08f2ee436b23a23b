//! The world: peers, hosts, clients and the network between them, one tick after the other.

use std::collections::{BTreeMap, BTreeSet};

use primacy::broken;
use primacy::control::{AgentMessage, PeerMessage};
use primacy::decision::{Plan, decide};
use primacy::duty::{Outcome, lease::MARGIN};
use primacy::model::{
    Address, ClusterName, Durability, Epoch, Failure, InstanceId, Lsn, Order, Sighting, Timestamp,
    View, Zone, view::SILENT_AFTER,
};
use primacy::recovery::{Action, Evidence, Step};
use primacy::state::{Change, ClusterState, Command, NewCluster, State, command::NewMember};

use crate::host::{Effect, Host, HostClock, TICK};
use crate::network::{End, Message, Network};
use crate::peer::{Flight, Peer};
use crate::postgres::{Disk, Record};
use crate::random::Random;

/// What happened in one tick, for the invariants.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client was told that its commit is safe.
    Acknowledged {
        host: usize,
        value: u32,
        timeline: u32,
    },
    /// WAL was written or received.
    Appended { host: usize, from_timeline: u32 },
    /// A fence of this order was admitted.
    FenceAdmitted { host: usize, order: Order },
    /// An epoch was burnt.
    Begun { epoch: Epoch },
    /// A server left recovery.
    Promoted { host: usize },
}

pub struct World {
    pub now: u64,
    pub random: Random,
    pub network: Network,
    pub peers: Vec<Peer>,
    pub hosts: Vec<Host>,
    pub state: State,
    pub leader: Option<usize>,
    pub elect_at: Option<u64>,
    pub proposals: Vec<(u64, usize, Change)>,
    pub events: Vec<Event>,
    pub plan: Plan,
    pub next_value: u32,
    pub acknowledged: Vec<u32>,
    pub handovers: u64,
    pub trace: Option<Vec<String>>,
    name: ClusterName,
}

pub fn instance(index: usize) -> InstanceId {
    InstanceId::new(["a", "b", "c", "d", "e"][index]).expect("a valid name")
}

impl World {
    pub fn new(seed: u64, members: usize, durability: Durability) -> World {
        let mut random = Random::new(seed);
        let addresses: Vec<_> = (0..members)
            .map(|n| Address {
                host: "h".to_owned(),
                port: n as u16,
            })
            .collect();
        let peers = 3;
        let mut hosts: Vec<_> = (0..members)
            .map(|index| Host {
                index,
                id: instance(index),
                durability,
                clock: HostClock {
                    drift: random.below(41) as i64 - 20,
                    offset: random.below(1_000_000),
                },
                disk: Disk::default(),
                postgres: None,
                agent: None,
                leash_frozen: false,
                deadline: None,
                promise: None,
                sessions: 0,
                fenced: None,
                peers,
                addresses: addresses.clone(),
                restart_agent_at: None,
            })
            .collect();
        for host in &mut hosts {
            host.start_agent(0);
        }
        let name = ClusterName::new("demo").expect("a valid name");
        let mut world = World {
            now: 0,
            random,
            network: Network::calm(),
            peers: (0..peers).map(|_| Peer::new()).collect(),
            hosts,
            state: State::default(),
            leader: None,
            elect_at: Some(1),
            proposals: Vec::new(),
            events: Vec::new(),
            plan: Plan::default(),
            next_value: 1,
            acknowledged: Vec::new(),
            handovers: 0,
            trace: None,
            name: name.clone(),
        };
        let new = NewCluster {
            durability,
            members: addresses
                .iter()
                .enumerate()
                .map(|(n, address)| {
                    let zone = Zone::new("z").expect("a valid name");
                    let member = NewMember {
                        address: address.clone(),
                        health: address.clone(),
                        zone,
                    };
                    (instance(n), member)
                })
                .collect(),
            first: instance(0),
        };
        let create = Command {
            cluster: name,
            at: 0,
            change: Change::Create(new),
        };
        world.state.apply(create).expect("a valid cluster");
        world
    }

    pub fn cluster(&self) -> &ClusterState {
        &self.state.clusters[&self.name]
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!(
                "{:7.2} {}",
                (self.now * TICK) as f64 / 1000.0,
                what()
            ));
        }
    }

    fn stamp(&self) -> Timestamp {
        Timestamp(self.now * TICK)
    }

    /// Whether `peer` reaches a majority.
    pub fn has_majority(&self, peer: usize) -> bool {
        let reached = (0..self.peers.len()).filter(|other| {
            *other == peer
                || (self.peers[*other].works()
                    && self.network.both_ways(End::Peer(peer), End::Peer(*other)))
        });
        self.peers[peer].works() && reached.count() * 2 > self.peers.len()
    }

    pub fn tick(&mut self) {
        self.now += 1;
        self.events.clear();
        self.elections();
        for message in self.network.due(self.now) {
            self.deliver(message);
        }
        for index in 0..self.hosts.len() {
            self.hosts[index].leash(self.now);
            let effects = self.hosts[index].work(self.now, &mut self.random);
            self.perform(index, effects);
        }
        self.databases();
        for peer in 0..self.peers.len() {
            if self.peers[peer].works() && self.peers[peer].leads_since.is_some() {
                self.lead(peer);
            }
        }
        self.commit_proposals();
    }

    fn elections(&mut self) {
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
                peer.leads_since = None;
                peer.applied = None;
                peer.flights.clear();
            }
            if peer.restart_at.is_some_and(|at| at <= self.now) {
                peer.restart_at = None;
                peer.alive = true;
            }
            if peer.thaw_at.is_some_and(|at| at <= self.now) {
                peer.thaw_at = None;
                peer.frozen = false;
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
            && self.peers[old].leads_since.is_some()
        {
            self.peers[old].applied = Some(self.cluster().clone());
            self.peers[old].believes_until = self.now + self.random.between(5, 150);
        }
        self.say(|| format!("peer {chosen} leads"));
        self.leader = Some(chosen);
        self.elect_at = None;
        let stamp = self.stamp();
        let peer = &mut self.peers[chosen];
        peer.leads_since = Some(stamp);
        peer.applied = None;
        peer.last_grant = None;
        peer.flights.clear();
    }

    fn deliver(&mut self, message: Message) {
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
                    let effects = self.hosts[to].receive(from, message, self.now);
                    self.perform(to, effects);
                }
            }
        }
    }

    fn hear(&mut self, from: usize, to: usize, (session, sent): (u32, u64), message: AgentMessage) {
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
            AgentMessage::Renew { serial } => self.renewal(from, to, session, serial),
            AgentMessage::Adopt { serial } => {
                if self.leader == Some(to) && self.has_majority(to) {
                    let order = self.cluster().order();
                    let message = PeerMessage::Adopted { serial, order };
                    self.network.send(
                        self.now,
                        Message::ToAgent {
                            from: to,
                            to: from,
                            session,
                            message,
                        },
                        &mut self.random,
                    );
                }
            }
            AgentMessage::Outcome {
                id: command,
                outcome,
            } => self.outcome(from, to, command, outcome),
        }
    }

    fn renewal(&mut self, from: usize, to: usize, session: u32, serial: u64) {
        let believes = self.peers[to].leads_since.is_some();
        // The heartbeat round to a majority that begins after the renewal arrived.
        let confirmed = self.leader == Some(to) && self.has_majority(to);
        if !believes || !(confirmed || broken!(HeartbeatBeforeGrant)) {
            return;
        }
        let id = self.hosts[from].id.clone();
        let state = self.peers[to]
            .applied
            .as_ref()
            .unwrap_or(&self.state.clusters[&self.name]);
        let (Some(order), length) = (
            state.lease_order(&id),
            state.cluster.durability.lease_length(),
        ) else {
            return;
        };
        self.peers[to].last_grant = Some(self.stamp());
        let message = PeerMessage::Granted {
            serial,
            order,
            length,
        };
        self.network.send(
            self.now,
            Message::ToAgent {
                from: to,
                to: from,
                session,
                message,
            },
            &mut self.random,
        );
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
        let mut fail = |reason: String| {
            if let Some(sighting) = peer.sightings.get_mut(&id) {
                sighting.failure = Some(Failure {
                    order,
                    at: now,
                    reason,
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

    fn view(&self, peer: usize, state: &ClusterState) -> View {
        let leader = &self.peers[peer];
        let since = leader.leads_since.unwrap_or_default();
        let last = leader.last_grant.map_or(since, |at| at.max(since));
        View {
            now: self.stamp(),
            leases_lapse_at: last
                .after(state.cluster.durability.lease_length())
                .after(MARGIN),
            instances: leader.sightings.clone(),
            peers: self.peers.len(),
            looks: leader.looks.clone(),
        }
    }

    fn lead(&mut self, index: usize) {
        self.peers[index]
            .flights
            .retain(|flight| flight.expires > self.now);
        let state = self.peers[index]
            .applied
            .as_ref()
            .unwrap_or(&self.state.clusters[&self.name]);
        let plan = decide(state, &self.view(index, state));
        for instance in &plan.looks {
            self.look(index, instance.clone());
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
        self.network.send(
            self.now,
            Message::ToAgent {
                from: index,
                to: host,
                session,
                message,
            },
            &mut self.random,
        );
    }

    fn commit_proposals(&mut self) {
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
            let text = self.trace.is_some().then(|| format!("{change:?}"));
            let command = Command {
                cluster: self.name.clone(),
                at: self.now * TICK,
                change,
            };
            let reply = self.state.apply(command);
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

    fn perform(&mut self, index: usize, effects: Vec<Effect>) {
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
                Effect::CopyFrom { source, rewind } => self.copy(index, source, rewind),
                Effect::Fenced { order } => {
                    let timeline = order.epoch.0 as u32 + 1;
                    let host = &mut self.hosts[index];
                    host.fenced = Some(host.fenced.unwrap_or(0).max(timeline));
                }
                Effect::FenceAdmitted { order } => {
                    self.events
                        .push(Event::FenceAdmitted { host: index, order });
                }
                Effect::Barrier => {
                    let value = self.write(index);
                    if let Some(agent) = &mut self.hosts[index].agent {
                        agent.barrier = Some(value);
                    }
                }
            }
        }
    }

    fn copy(&mut self, to: usize, from: usize, rewind: bool) {
        let source = &self.hosts[from];
        let serves = source
            .postgres
            .as_ref()
            .is_some_and(|p| p.answers(self.now));
        let linked = self.network.both_ways(End::Host(from), End::Host(to));
        if !serves || !linked {
            let target = &mut self.hosts[to];
            let act = if rewind {
                primacy::duty::Act::Look
            } else {
                primacy::duty::Act::StopAll
            };
            if let Some(agent) = &mut target.agent
                && let Some(running) = &mut agent.running
            {
                let _ = running.duty.failed(&act, "the source does not answer");
                agent.running = None;
            }
            return;
        }
        let copied = source.disk.clone();
        let target = &mut self.hosts[to];
        if rewind && target.disk.timeline() == copied.timeline() {
            // "No rewind required": the timeline numbers agree, whatever the contents.
            target.disk.interrupted = false;
            return;
        }
        target.disk = Disk {
            incarnation: copied.incarnation,
            source: copied.source.clone(),
            ..copied
        };
        target.disk.interrupted = rewind && self.random.one_in(20);
    }

    /// A client, or the agent's barrier, writes on this host.
    fn write(&mut self, index: usize) -> u32 {
        let host = &mut self.hosts[index];
        let timeline = host.disk.timeline().0;
        let value = self.next_value;
        self.next_value += 1;
        host.disk.wal.push(Record { timeline, value });
        let lsn = host.disk.wal.len();
        if let Some(postgres) = &mut host.postgres {
            postgres.waiting.push_back((lsn, value));
        }
        self.events.push(Event::Appended {
            host: index,
            from_timeline: timeline,
        });
        value
    }

    fn databases(&mut self) {
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            if let Some(agent_at) = host.restart_agent_at
                && agent_at <= self.now
            {
                host.restart_agent_at = None;
                host.start_agent(self.now);
            }
            let Some(postgres) = &mut host.postgres else {
                continue;
            };
            if !postgres.postmaster && postgres.orphans_until <= self.now {
                host.postgres = None;
                continue;
            }
            let promoted = postgres.recover(&mut host.disk, self.now, &mut self.random);
            if promoted {
                let timeline = host.disk.timeline().0;
                self.events.push(Event::Promoted { host: index });
                self.events.push(Event::Appended {
                    host: index,
                    from_timeline: timeline,
                });
                self.say(|| format!("host {index} is promoted on timeline {timeline}"));
            }
        }
        for index in 0..self.hosts.len() {
            self.stream(index);
        }
        for index in 0..self.hosts.len() {
            self.forget_lost_walsenders(index);
            let commits = self.hosts[index]
                .postgres
                .as_ref()
                .is_some_and(|p| p.commits(self.now));
            if commits && self.now.is_multiple_of(2) && self.random.chance(70) {
                self.write(index);
            }
            let Some(postgres) = self.hosts[index]
                .postgres
                .as_mut()
                .filter(|p| p.commits(self.now))
            else {
                continue;
            };
            let acknowledged = postgres.acknowledge();
            for value in acknowledged {
                self.acknowledge(index, value);
            }
        }
    }

    fn acknowledge(&mut self, index: usize, value: u32) {
        let host = &mut self.hosts[index];
        let timeline = host.disk.timeline().0;
        let now = host.clock.now(self.now);
        if let Some(agent) = &mut host.agent
            && agent.barrier == Some(value)
        {
            let epoch = agent.lease.and_then(|lease| lease.live(now));
            agent.first_commit = epoch.map(|epoch| (epoch, Lsn(host.disk.wal.len() as u64)));
            agent.barrier = None;
            agent.next_report = self.now;
        }
        self.acknowledged.push(value);
        self.events.push(Event::Acknowledged {
            host: index,
            value,
            timeline,
        });
    }

    /// Streaming replication into this host, one tick.
    fn stream(&mut self, index: usize) {
        let Some(postgres) = &self.hosts[index].postgres else {
            return;
        };
        let Some(receiver) = &postgres.receiver else {
            return;
        };
        if !postgres.works(self.now) {
            return;
        }
        let source_index = receiver.source;
        let source_works = self.hosts[source_index]
            .postgres
            .as_ref()
            .is_some_and(|p| p.works(self.now));
        let source_runs = self.hosts[source_index].postgres.is_some();
        let hears = !self
            .network
            .is_cut(End::Host(source_index), End::Host(index));
        let is_heard = !self
            .network
            .is_cut(End::Host(index), End::Host(source_index));
        let deaf = self.now - receiver.last_heard > 50;
        let is_promoted =
            self.hosts[source_index].disk.timeline() != self.hosts[index].disk.timeline();
        let own_end = self.hosts[index].disk.end();
        let source_end = self.hosts[source_index].disk.end();
        let mut drop_receiver = deaf || (hears && !source_runs);
        let may = source_index != index
            && self.hosts[source_index].disk.lineage().contains(own_end)
            && own_end.lsn <= source_end.lsn;
        if source_works && hears && is_heard && !drop_receiver {
            drop_receiver = !may;
        }
        if drop_receiver {
            let name = receiver.name.clone();
            let postgres = self.hosts[index].postgres.as_mut().expect("seen above");
            postgres.receiver = None;
            postgres.retry_at = self.now + self.random.between(3, 8);
            if is_heard && let Some(source) = &mut self.hosts[source_index].postgres {
                source.flushes.remove(&name);
            }
            return;
        }
        if !(source_works && hears) || self.random.one_in(8) {
            return;
        }
        let name = receiver.name.clone();
        let is_new = !receiver.streaming;
        if is_new
            && !(is_heard
                && self.hosts[source_index]
                    .postgres
                    .as_ref()
                    .is_some_and(|p| p.postmaster))
        {
            return;
        }
        let missing: Vec<Record> =
            self.hosts[source_index].disk.wal[own_end.lsn.0 as usize..].to_vec();
        let (left_at, real, planted) = {
            let disk = &self.hosts[source_index].disk;
            (
                disk.left_at.clone(),
                disk.real.clone(),
                disk.planted.clone(),
            )
        };
        let host = &mut self.hosts[index];
        if is_promoted {
            // It fetches the history files that it lacks.
            host.disk.left_at.extend(left_at);
            host.disk.real.extend(real);
            host.disk.planted.extend(planted);
        }
        if !missing.is_empty() {
            let from_timeline = source_end.timeline.0;
            self.events.push(Event::Appended {
                host: index,
                from_timeline,
            });
        }
        host.disk.wal.extend(missing);
        let flushed = host.disk.wal.len();
        let postgres = host.postgres.as_mut().expect("seen above");
        postgres.remembered = flushed;
        if let Some(receiver) = &mut postgres.receiver {
            receiver.streaming = true;
            receiver.last_heard = self.now;
        }
        if is_heard && let Some(source) = &mut self.hosts[source_index].postgres {
            source.flushes.insert(name, flushed);
        }
    }

    /// A walsender ends when its receiver does, as far as its host can tell.
    fn forget_lost_walsenders(&mut self, index: usize) {
        let Some(postgres) = &self.hosts[index].postgres else {
            return;
        };
        if postgres.flushes.is_empty() || postgres.frozen {
            return;
        }
        let connected: BTreeSet<String> = self
            .hosts
            .iter()
            .filter_map(|host| host.postgres.as_ref()?.receiver.as_ref())
            .filter(|receiver| receiver.source == index && receiver.streaming)
            .map(|receiver| receiver.name.clone())
            .collect();
        if let Some(postgres) = &mut self.hosts[index].postgres {
            postgres.flushes.retain(|name, _| connected.contains(name));
        }
    }

    /// What an operator would see of the agents' promises.
    pub fn promises(&self) -> BTreeMap<usize, Order> {
        let order = |host: &Host| host.agent.as_ref()?.promise.as_ref().map(|p| p.order);
        self.hosts
            .iter()
            .filter_map(|host| Some((host.index, order(host)?)))
            .collect()
    }

    /// Kills a peer; its log survives, its memory does not.
    pub fn crash_peer(&mut self, index: usize) {
        self.peers[index].crash();
        if self.leader == Some(index) {
            self.leader = None;
        }
    }

    /// Kills the agent; peers it can reach see the connection close.
    pub fn kill_agent(&mut self, index: usize) {
        let Some(agent) = self.hosts[index].agent.take() else {
            return;
        };
        for to in 0..self.peers.len() {
            let message = Message::Closed {
                from: index,
                to,
                session: agent.session,
            };
            self.network.send(self.now, message, &mut self.random);
        }
    }
}
