//! A primary that has served its standbys without interruption loses neither its epoch nor its processes; nor does
//! one that cannot write if nobody else could.

use std::collections::{BTreeMap, BTreeSet};

use primacy::model::{Timestamp, view::SILENT_AFTER};

use crate::host::{Host, TICK};
use crate::network::End;
use crate::postgres::Postgres;
use crate::world::{Event, World};

/// How long a primary must have served before taking it down is wrong, in ticks: longer than any
/// reading that a decision may be based on.
const SERVED_FOR: u64 = 90;

#[derive(Default)]
pub struct Check {
    serving: Option<Serving>,
    /// When the disk of a host took no writes last.
    troubled_at: BTreeMap<usize, u64>,
}

/// A primary that serves, since when, and the standbys that have heard it all that time.
struct Serving {
    host: usize,
    since: u64,
    hearing: BTreeSet<usize>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        let served = self
            .serving
            .as_ref()
            .filter(|serving| world.now - serving.since >= SERVED_FOR)
            .map(|serving| serving.host);
        for event in &world.events {
            match event {
                Event::Begun { epoch } => {
                    // An operator who forces a failover takes down what nobody else would.
                    let is_forced = world.cluster().cluster.forced.is_some();
                    if let Some(host) = served.filter(|_| !is_forced) {
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
        for host in world.hosts.iter().filter(|it| !it.writes(world.now)) {
            self.troubled_at.insert(host.index, world.now);
        }
        let enough = world.cluster().cluster.durability.standby_acks().max(1);
        let mut hosts = world.hosts.iter();
        let primary = hosts.find(|host| self.is_up(world, host.index));
        self.serving = primary.and_then(|primary| {
            let hearing = hearing(world, primary.index);
            let before = self
                .serving
                .take()
                .filter(|serving| serving.host == primary.index);
            let serving = match before {
                Some(before) => Serving {
                    hearing: &before.hearing & &hearing,
                    ..before
                },
                None => Serving {
                    host: primary.index,
                    since: world.now,
                    hearing,
                },
            };
            (serving.hearing.len() >= enough).then_some(serving)
        });
        Ok(())
    }
}

/// How long a disk must have taken no writes, or taken them again, before its agent must have said so, in ticks: a probe is
/// due, is late, is reported, and the report is on its way.
const DISK_IS_KNOWN: u64 = 200;

impl Check {
    /// Whether the disk of the primary is known to work, or for long has been no worse than every other.
    fn is_best_disk(&self, world: &World, primary: usize) -> bool {
        let troubled_at = self.troubled_at.get(&primary);
        let fails = |host: &Host| world.now - host.wrote_at > DISK_IS_KNOWN;
        troubled_at.is_none_or(|at| world.now - at > DISK_IS_KNOWN) || world.hosts.iter().all(fails)
    }

    /// Whether it is the recorded primary, holds its lease and can acknowledge.
    fn is_up(&self, world: &World, index: usize) -> bool {
        let host = &world.hosts[index];
        let leased = host
            .deadline
            .is_some_and(|until| host.clock.now(world.now) < until);
        let commits = |p: &Postgres| p.postmaster && p.can_acknowledge(world.now);
        // One whom no peer reaches may be replaced as soon as those who hear it back it no more.
        let is_reached = world
            .leader
            .is_some_and(|it| world.network.both_ways(End::Peer(it), End::Host(index)));
        world.cluster().cluster.primary.as_ref() == Some(&host.id)
            && leased
            && is_reached
            && self.is_best_disk(world, index)
            && host.postgres.as_ref().is_some_and(commits)
    }
}

/// The standbys that hear it and can say so.
fn hearing(world: &World, primary: usize) -> BTreeSet<usize> {
    let hears = |n: &usize| {
        let postgres = world.hosts[*n]
            .postgres
            .as_ref()
            .filter(|p| p.works(world.now));
        let receiver = postgres.and_then(|p| p.receiver.as_ref());
        receiver
            .is_some_and(|r| r.source == primary && r.streaming && world.now - r.last_heard < 10)
    };
    (0..world.hosts.len())
        .filter(|n| hears(n) && can_say_so(world, *n))
        .collect()
}

/// Whether the leader can hear it from this standby's agent, and did: what is lost on the way says nothing.
fn can_say_so(world: &World, host: usize) -> bool {
    let Some(leader) = world.leader else {
        return false;
    };
    let agent = world.hosts[host].agent.as_ref();
    let linked = world.network.both_ways(End::Peer(leader), End::Host(host));
    let now = Timestamp(world.now * TICK);
    let sighting = world.peers[leader].sightings.get(&world.hosts[host].id);
    let is_heard =
        sighting.is_some_and(|it| it.connected && now.since(it.received_at) <= SILENT_AFTER);
    agent.is_some_and(|agent| !agent.frozen) && linked && is_heard
}
