//! What is done to one host.

use crate::disk::{Disk, Fault, Trouble};
use crate::host::{Host, Leaving, TICK};
use crate::postgres::Postgres;
use crate::random::Random;
use crate::world::World;

/// How long an agent that is being stopped waits for its longer lease, in ticks.
const LEAVE_WITHIN: u64 = 3_000 / TICK;

/// Its agent, its leash and every process of the database die at once.
pub fn kill_node(world: &mut World, host: usize, back_at: u64) {
    world.kill_agent(host);
    let node = &mut world.hosts[host];
    node.postgres = None;
    node.leash_frozen = false;
    node.deadline = None;
    node.restart_agent_at = Some(back_at);
}

/// A host without power says nothing, not even that a connection ended.
pub fn cut_power(world: &mut World, host: usize, back_at: u64) {
    world.hosts[host].lose_power();
    world.hosts[host].restart_agent_at = Some(back_at);
}

pub fn break_disk(world: &mut World, host: usize, trouble: Trouble, until: u64) {
    let holds_promise = world.random.chance(50);
    world.hosts[host].disk_fault = Some(Fault {
        trouble,
        until,
        holds_promise,
    });
}

pub fn lose_disk(world: &mut World, host: usize) {
    world.hosts[host].postgres = None;
    world.hosts[host].disk = Disk::default();
}

/// A restart of the processes alone, by their own postmaster.
pub fn restart(host: &mut Host, now: u64, random: &mut Random) {
    let mut postgres = Postgres::start(&mut host.disk, now, random);
    postgres.frozen = host.leash_frozen;
    host.postgres = Some(postgres);
}

pub fn freeze(world: &mut World, host: usize) {
    let node = &mut world.hosts[host];
    node.leash_frozen = true;
    if let Some(agent) = &mut node.agent {
        agent.frozen = true;
    }
    if let Some(postgres) = &mut node.postgres {
        postgres.frozen = true;
    }
}

pub fn thaw(world: &mut World, host: usize) {
    let node = &mut world.hosts[host];
    node.leash_frozen = false;
    if let Some(agent) = &mut node.agent {
        agent.frozen = false;
    }
    if let Some(postgres) = &mut node.postgres {
        postgres.frozen = false;
    }
}

/// Its children live on until then. Answers whether there was one.
pub fn kill_postmaster(world: &mut World, host: usize, orphans_until: u64) -> bool {
    let Some(postgres) = &mut world.hosts[host].postgres else {
        return false;
    };
    postgres.postmaster = false;
    postgres.orphans_until = orphans_until;
    true
}

/// Ends an agent in order, and has it back after so many ticks. Answers whether there was one.
pub fn stop_agent(world: &mut World, host: usize, back_in: u64) -> bool {
    let now = world.now;
    let Some(agent) = &mut world.hosts[host].agent else {
        return false;
    };
    agent.leaving = Some(Leaving {
        ask_at: now,
        until: now + LEAVE_WITHIN,
        back_in,
    });
    true
}
