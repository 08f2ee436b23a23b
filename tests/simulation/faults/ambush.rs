//! Faults that wait for the moment at which they hurt most.

use primacy::model::{ChangePhase, Durability, Timestamp, view::SILENT_AFTER};
use primacy::recovery::Handover;

use super::harm::{cut_power, freeze, kill_node};
use super::injection::cut_off;
use super::said::hold;
use super::thaw;
use crate::host::{Host, TICK};
use crate::network::End;
use crate::postgres::Postgres;
use crate::world::World;

/// What a fault waits for.
#[derive(Debug, Clone, Copy)]
pub enum Ambush {
    /// A handover that elects or promotes: agents that take part in it crash, now and then under a new leader.
    Handover,
    /// A promotion that was asked for: it completes long after the leader gave it up, because the agent
    /// crashes and is back when the next epoch is being fenced.
    Promotion,
    /// The first fence: the primary that was frozen goes on at that moment.
    Fencing { frozen: usize },
    /// A candidate whose leash is armed: its agent crashes, and once more between promise and stop when
    /// the next epoch is fenced.
    ArmedFence,
    /// A primary that is told to shut down: it, the named candidate, an agent or the leader comes to harm.
    Switchover,
    /// Another durability that is on its way to be recorded: the primary, a standby, an agent or the leader comes to harm.
    Durability,
    /// The moment at which `async` is recorded in the place of a quorum: the primary and another host, which may have longer
    /// leases and words still, are cut off.
    Lapsed,
    /// The moment at which a primary goes for so long that somebody forces a failover.
    Loss { primary: usize, at: u64 },
    /// A failover that waits for a proof: somebody forces it. A peer and some hosts were cut off for that, or none.
    Proof { is_cut: bool },
    /// The moment at which those who back a primary that no peer reaches begin anew.
    Backers { primary: usize, at: u64 },
}

impl Ambush {
    /// The class of faults that it belongs to; it occurs when it strikes.
    pub fn class(self) -> &'static str {
        match self {
            Ambush::Handover => "crash_in_handover",
            Ambush::Promotion => "slow_promotion",
            Ambush::Fencing { .. } => "thaw_in_fence",
            Ambush::ArmedFence => "crash_at_fence",
            Ambush::Switchover => "harm_in_switchover",
            Ambush::Durability | Ambush::Lapsed => "harm_in_durability",
            Ambush::Proof { is_cut: false } | Ambush::Loss { .. } => "forced_failover",
            Ambush::Proof { is_cut: true } => "cut_and_forced_failover",
            Ambush::Backers { .. } => "cut_primary_and_restart_backers",
        }
    }

    /// Strikes if the moment has come.
    pub fn strike(self, world: &mut World) -> bool {
        match self {
            Ambush::Handover => handover(world),
            Ambush::Promotion => promotion(world),
            Ambush::Fencing { frozen } => {
                let fences = matches!(world.cluster().handover, Some(Handover::Fencing { .. }));
                if fences {
                    thaw(world, frozen);
                }
                fences
            }
            Ambush::ArmedFence => armed_fence(world),
            Ambush::Switchover => switchover(world),
            Ambush::Durability => durability(world),
            Ambush::Lapsed => lapsed(world),
            Ambush::Loss { primary, at } => {
                let is_due = world.now >= at;
                if is_due {
                    kill_node(world, primary, world.now + 2_000);
                }
                is_due
            }
            Ambush::Proof { .. } => forced(world),
            Ambush::Backers { primary, at } => {
                let is_due = world.now >= at;
                if is_due {
                    restart_backers(world, primary);
                }
                is_due
            }
        }
    }
}

/// The agents of all others begin anew, now and then without their promises.
fn restart_backers(world: &mut World, primary: usize) {
    let lose_promises = world.random.chance(30);
    for host in (0..world.hosts.len()).filter(|host| *host != primary) {
        world.crash_agent(host, 2);
        if lose_promises {
            world.hosts[host].promise = None;
            world.hosts[host].promise_losses += 1;
        }
    }
}

