//! One fault, done to the world.

use primacy::duty::Replay;
use primacy::recovery::Handover;

use super::{End_, Faults};
use crate::network::End;
use crate::world::World;

impl Faults {
    /// Whether the fault could be done: some need a primary, a standby or a disk that may be lost.
    pub(super) fn inject(&mut self, world: &mut World, class: &'static str) -> bool {
        let now = world.now;
        let random_host = world.random.below(world.hosts.len() as u64) as usize;
        let primary = world.cluster().cluster.primary.clone();
        let primary = world
            .hosts
            .iter()
            .position(|host| Some(&host.id) == primary.as_ref());
        let target = if world.random.chance(60) {
            primary.unwrap_or(random_host)
        } else {
            random_host
        };
        let random_peer = world.random.below(world.peers.len() as u64) as usize;
        let short = world.random.between(10, 150);
        let long = world.random.between(50, 900);
        match class {
            "kill_postmaster" => {
                let Some(postgres) = &mut world.hosts[target].postgres else {
                    return false;
                };
                postgres.postmaster = false;
                postgres.orphans_until = now + short;
            }
            "kill_postgres" => world.hosts[target].kill_postgres(),
            "kill_node" => kill_node(world, random_host, now + long),
            "kill_primary_node" => {
                let Some(primary) = primary else { return false };
                kill_node(world, primary, now + long);
            }
            "kill_agent" => {
                world.kill_agent(target);
                world.hosts[target].restart_agent_at = Some(now + long);
            }
            "freeze_node" | "freeze_primary_node" => {
                let host = if class == "freeze_node" {
                    random_host
                } else {
                    primary.unwrap_or(target)
                };
                freeze(world, host);
                self.ends.push((now + long, End_::Thaw(host)));
            }
            "freeze_agent" => {
                let Some(agent) = &mut world.hosts[target].agent else {
                    return false;
                };
                agent.frozen = true;
                self.ends.push((now + long, End_::ThawAgent(target)));
            }
            "freeze_postgres" => {
                let Some(postgres) = &mut world.hosts[target].postgres else {
                    return false;
                };
                postgres.frozen = true;
                self.ends.push((now + short, End_::ThawPostgres(target)));
            }
            "kill_leader" | "kill_peer" => {
                let peer = if class == "kill_leader" {
                    world.leader.unwrap_or(random_peer)
                } else {
                    random_peer
                };
                world.crash_peer(peer);
                world.peers[peer].restart_at = Some(now + long);
            }
            "freeze_leader" => {
                let peer = world.leader.unwrap_or(random_peer);
                world.peers[peer].frozen = true;
                world.peers[peer].thaw_at = Some(now + long);
            }
            "overlapping_leaders" => {
                let able = world.has_majority(random_peer);
                if !able || world.leader == Some(random_peer) {
                    return false;
                }
                world.elect(random_peer);
            }
            "cut_one_way" | "cut_host" | "cut_peer" => {
                self.cut(world, class, target, random_peer);
                self.ends.push((now + long, End_::Links));
            }
            "loss" => {
                world.network.loss = world.random.between(10, 60);
                world.network.doubling = 20;
                self.ends.push((now + long, End_::Quiet));
            }
            "delay" => {
                world.network.delay = world.random.between(5, 60);
                world.network.doubling = 20;
                self.ends.push((now + long, End_::Quiet));
            }
            "lose_disk" => {
                if self.disks == 0 || !world.hosts[target].disk.exists {
                    return false;
                }
                self.disks -= 1;
                world.hosts[target].kill_postgres();
                world.hosts[target].disk = crate::postgres::Disk::default();
            }
            "lose_promise" => {
                world.kill_agent(target);
                world.hosts[target].promise = None;
                world.hosts[target].promise_losses += 1;
                world.hosts[target].restart_agent_at = Some(now + short);
            }
            "restart_standby" => {
                let host = &mut world.hosts[random_host];
                let in_recovery = host.postgres.as_ref().is_some_and(|p| p.in_recovery);
                if !in_recovery {
                    return false;
                }
                host.postgres = Some(crate::postgres::Postgres::start(
                    &host.disk,
                    now,
                    &mut world.random,
                ));
            }
            "block_replay" => {
                let Some(postgres) = &mut world.hosts[random_host].postgres else {
                    return false;
                };
                if !postgres.in_recovery {
                    return false;
                }
                if world.random.chance(50) {
                    postgres.blocked_until = now + long;
                } else {
                    postgres.replay = Replay::Paused;
                }
            }
            "crash_in_handover" => self.ambushes += 1,
            "restart_standbys_then_primary" => {
                let Some(primary) = primary else { return false };
                for host in &mut world.hosts {
                    if host.postgres.as_ref().is_some_and(|p| p.in_recovery) {
                        host.postgres = Some(crate::postgres::Postgres::start(
                            &host.disk,
                            now,
                            &mut world.random,
                        ));
                    }
                }
                kill_node(world, primary, now + long);
            }
            "lose_disk_then_primary" => {
                let standby = random_host;
                if self.disks == 0 || Some(standby) == primary || !world.hosts[standby].disk.exists
                {
                    return false;
                }
                self.disks -= 1;
                world.hosts[standby].kill_postgres();
                world.hosts[standby].disk = crate::postgres::Disk::default();
                self.schedule
                    .push((now + world.random.below(40), "kill_primary_node"));
                self.schedule.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            }
            other => panic!("unknown fault {other}"),
        }
        true
    }

