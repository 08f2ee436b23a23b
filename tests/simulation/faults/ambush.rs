//! Faults that wait for the moment at which they hurt most.

use primacy::recovery::Handover;

use super::thaw;
use crate::host::Host;
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
}

impl Ambush {
    /// The class of faults that it belongs to; it occurs when it strikes.
    pub fn class(self) -> &'static str {
        match self {
            Ambush::Handover => "crash_in_handover",
            Ambush::Promotion => "slow_promotion",
            Ambush::Fencing { .. } => "thaw_in_fence",
            Ambush::ArmedFence => "crash_at_fence",
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