/// Somebody forces the failover.
fn forced(world: &mut World) -> bool {
    let Some(to) = world.force_failover() else {
        return false;
    };
    if world.random.chance(50) {
        change_who_is_heard(world, to);
    }
    keep_word(world, to);
    true
}

/// The one that would be elected dies, and others come back who may hold less; but nobody whose promise would prove anything
/// by itself.
fn change_who_is_heard(world: &mut World, to: usize) {
    let back_in = world.random.between(600, 2_000);
    kill_node(world, to, world.now + back_in);
    let holders = world.cluster().cluster.holders.clone();
    for host in 0..world.hosts.len() {
        if host == to || holders.contains(&world.hosts[host].id) {
            continue;
        }
        thaw(world, host);
        if world.hosts[host].agent.is_none() {
            let back_in = world.random.between(2, 30);
            world.hosts[host].restart_agent_at = Some(world.now + back_in);
        }
    }
}

/// Who forces a failover is told to see to it that whoever was the primary is not backed by those whom nobody hears: it is
/// switched off, or they are.
fn keep_word(world: &mut World, to: usize) {
    let holders = world.cluster().cluster.holders.clone();
    let is_old = world.random.chance(50);
    let back_at = world.now + world.random.between(600, 2_000);
    for host in 0..world.hosts.len() {
        let is_holder = holders.contains(&world.hosts[host].id);
        let is_heard = world.leader.is_some_and(|leader| {
            let sighting = world.peers[leader].sightings.get(&world.hosts[host].id);
            let now = Timestamp(world.now * TICK);
            world.network.both_ways(End::Peer(leader), End::Host(host))
                && sighting
                    .is_some_and(|it| it.connected && now.since(it.received_at) <= SILENT_AFTER)
        });
        if host != to && is_holder == is_old && (is_old || !is_heard) {
            match is_old {
                true => cut_power(world, host, back_at),
                // Their agents alone: the databases go on, and may acknowledge until its lease ends.
                false => {
                    world.kill_agent(host);
                    world.hosts[host].restart_agent_at = Some(back_at);
                }
            }
        }
    }
}

fn handover(world: &mut World) -> bool {
    let candidate = match &world.cluster().handover {
        Some(Handover::Promoting { candidate, .. }) => Some(candidate.clone()),
        Some(Handover::Fencing { promises }) if !promises.is_empty() => None,
        _ => return false,
    };
    let random_host = world.random.below(world.hosts.len() as u64) as usize;
    let candidate = world
        .hosts
        .iter()
        .position(|host| Some(&host.id) == candidate.as_ref());
    let back_in = world.random.between(2, 60);
    world.crash_agent(candidate.unwrap_or(random_host), back_in);
    let peer = world.random.below(world.peers.len() as u64) as usize;
    if world.random.chance(50) && world.has_majority(peer) {
        world.elect(peer);
    }
    true
}

fn promotion(world: &mut World) -> bool {
    let now = world.now;
    let asked = world.hosts.iter().position(|host| {
        let postgres = host.postgres.as_ref();
        host.agent.is_some() && postgres.is_some_and(|p| p.in_recovery && p.promote_at.is_some())
    });
    let Some(host) = asked else { return false };
    let opens_at = now + world.random.between(15, 100);
    if let Some(postgres) = &mut world.hosts[host].postgres {
        postgres.promote_at = Some(opens_at);
    }
    let back_in = world.random.between(2, 14);
    world.crash_agent(host, back_in);
    true
}