    /// Once a handover elects or promotes, crashes agents that take part in it, now and then under a
    /// new leader.
    pub(super) fn ambush(&mut self, world: &mut World) -> bool {
        let candidate = match &world.cluster().handover {
            Some(Handover::Promoting { candidate, .. }) => Some(candidate.clone()),
            Some(Handover::Fencing { promises }) if !promises.is_empty() => None,
            _ => return false,
        };
        let now = world.now;
        let random_host = world.random.below(world.hosts.len() as u64) as usize;
        let candidate = world
            .hosts
            .iter()
            .position(|host| Some(&host.id) == candidate.as_ref());
        let host = candidate.unwrap_or(random_host);
        world.kill_agent(host);
        world.hosts[host].restart_agent_at = Some(now + world.random.between(2, 60));
        let peer = world.random.below(world.peers.len() as u64) as usize;
        if world.random.chance(50) && world.has_majority(peer) {
            world.elect(peer);
        }
        true
    }

    fn cut(&mut self, world: &mut World, class: &str, host: usize, peer: usize) {
        let hosts: Vec<_> = (0..world.hosts.len())
            .filter(|n| *n != host)
            .map(End::Host)
            .collect();
        let peers: Vec<_> = (0..world.peers.len()).map(End::Peer).collect();
        match class {
            "cut_one_way" => {
                let mut ends = hosts;
                ends.extend(peers);
                for _ in 0..world.random.between(1, 4) {
                    let a = ends[world.random.below(ends.len() as u64) as usize];
                    let b = ends[world.random.below(ends.len() as u64) as usize];
                    world.network.cut(a, b);
                    if world.random.chance(40) {
                        world.network.cut(End::Host(host), a);
                    }
                }
            }
            "cut_host" => {
                let with_peer = world.random.chance(40).then_some(End::Peer(peer));
                for other in hosts.into_iter().chain(peers) {
                    if Some(other) != with_peer {
                        world.network.cut(End::Host(host), other);
                        world.network.cut(other, End::Host(host));
                        if let Some(peer) = with_peer {
                            world.network.cut(peer, other);
                            world.network.cut(other, peer);
                        }
                    }
                }
            }
            _ => {
                let peer = if world.random.chance(60) {
                    world.leader.unwrap_or(peer)
                } else {
                    peer
                };
                for other in peers {
                    if other != End::Peer(peer) {
                        world.network.cut(End::Peer(peer), other);
                        world.network.cut(other, End::Peer(peer));
                    }
                }
            }
        }
    }
}

fn kill_node(world: &mut World, host: usize, back_at: u64) {
    world.kill_agent(host);
    let node = &mut world.hosts[host];
    node.kill_postgres();
    node.leash_frozen = false;
    node.deadline = None;
    node.restart_agent_at = Some(back_at);
}

fn freeze(world: &mut World, host: usize) {
    let node = &mut world.hosts[host];
    node.leash_frozen = true;
    if let Some(agent) = &mut node.agent {
        agent.frozen = true;
    }
    if let Some(postgres) = &mut node.postgres {
        postgres.frozen = true;
    }
}

pub(super) fn thaw(world: &mut World, host: usize) {
    let node = &mut world.hosts[host];
    node.leash_frozen = false;
    if let Some(agent) = &mut node.agent {
        agent.frozen = false;
    }
    if let Some(postgres) = &mut node.postgres {
        postgres.frozen = false;
    }
}
