//! What leaders do, and what becomes recorded: the product's own decision, log and proof.

use std::collections::BTreeMap;

use primacy::decision::decide;
use primacy::duty::Duty;
use primacy::model::{
    Address, ClusterName, Durability, Incarnation, InstanceId, Lineage, Lsn, Order, Reads,
    Standing, SystemIdentifier, WalPosition, Zone,
};
use primacy::recovery::proof::promises_needed;
use primacy::recovery::{Action, Evidence, FenceProof, Promise};
use primacy::state::command::NewMember;
use primacy::state::{
    Change, ClusterState, Command, FeatureLevel, NewCluster, NewDurability, State,
};

use super::bounds::Bounds;
use super::numbered::{Known, Numbered};
use super::world::{Rule, Standby, World, is_about_it, is_for_it};

fn id(at: usize) -> InstanceId {
    InstanceId::new(["a", "b", "c", "d", "e"][at]).unwrap()
}

fn name() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

fn durability(standbys: u8) -> Durability {
    match standbys {
        0 => Durability::Async,
        standbys => Durability::Quorum { standbys },
    }
}

/// Applies a change; whether it was taken.
fn apply(of: &mut ClusterState, change: Change) -> bool {
    let mut state = State {
        level: FeatureLevel::try_from(4).unwrap(),
        ..State::default()
    };
    state.clusters.insert(name(), of.clone());
    let command = Command {
        cluster: name(),
        at: 0,
        change,
    };
    let reply = state.apply(command);
    *of = state.clusters.remove(&name()).unwrap();
    // What happened is told to people, and decides nothing.
    of.history = Default::default();
    reply.is_ok()
}

/// A cluster whose standbys all count, in an epoch of which a commit was acknowledged.
fn recorded(bounds: Bounds) -> ClusterState {
    let members = (0..usize::from(bounds.members)).map(|at| {
        let address = Address {
            host: "h".to_owned(),
            port: at as u16,
        };
        let zone = Zone::new("z").unwrap();
        (
            id(at),
            NewMember {
                address: address.clone(),
                health: address,
                zone,
            },
        )
    });
    let new = NewCluster {
        durability: durability(bounds.standbys),
        reads: Reads::Fast,
        members: members.collect(),
        first: id(0),
    };
    let mut state = State::default();
    let change = Change::Create(new);
    state
        .apply(Command {
            cluster: name(),
            at: 0,
            change,
        })
        .unwrap();
    let mut state = state.clusters.remove(&name()).unwrap();
    let position = WalPosition {
        timeline: state.cluster.timeline,
        lsn: Lsn(0),
    };
    let evidence = Evidence::Initialised {
        instance: id(0),
        identity: SystemIdentifier(1),
        position,
    };
    let order = state.order();
    assert!(apply(&mut state, Change::Record { order, evidence }));
    promote(&mut state, position);
    for member in state.cluster.members.values_mut() {
        member.standing = Standing::Voter;
        member.incarnation = Incarnation(1);
    }
    let (order, evidence) = (state.order(), Evidence::FirstCommit { lsn: Lsn(0) });
    assert!(apply(&mut state, Change::Record { order, evidence }));
    state
}

/// The one that is elected opens the timeline that is recorded, behind all that it holds.
fn promote(state: &mut ClusterState, position: WalPosition) {
    let lineage = Lineage {
        current: state.cluster.timeline,
        left_at: BTreeMap::from([(position.timeline, position.lsn)]),
    };
    let instance = state.cluster.primary.clone().unwrap();
    let order = state.order();
    let evidence = Evidence::Promoted { instance, lineage };
    assert!(apply(state, Change::Record { order, evidence }));
    // Who follows is told so by the world.
    state.handover = None;
}

/// The commands and the changes that a leader wants, by number.
type Decided = (Vec<u16>, Vec<u16>);

/// The product's own functions, and what they said.
#[derive(Default)]
pub struct Product {
    pub states: Numbered<ClusterState>,
    pub texts: Numbered<String>,
    pub orders: Numbered<Order>,
    pub commands: Numbered<(Order, Action)>,
    pub duties: Numbered<Duty>,
    pub changes: Numbered<Change>,
    recorded: Known<(u16, u16), Option<u16>>,
    decided: Known<(u16, u16, usize), Decided>,
}