fn armed_fence(world: &mut World) -> bool {
    let Some(Handover::Promoting { candidate, .. }) = &world.cluster().handover else {
        return false;
    };
    let is_armed = |host: &&Host| {
        let armed = host.agent.as_ref().is_some_and(|it| it.armed.is_some());
        let waits = |p: &Postgres| p.in_recovery && p.promote_at.is_none();
        host.id == *candidate && armed && host.postgres.as_ref().is_some_and(waits)
    };
    let found = world.hosts.iter().find(is_armed).map(|host| host.index);
    let Some(host) = found else { return false };
    world.hosts[host].dies_at_fence = true;
    let back_in = world.random.between(62, 80);
    world.crash_agent(host, back_in);
    true
}

fn durability(world: &mut World) -> bool {
    // Sooner or later: before it is put in force, and before it is recorded.
    let change = world.cluster().cluster.durability_change.as_ref();
    let rarely = match change.map(|it| it.phase) {
        None | Some(ChangePhase::Waiting) => return false,
        Some(ChangePhase::Confirming) => 15,
        Some(ChangePhase::Lapsing) => 1,
    };
    if !world.random.chance(rarely) {
        return false;
    }
    let primary = world.cluster().cluster.primary.clone();
    let primary = world
        .hosts
        .iter()
        .position(|host| Some(&host.id) == primary.as_ref());
    let Some(primary) = primary else {
        return false;
    };
    let standby = (primary + 1 + world.random.below(world.hosts.len() as u64 - 1) as usize)
        % world.hosts.len();
    let back_in = world.random.between(20, 600);
    let able = world.random.below(world.peers.len() as u64) as usize;
    match world.random.below(7) {
        0 | 1 => kill_node(world, primary, world.now + back_in),
        2 => world.crash_agent(primary, back_in.min(60)),
        3 => kill_node(world, standby, world.now + back_in),
        4 => {
            world.network.cut(End::Host(primary), End::Host(standby));
            world.network.cut(End::Host(standby), End::Host(primary));
        }
        5 => {
            let standbys = world.random.below(2) as u8;
            world.ask_durability(standbys);
        }
        _ if world.has_majority(able) => world.elect(able),
        _ => {}
    }
    true
}

fn lapsed(world: &mut World) -> bool {
    let cluster = &world.cluster().cluster;
    let is_recorded = cluster.durability == Durability::Async;
    let primary = cluster.primary.clone();
    let mut hosts = world.hosts.iter();
    let primary = hosts.position(|host| Some(&host.id) == primary.as_ref());
    let Some(primary) = primary.filter(|_| is_recorded) else {
        return false;
    };
    let with = (primary + 1) % world.hosts.len();
    cut_off(world, &[End::Host(primary), End::Host(with)]);
    true
}

fn switchover(world: &mut World) -> bool {
    let asked = world.cluster().cluster.switchover.clone();
    // Sooner or later: while it goes down, and when another one is elected.
    let Some(asked) = asked.filter(|it| it.has_begun() && world.random.chance(50)) else {
        return false;
    };
    let host_of = |id| world.hosts.iter().position(|host| host.id == id);
    let (Some(from), Some(to)) = (host_of(asked.from), host_of(asked.to)) else {
        return false;
    };
    let back_in = world.random.between(20, 600);
    let able = world.random.below(world.peers.len() as u64) as usize;
    match world.random.below(12) {
        // It is given up while the leader of before still says it.
        10 | 11 if world.has_majority(able) => {
            hold(world, None, 100);
            world.elect(able);
        }
        0 => freeze(world, to),
        1 => world.hosts[to].postgres = None,
        2 => kill_node(world, to, world.now + back_in),
        3 => kill_node(world, from, world.now + back_in),
        4 => world.crash_agent(from, back_in),
        // What the primary still writes does not reach it.
        5 | 6 => {
            world.network.cut(End::Host(from), End::Host(to));
            world.network.cut(End::Host(to), End::Host(from));
        }
        7 | 8 => {
            if let Some(postgres) = &mut world.hosts[to].postgres {
                postgres.frozen = true;
            }
        }
        _ if world.has_majority(able) => world.elect(able),
        _ => {}
    }
    true
}
