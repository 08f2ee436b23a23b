//! The world: peers, hosts, clients and the network between them, one tick after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use primacy::broken;
use primacy::control::{AgentMessage, PeerMessage};
use primacy::decision::explain::Explanation;
use primacy::decision::turns::Turns;
use primacy::decision::{Plan, Programs, decide, forced, switchover};
use primacy::duty::{Act, Outcome, Refusal, Tenure};

use primacy::model::{
    Address, ChangePhase, ClusterName, Database, Durability, Epoch, Failure, InForce, InstanceId,
    Lsn, Order, PlannedStop, Reads, Sighting, Timestamp, View, WalPosition, Zone,
    switchover::USUAL_WAIT, view::SILENT_AFTER,
};
use primacy::recovery::{Action, Evidence, FenceProof, Step};
use primacy::state::{
    Change, ClusterState, Command, Directive, DirectiveCommand, Entry, ForceFailover, NewCluster,
    NewDurability, NewSwitchover, State, command::NewMember,
};

use crate::disk::{Disk, Record, Trouble};
use crate::host::{Commit, Effect, Host, HostClock, TICK};
use crate::network::{End, Message, Network};
use crate::peer::{Flight, Peer, Renewal};
use crate::random::Random;

mod delivery;
mod hearing;
mod leading;
mod replication;

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
    Promoted { host: usize, timeline: u32 },
    /// A primary was told to shut down, under this order.
    ToldToShutDown { host: usize, order: Order },
    /// The leash of a host ended the processes there.
    Leashed { host: usize },
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
    /// Counts the elections of peers.
    pub term: u64,
    pub proposals: Vec<(u64, usize, Change)>,
    pub events: Vec<Event>,
    pub plan: Plan,
    pub next_value: u32,
    /// What clients were told is safe, and where it ends.
    pub acknowledged: Vec<(u32, WalPosition)>,
    pub handovers: u64,
    /// What was seen to happen that a run must not do without: see [`EVENTS`].
    pub seen: BTreeSet<&'static str>,
    /// Whether no client writes.
    pub is_quiet: bool,
    pub trace: Option<Vec<String>>,
    /// The turns of many clusters, of which this is one, by another name.
    pub turns: Option<(ClusterName, Arc<Mutex<Turns>>)>,
    name: ClusterName,
}

/// What must happen in some seed, or a rule is not tried.
pub const EVENTS: [&str; 11] = [
    "backed",
    "forced_election",
    "would_lose_more",
    "slow_to_promise",
    "switchover_recalled",
    "durability_confirmed",
    "durability_weakened",
    "handover_while_confirming",
    "async_recorded",
    "quorum_after_async",
    "handover_while_lapsing",
];

pub fn instance(index: usize) -> InstanceId {
    InstanceId::new(["a", "b", "c", "d", "e"][index]).expect("a valid name")
}

impl World {
    pub fn new(seed: u64, members: usize, durability: Durability, reads: Reads) -> World {
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
                clock: HostClock {
                    drift: random.below(41) as i64 - 20,
                    offset: random.below(1_000_000),
                },
                disk: Disk::default(),
                postgres: None,
                agent: None,
                leash_frozen: false,
                deadline: None,
                note: None,
                blind_until: 0,
                slow_until: 0,
                stuck_until: 0,
                disk_fault: None,
                wrote_at: 0,
                leashed: false,
                dies_at_fence: false,
                promise: None,
                sessions: 0,
                promise_losses: 0,
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
            term: 0,
            proposals: Vec::new(),
            events: Vec::new(),
            plan: Plan::default(),
            next_value: 1,
            acknowledged: Vec::new(),
            handovers: 0,
            seen: BTreeSet::new(),
            is_quiet: false,
            trace: None,
            turns: None,
            name: name.clone(),
        };
        let new = NewCluster {
            durability,
            reads,
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

    /// What operators said and is in force.
    pub fn said(&self) -> InForce {
        self.state.directives.in_force(&self.name, self.now * TICK)
    }

    /// Has what an operator says recorded at once.
    pub fn direct(&mut self, change: Directive) {
        let at = self.now * TICK;
        let command = DirectiveCommand { at, change };
        self.state.apply_entry(Entry::Directive(command));
    }

    pub fn name(&self) -> ClusterName {
        self.name.clone()
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
            self.hosts[index].leash(self.now, &mut self.random);
            if self.hosts[index].leashed {
                self.events.push(Event::Leashed { host: index });
            }
            let effects = self.hosts[index].work(self.now, &mut self.random);
            self.perform(index, effects);
        }
        self.databases();
        for peer in 0..self.peers.len() {
            if self.peers[peer].works() && self.peers[peer].tenure.is_some() {
                self.lead(peer);
            }
        }
        self.commit_proposals();
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

    /// Ends the agent and starts it again after so many ticks.
    pub fn crash_agent(&mut self, index: usize, back_in: u64) {
        self.kill_agent(index);
        self.hosts[index].restart_agent_at = Some(self.now + back_in);
    }

    /// Kills the agent; peers it can reach see the connection close.
    pub fn kill_agent(&mut self, index: usize) {
        let Some(agent) = self.hosts[index].end_agent(self.now, &mut self.random) else {
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