impl World {
    pub fn new(bounds: Bounds, product: &mut Product) -> World {
        let state = recorded(bounds);
        let rule = product.rule(state.cluster.synchronous_standby_names(&id(0)));
        let standby = Standby {
            flushed: 0,
            sender: Some(rule),
        };
        World {
            left: bounds,
            standbys: vec![standby; usize::from(bounds.members) - 1],
            log: 0,
            acknowledged: 0,
            first_commit: 0,
            file: rule,
            loaded: rule,
            waits: rule.needed > 0,
            hung: None,
            admitted: product.orders.number(state.order()),
            duty: None,
            acting: None,
            commands: vec![],
            proposals: vec![],
            state: product.states.number(state),
        }
    }
}

impl Product {
    pub fn rule(&mut self, text: String) -> Rule {
        let needed = text.split(' ').nth(1).map_or(0, |it| it.parse().unwrap());
        let place = match text.split(' ').next() {
            Some("FIRST") => text.matches("primacy_confirms").count() as u8 + 1,
            Some("ANY") => 1,
            _ => 0,
        };
        let text = self.texts.number(text);
        Rule {
            text,
            needed,
            place,
        }
    }

    pub fn state(&self, of: &World) -> &ClusterState {
        self.states.get(of.state)
    }

    /// W.
    pub fn acks(&self, of: &World) -> usize {
        self.state(of).cluster.durability.standby_acks()
    }

    pub fn promises_needed(&self, of: &World) -> usize {
        match self.acks(of) {
            0 => 1,
            _ => promises_needed(&self.state(of).cluster),
        }
    }

    pub fn in_words(&self, world: &World) -> String {
        let state = self.state(world);
        let change = state.cluster.durability_change.as_ref();
        let change = change.map(|it| (it.to, it.phase, it.since));
        let commands = world.commands.iter().map(|it| self.commands.get(*it));
        let commands: Vec<_> = commands
            .map(|(order, it)| format!("{} {order}", it.name()))
            .collect();
        let proposals = world.proposals.iter().map(|it| self.changes.get(*it));
        let duty = world.duty.map(|(_, duty)| self.duties.get(duty));
        format!(
            "{} {}, {change:?}; log {} acknowledged {}; file {}, loaded {}, commits wait: {}, hung {:?}; {:?}; duty {duty:?} {:?}; {commands:?} {:?}",
            state.order(),
            state.cluster.durability,
            world.log,
            world.acknowledged,
            self.texts.get(world.file.text),
            self.texts.get(world.loaded.text),
            world.waits,
            world.hung,
            world.standbys,
            world.acting,
            proposals.collect::<Vec<_>>(),
        )
    }

    /// A change is recorded; none if it is refused, or changes nothing.
    fn apply(&mut self, state: u16, change: u16) -> Option<u16> {
        if let Some(known) = self.recorded.get(&(state, change)) {
            return known;
        }
        let mut after = self.states.get(state).clone();
        let is_taken = apply(&mut after, self.changes.get(change).clone());
        let after = self.states.number(after);
        let after = Some(after).filter(|it| is_taken && *it != state);
        self.recorded.keep((state, change), after)
    }

    pub fn record(&mut self, world: &World, change: u16) -> Option<World> {
        let state = self.apply(world.state, change)?;
        Some(World {
            state,
            ..world.clone()
        })
    }

    fn record_now(&mut self, world: &mut World, change: Change) {
        let change = self.changes.number(change);
        let state = self.apply(world.state, change);
        world.state = state.expect("it is taken");
    }

    pub fn ask(&mut self, world: &World, standbys: u8) -> Option<World> {
        let to = durability(standbys);
        let (owner, reason) = ("somebody".to_owned(), "work".to_owned());
        let change = Change::PlanDurability(NewDurability { to, owner, reason });
        let change = self.changes.number(change);
        self.record(world, change)
    }

