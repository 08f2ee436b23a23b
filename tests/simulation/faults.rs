//! What goes wrong, when, and for how long. The schedule is drawn from the seed.

use std::collections::BTreeMap;

use primacy::model::Durability;

use crate::network::End;
use crate::world::World;

mod ambush;
pub mod harm;
mod injection;
mod said;

use ambush::Ambush;
use harm::thaw;
use said::resume;

/// The classes of faults; the run fails if one of them never occurred.
pub const CLASSES: [&str; 57] = [
    "kill_postmaster",
    "kill_postgres",
    "kill_node",
    "kill_primary_node",
    "kill_agent",
    "freeze_node",
    "freeze_primary_node",
    "freeze_agent",
    "freeze_postgres",
    "freeze_primary_postgres",
    "stall_primary_disk",
    "fill_disk",
    "fill_all_disks",
    "kill_leader",
    "kill_peer",
    "freeze_leader",
    "overlapping_leaders",
    "cut_one_way",
    "cut_host",
    "cut_peer",
    "loss",
    "delay",
    "lose_disk",
    "lose_promise",
    "restart_standby",
    "block_replay",
    "crash_in_handover",
    "lose_disk_then_primary",
    "restart_standbys_then_primary",
    "cut_power",
    "cut_all_power",
    "blind_agent",
    "slow_acts",
    "stuck_processes",
    "crash_at_fence",
    "slow_promotion",
    "thaw_in_fence",
    "echoed_commands",
    "cut_leader_with_primary",
    "orphans_unseen",
    "planned_stop",
    "planned_stop_and_leaders",
    "pause",
    "downtime",
    "must_not",
    "block",
    "switchover",
    "rash_switchover",
    "harm_in_switchover",
    "forced_failover",
    "cut_and_forced_failover",
    "cut_primary_from_peers",
    "cut_primary_and_restart_backers",
    "cut_primary_then_from_peers",
    "kill_all_peers",
    "durability",
    "harm_in_durability",
];

/// Faults that are possible at any moment.
const SPARE: [&str; 5] = ["kill_agent", "cut_one_way", "cut_host", "loss", "delay"];

pub struct Faults {
    schedule: Vec<(u64, &'static str)>,
    /// What ends when.
    ends: Vec<(u64, End_)>,
    pub counts: BTreeMap<&'static str, u64>,
    disks: usize,
    /// How many were lost.
    lost: usize,
    /// What waits for its moment.
    ambushes: Vec<Ambush>,
}

enum End_ {
    Thaw(usize),
    ThawAgent(usize),
    ThawPostgres(usize),
    Links,
    /// Those between this host and others.
    HostLinks(usize),
    Quiet,
}

impl Faults {
    /// Between `from` and `to` ticks.
    pub fn plan(world: &mut World, from: u64, to: u64) -> Faults {
        let count = world.random.between(8, 15);
        let mut schedule: Vec<_> = (0..count)
            .map(|_| {
                let at = world.random.between(from, to);
                (
                    at,
                    CLASSES[world.random.below(CLASSES.len() as u64) as usize],
                )
            })
            .collect();
        // Trouble seldom comes alone: now and then a second fault follows at once.
        for n in 0..schedule.len() {
            if world.random.chance(35) {
                let at = schedule[n].0 + world.random.below(40);
                schedule.push((
                    at,
                    CLASSES[world.random.below(CLASSES.len() as u64) as usize],
                ));
            }
        }
        schedule.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        // As many as durability promises to survive.
        let disks = match world.cluster().cluster.durability {
            Durability::Async => (world.hosts.len() - 1) / 2,
            Durability::Quorum { standbys } => usize::from(standbys),
        };
        Faults {
            schedule,
            ends: Vec::new(),
            counts: BTreeMap::new(),
            disks,
            lost: 0,
            ambushes: Vec::new(),
        }
    }

    pub fn tick(&mut self, world: &mut World) {
        let now = world.now;
        let (ended, rest) = std::mem::take(&mut self.ends)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.ends = rest;
        let ended: Vec<(u64, End_)> = ended;
        for (_, end) in ended {
            match end {
                End_::Thaw(host) => thaw(world, host),
                End_::ThawAgent(host) if world.hosts[host].leash_frozen => {}
                End_::ThawAgent(host) => {
                    if let Some(agent) = &mut world.hosts[host].agent {
                        agent.frozen = false;
                    }
                }
                // A host that is frozen whole stays so: PostgreSQL that runs while its leash does not is a
                // stated limit of async clusters.
                End_::ThawPostgres(host) if world.hosts[host].leash_frozen => {}
                End_::ThawPostgres(host) => {
                    if let Some(postgres) = &mut world.hosts[host].postgres {
                        postgres.frozen = false;
                    }
                }
                End_::Links => world.network.heal_links(),
                End_::HostLinks(host) => {
                    for other in 0..world.hosts.len() {
                        world.network.join(End::Host(host), End::Host(other));
                    }
                }
                End_::Quiet => {
                    world.network.loss = 0;
                    world.network.doubling = 0;
                    world.network.delay = 1;
                    world.network.echo = 0;
                }
            }
        }
        let waiting = std::mem::take(&mut self.ambushes);
        for ambush in waiting {
            if ambush.strike(world) {
                world.say(|| format!("FAULT {}", ambush.class()));
                *self.counts.entry(ambush.class()).or_default() += 1;
            } else {
                self.ambushes.push(ambush);
            }
        }
        while self.schedule.last().is_some_and(|(at, _)| *at <= now) {
            let Some((_, mut class)) = self.schedule.pop() else {
                break;
            };
            if !self.inject(world, class) {
                // It cannot happen now: something else does.
                class = SPARE[world.random.below(SPARE.len() as u64) as usize];
                self.inject(world, class);
            }
            let waits = self
                .ambushes
                .last()
                .is_some_and(|ambush| ambush.class() == class);
            if !waits {
                world.say(|| format!("FAULT {class}"));
                *self.counts.entry(class).or_default() += 1;
            }
        }
    }

    /// Everything works again from now on; what was lost stays lost.
    pub fn heal(&mut self, world: &mut World) {
        self.schedule.clear();
        self.ends.clear();
        self.ambushes.clear();
        world.network.heal();
        resume(world);
        for host in 0..world.hosts.len() {
            thaw(world, host);
            let node = &mut world.hosts[host];
            (node.blind_until, node.slow_until, node.stuck_until) = (0, 0, 0);
            node.disk_fault = None;
            if let Some(postgres) = &mut world.hosts[host].postgres {
                postgres.blocked_until = 0;
            }
            // Who asked for a longer lease ends, but is not away for long any more.
            let agent = world.hosts[host].agent.as_mut();
            if let Some(leaving) = agent.and_then(|agent| agent.leaving.as_mut()) {
                leaving.back_in = 1;
            }
            if world.hosts[host].agent.is_none() {
                world.hosts[host].restart_agent_at = Some(world.now);
            }
        }
        for peer in &mut world.peers {
            peer.restart_at = (!peer.alive).then_some(world.now);
            peer.thaw_at = peer.frozen.then_some(world.now);
        }
    }
}
