//! The leader dies at every line: once before and once after each moment at which it had something recorded or told an agent
//! something, in every procedure there is. Whatever it was, it ends without a human.

use primacy::model::{Durability, Reads};
use primacy::state::ClusterState;

use crate::faults::harm;
use crate::host::TICK;
use crate::invariants::{Invariants, is_healthy};
use crate::world::World;

/// A cluster settles, and a procedure ends, well within.
const WITHIN: u64 = 90_000 / TICK;
/// A node that was killed comes back after this.
const BACK_IN: u64 = 4_000 / TICK;
/// What a postmaster that was killed leaves behind lives so long.
const ORPHANS_LIVE: u64 = 1_000 / TICK;
/// The peer that died comes back after this, so that another leads meanwhile.
const PEER_BACK_IN: u64 = 3_000 / TICK;
/// What is left to do when all seems well: to let others follow, and to forget.
const REST: u64 = 1_000 / TICK;

/// How many instances, and what their commits wait for.
type Shape = (usize, Durability);

const SHAPES: [Shape; 3] = [
    (3, Durability::Quorum { standbys: 1 }),
    (3, Durability::Async),
    (2, Durability::Quorum { standbys: 1 }),
];
/// Any will do: where the leader dies is not drawn.
const SEED: u64 = 7;

/// What is under way when the leader dies.
#[derive(Debug, Clone, Copy)]
enum Procedure {
    Creation,
    /// The primary's host dies, and comes back to rejoin.
    NodeDeath,
    /// The postmaster of the primary dies; its agent lives.
    PostmasterDeath,
    Switchover,
    /// A standby loses its disk, and gets a copy.
    Rebuild,
    /// The agent of the primary stops and comes back.
    PlannedStop,
}

const PROCEDURES: [Procedure; 6] = [
    Procedure::Creation,
    Procedure::NodeDeath,
    Procedure::PostmasterDeath,
    Procedure::Switchover,
    Procedure::Rebuild,
    Procedure::PlannedStop,
];

/// Who dies with the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum With {
    Nobody,
    /// The host of the primary, or of whom it is about to become: the leader's zone is gone.
    Primary,
}

impl Procedure {
    /// The world in the moment before it.
    fn prepared(self, (members, durability): Shape) -> (World, Invariants) {
        let mut world = World::new(SEED, members, durability, Reads::Fast);
        let mut invariants = Invariants::default();
        if !matches!(self, Procedure::Creation) {
            until_healthy(&mut world, &mut invariants, "at first");
        }
        (world, invariants)
    }

    fn begin(self, world: &mut World) {
        let primary = primary(world);
        let standby = (0..world.hosts.len()).find(|it| Some(*it) != primary);
        let (Some(primary), Some(standby)) = (primary, standby) else {
            return;
        };
        match self {
            Procedure::Creation => {}
            Procedure::NodeDeath => harm::kill_node(world, primary, world.now + BACK_IN),
            Procedure::PostmasterDeath => assert!(harm::kill_postmaster(
                world,
                primary,
                world.now + ORPHANS_LIVE
            )),
            Procedure::Switchover => assert!(world.ask_switchover(standby, false)),
            Procedure::Rebuild => harm::lose_disk(world, standby),
            Procedure::PlannedStop => assert!(harm::stop_agent(world, primary, BACK_IN)),
        }
    }
}

fn primary(world: &World) -> Option<usize> {
    let state = world.cluster();
    let recorded = state.cluster.primary.as_ref();
    world.hosts.iter().position(|it| Some(&it.id) == recorded)
}

fn tick(world: &mut World, invariants: &mut Invariants, what: &str) {
    world.tick();
    let broken = invariants.tick(world);
    assert!(broken.is_empty(), "{what}: {broken:?}");
}

fn until_healthy(world: &mut World, invariants: &mut Invariants, what: &str) {
    let until = world.now + WITHIN;
    let mut well_for = 0;
    while well_for < REST {
        tick(world, invariants, what);
        let is_well = is_healthy(world) && world.cluster().cluster.switchover.is_none();
        well_for = if is_well { well_for + 1 } else { 0 };
        assert!(
            world.now < until,
            "{what}: it does not end: {:?}, {:?}",
            world.cluster(),
            world.plan.waiting
        );
    }
}

/// What a leader has done so far: what is recorded, and how many commands were sent.
fn done(world: &World) -> (ClusterState, u64) {
    let sent = world.peers.iter().map(|peer| peer.next_command).sum();
    (world.cluster().clone(), sent)
}

/// The ticks after which something had been done that had not before.
fn points(procedure: Procedure, shape: Shape) -> Vec<u64> {
    let (mut world, mut invariants) = procedure.prepared(shape);
    let from = world.now;
    procedure.begin(&mut world);
    let mut points = vec![0];
    let mut before = done(&world);
    let mut well_for = 0;
    while well_for < REST || world.now - from < BACK_IN + REST {
        tick(&mut world, &mut invariants, "undisturbed");
        let after = done(&world);
        if after != before {
            points.extend([world.now - from - 1, world.now - from]);
        }
        before = after;
        well_for = if is_healthy(&world) { well_for + 1 } else { 0 };
        assert!(world.now - from < WITHIN, "{procedure:?} does not end");
    }
    points.dedup();
    points
}

fn dies_at(procedure: Procedure, shape: Shape, point: u64, with: With) {
    let what = format!("{procedure:?} of {shape:?}, tick {point}, with {with:?}");
    let (mut world, mut invariants) = procedure.prepared(shape);
    procedure.begin(&mut world);
    for _ in 0..point {
        tick(&mut world, &mut invariants, &what);
    }
    if let Some(leader) = world.leader {
        world.crash_peer(leader);
        world.peers[leader].restart_at = Some(world.now + PEER_BACK_IN);
    }
    if with == With::Primary
        && let Some(primary) = primary(&world)
    {
        let back_at = world.now + BACK_IN;
        harm::kill_node(&mut world, primary, back_at);
    }
    until_healthy(&mut world, &mut invariants, &what);
    let broken = invariants.end(&world);
    assert!(broken.is_empty(), "{what}: {broken:?}");
}

#[test]
fn a24_the_leader_may_die_at_any_line() {
    let mut died = 0;
    for (procedure, shape) in PROCEDURES.iter().flat_map(|it| SHAPES.map(|of| (*it, of))) {
        let points = points(procedure, shape);
        assert!(points.len() > 3, "{procedure:?}: {points:?}");
        for with in [With::Nobody, With::Primary] {
            // Its only data is on that host.
            if matches!(procedure, Procedure::Creation) && with == With::Primary {
                continue;
            }
            for point in &points {
                dies_at(procedure, shape, *point, with);
                died += 1;
            }
        }
        println!("{procedure:?} of {shape:?}: at {} moments", points.len());
    }
    println!("the leader died {died} times");
}