    pub fn note_first_commit(&mut self, world: &mut World) {
        let state = self.state(world);
        if state.cluster.first_commit.is_none() && world.acknowledged >= world.first_commit {
            let lsn = Lsn(u64::from(world.first_commit));
            let order = state.order();
            let evidence = Evidence::FirstCommit { lsn };
            self.record_now(world, Change::Record { order, evidence });
        }
    }

    /// A leader looks, and says what is to be done; or another one does, after it. None if it has nothing new to say.
    pub fn decide(&mut self, world: &World) -> Option<World> {
        let connected = world.standbys.iter().filter(|it| it.sender.is_some());
        let key = (world.state, world.loaded.text, connected.count());
        let decided = match self.decided.get(&key) {
            Some(decided) => decided,
            None => {
                let plan = decide(self.state(world), &self.view(world));
                let commands = plan.steps.into_iter().filter(|it| is_for_it(&it.action));
                let commands = commands.map(|it| self.commands.number((it.order, it.action)));
                let commands = commands.collect();
                let changes = plan.proposals.into_iter().filter(is_about_it);
                let changes = changes.map(|it| self.changes.number(it)).collect();
                self.decided.keep(key, (commands, changes))
            }
        };
        let mut next = world.clone();
        let mut is_new = false;
        for command in decided.0 {
            is_new |= next.say(command);
        }
        for change in decided.1 {
            is_new |= next.propose(change);
        }
        is_new.then_some(next)
    }

    /// The primary dies, and the standby at this place of the order is the best of those who promise: as few as are enough.
    pub fn hand_over(&mut self, world: &World, at: usize) -> Option<World> {
        let needed = self.promises_needed(world);
        // They are in order: it, and those who come before it.
        let first = (at + 1).checked_sub(needed)?;
        let mut next = world.clone();
        next.left.handovers -= 1;
        let held = world.standbys[at].flushed;
        let others = others(self.state(world));
        let cluster = &self.state(world).cluster;
        let (seen, timeline) = (cluster.epoch, cluster.timeline);
        let cause = "the primary died".to_owned();
        self.record_now(&mut next, Change::Begin { seen, cause });
        let voices = others[first..=at].iter().zip(&world.standbys[first..=at]);
        for (instance, standby) in voices {
            let lsn = Lsn(u64::from(standby.flushed));
            let promise = Promise {
                incarnation: Some(Incarnation(1)),
                position: Some(WalPosition { timeline, lsn }),
                running: true,
            };
            let instance = instance.clone();
            self.record_evidence(&mut next, Evidence::Promised { instance, promise });
        }
        let proof = match self.acks(world) {
            0 => FenceProof::LeaseLapsed,
            _ => FenceProof::Quorum {
                counted: others[first..=at].iter().cloned().collect(),
            },
        };
        let candidate = others[at].clone();
        let elected = Evidence::Elected { candidate, proof };
        self.record_evidence(&mut next, elected);
        let mut state = self.state(&next).clone();
        let lsn = Lsn(u64::from(held));
        promote(&mut state, WalPosition { timeline, lsn });
        // What the others have beyond that is left aside, the old primary's too.
        next.standbys.remove(at);
        next.standbys.push(Standby {
            flushed: world.log,
            sender: None,
        });
        for standby in &mut next.standbys {
            standby.flushed = standby.flushed.min(held);
            standby.sender = None;
        }
        next.log = held;
        // By the proof that is all but in an async cluster, which promises nothing of the rest.
        next.acknowledged = held.min(next.acknowledged);
        next.first_commit = next.append()?;
        next.file = self.rule(state.cluster.synchronous_standby_names(&others[at]));
        next.loaded = next.file;
        next.waits = next.file.needed > 0;
        (next.hung, next.duty, next.acting) = (None, None, None);
        next.admitted = self.orders.number(state.order());
        next.state = self.states.number(state);
        Some(next)
    }

    fn record_evidence(&mut self, world: &mut World, evidence: Evidence) {
        let order = self.state(world).order();
        self.record_now(world, Change::Record { order, evidence });
    }
}

/// The names of those that are no primary, in order.
pub fn others(state: &ClusterState) -> Vec<InstanceId> {
    let all = state.cluster.members.keys();
    let others = all.filter(|it| Some(*it) != state.cluster.primary.as_ref());
    others.cloned().collect()
}
