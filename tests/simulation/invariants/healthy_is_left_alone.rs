//! A primary that has served its standbys without interruption loses neither its epoch nor its processes.

use super::Violation;
use crate::network::End;
use crate::world::{Event, World};

/// How long a primary must have served before taking it down is wrong, in ticks: longer than any
/// reading that a decision may be based on.
const SERVED_FOR: u64 = 90;

#[derive(Default)]
pub struct Check {
    serves_since: Option<(usize, u64)>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), Violation> {
        let served = self
            .serves_since
            .filter(|(_, since)| world.now - since >= SERVED_FOR);
        for event in &world.events {
            match event {
                Event::Begun { epoch } => {
                    if let Some((host, _)) = served {
                        return Err(format!(
                            "a healthy cluster was disturbed: epoch {epoch} was burnt while host {host} served"
                        ));
                    }
                }
                Event::FenceAdmitted { host, order } => {
                    let state = world.cluster();
                    let is_primary = state.cluster.primary.as_ref() == Some(&world.hosts[*host].id);
                    if is_primary && state.is_established() && order.epoch == state.cluster.epoch {
                        return Err(format!(
                            "a healthy cluster was disturbed: a late fence of epoch {} hit its own primary, host {host}",
                            order.epoch
                        ));
                    }
                }
                _ => {}
            }
        }
        let serving = world
            .hosts
            .iter()
            .find(|host| serves(world, host.index))
            .map(|host| host.index);
        self.serves_since = match (self.serves_since, serving) {
            (Some((before, since)), Some(now)) if before == now => Some((before, since)),
            (_, Some(now)) => Some((now, world.now)),
            (_, None) => None,
        };
        Ok(())
    }
}

/// Whether it is the recorded primary, holds its lease, and its standbys hear it.
fn serves(world: &World, index: usize) -> bool {
    let host = &world.hosts[index];
    let cluster = &world.cluster().cluster;
    let leased = host
        .deadline
        .is_some_and(|until| host.clock.now(world.now) < until);
    let commits = host
        .postgres
        .as_ref()
        .is_some_and(|p| p.postmaster && p.can_acknowledge(world.now));
    let heard = |n: &usize| {
        if !can_say_so(world, *n) {
            return false;
        }
        let receiver = world.hosts[*n]
            .postgres
            .as_ref()
            .and_then(|p| p.works(world.now).then_some(p.receiver.as_ref()?));
        receiver.is_some_and(|r| r.source == index && r.streaming && world.now - r.last_heard < 10)
    };
    let hearing = (0..world.hosts.len()).filter(heard).count();
    cluster.primary.as_ref() == Some(&host.id)
        && leased
        && commits
        && hearing >= cluster.durability.standby_acks().max(1)
}

/// Whether the leader can hear it from this standby's agent.
fn can_say_so(world: &World, host: usize) -> bool {
    let agent = world.hosts[host].agent.as_ref();
    let linked = |leader: usize| world.network.both_ways(End::Peer(leader), End::Host(host));
    agent.is_some_and(|agent| !agent.frozen) && world.leader.is_some_and(linked)
}
