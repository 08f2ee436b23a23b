//! One fault, done to the world.

use primacy::duty::Replay;
use primacy::model::PromotionRule;

use super::ambush::Ambush;
use super::harm::{
    break_disk, cut_power, freeze, kill_node, kill_postmaster, lose_disk, restart, stop_agent,
};
use super::said::{block, hold, rule};
use super::{End_, Faults};
use crate::disk::Trouble;
use crate::host::TICK;
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
                return kill_postmaster(world, target, now + short);
            }
            "orphans_unseen" => {
                // Nobody was there to see the postmaster die.
                world.kill_agent(target);
                world.hosts[target].restart_agent_at = Some(now + 2);
                return kill_postmaster(world, target, now + short);
            }
            "kill_postgres" => world.hosts[target].kill_postgres(now, &mut world.random),
            "cut_power" => {
                cut_power(world, target, now + long);
            }
            "cut_all_power" => {
                for host in 0..world.hosts.len() {
                    let back = world.random.between(20, 300);
                    cut_power(world, host, now + back);
                }
            }
            "blind_agent" => world.hosts[target].blind_until = now + short,
            "slow_acts" => world.hosts[random_host].slow_until = now + long,
            "stuck_processes" => {
                let host = &mut world.hosts[target];
                host.stuck_until = now + short;
                host.kill_postgres(now, &mut world.random);
            }
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
            "freeze_primary_postgres" => {
                let Some(primary) = primary else { return false };
                let Some(postgres) = &mut world.hosts[primary].postgres else {
                    return false;
                };
                postgres.frozen = true;
                self.ends.push((now + long, End_::ThawPostgres(primary)));
            }
            "stall_primary_disk" => {
                let Some(primary) = primary else { return false };
                break_disk(world, primary, Trouble::Stalled, now + long);
            }
            "fill_disk" => break_disk(world, target, Trouble::Full, now + long),
            "fill_all_disks" => {
                for host in 0..world.hosts.len() {
                    break_disk(world, host, Trouble::Full, now + long);
                }
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
            "kill_all_peers" => {
                for peer in 0..world.peers.len() {
                    world.crash_peer(peer);
                    world.peers[peer].restart_at = Some(now + long);
                }
            }
            "cut_primary_from_peers" => {
                let Some(primary) = primary else { return false };
                cut_from_peers(world, primary);
                self.ends.push((now + long, End_::Links));
            }
            // Whoever gave its word comes back and must know.
            "cut_primary_and_restart_backers" => {
                let Some(primary) = primary else { return false };
                cut_from_peers(world, primary);
                let at = now + world.random.between(150, 300);
                self.ambushes.push(Ambush::Backers { primary, at });
                self.ends.push((now + 700, End_::Links));
            }
            // The others promise before they are asked to back it.
            "cut_primary_then_from_peers" => {
                let Some(primary) = primary else { return false };
                cut_off(world, &[End::Host(primary)]);
                let again = now + world.random.between(70, 95);
                self.ends.push((again, End_::HostLinks(primary)));
                self.ends.push((now + 700, End_::Links));
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
            "cut_leader_with_primary" => {
                let (Some(primary), Some(leader)) = (primary, world.leader) else {
                    return false;
                };
                cut_off(world, &[End::Peer(leader), End::Host(primary)]);
                self.ends.push((now + 150 + short, End_::Links));
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
                if self.lost >= self.disks || !world.hosts[target].disk.exists {
                    return false;
                }
                self.lost += 1;
                lose_disk(world, target);
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
                restart(host, now, &mut world.random);
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
            "planned_stop" | "planned_stop_and_leaders" => {
                let Some(primary) = primary else { return false };
                let back_in = world.random.between(1_000 / TICK, 90_000 / TICK);
                if !stop_agent(world, primary, back_in) {
                    return false;
                }
                if class == "planned_stop_and_leaders" {
                    // Leaders change while it is granted, and while the agent is away.
                    for at in [world.random.below(12), world.random.below(back_in)] {
                        self.schedule.push((now + at, "overlapping_leaders"));
                    }
                    self.schedule.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
                }
            }
            "switchover" | "rash_switchover" => {
                let is_rash = class == "rash_switchover";
                return world.ask_switchover(random_host, is_rash);
            }
            "forced_failover" => {
                // One that falls behind before the primary is gone for long.
                if let Some(primary) = primary.filter(|_| world.hosts.len() == 3) {
                    let behind = (primary + 1 + world.random.below(2) as usize) % 3;
                    freeze(world, behind);
                    self.ends.push((now + 2_000, End_::Thaw(behind)));
                    let at = now + world.random.between(20, 150);
                    self.ambushes.push(Ambush::Loss { primary, at });
                }
                self.ambushes.push(Ambush::Proof { is_cut: false });
            }
            "cut_and_forced_failover" => {
                let (Some(primary), Some(leader)) = (primary, world.leader) else {
                    return false;
                };
                // Whoever stays with the primary can acknowledge, and no majority of peers hears them.
                let with = (primary + 1) % world.hosts.len();
                let mut group = vec![End::Host(primary), End::Host(with)];
                group.extend((leader != 0).then_some(End::Peer(0)));
                cut_off(world, &group);
                self.ends.push((now + 700, End_::Links));
                self.ambushes.push(Ambush::Proof { is_cut: true });
            }
            "durability" | "harm_in_durability" => {
                let most = world.random.between(0, world.hosts.len() as u64 - 1);
                let standbys = most.min(3) as u8;
                if !world.ask_durability(standbys) {
                    return false;
                }
                if standbys > 0 {
                    self.disks = self.disks.min(usize::from(standbys));
                }
                if class == "harm_in_durability" {
                    let at_end = standbys == 0 && world.random.chance(50);
                    let ambush = [Ambush::Durability, Ambush::Lapsed];
                    self.ambushes.push(ambush[usize::from(at_end)]);
                }
            }
            "harm_in_switchover" => {
                if !world.ask_switchover(random_host, false) {
                    return false;
                }
                self.ambushes.push(Ambush::Switchover);
            }
            "pause" => hold(world, None, long),
            "block" => block(world, Some(long)),
            "downtime" => hold(world, Some(target), long),
            "must_not" => rule(world, random_host, PromotionRule::MustNot, Some(long)),
            "crash_in_handover" => self.ambushes.push(Ambush::Handover),
            "crash_at_fence" => self.ambushes.push(Ambush::ArmedFence),
            "slow_promotion" => self.ambushes.push(Ambush::Promotion),
            "thaw_in_fence" => {
                let Some(primary) = primary else { return false };
                freeze(world, primary);
                self.ends.push((now + 150, End_::Thaw(primary)));
                for host in &mut world.hosts {
                    if let Some(postgres) = host.postgres.as_mut().filter(|p| p.in_recovery) {
                        postgres.blocked_until = now + 200;
                    }
                }
                self.ambushes.push(Ambush::Fencing { frozen: primary });
            }
            "echoed_commands" => {
                world.network.echo = 60;
                self.ends.push((now + long, End_::Quiet));
                for host in &mut world.hosts {
                    if host.postgres.as_ref().is_some_and(|p| p.in_recovery) {
                        restart(host, now, &mut world.random);
                    }
                }
                // What the standbys were told then comes once more while the next epoch is fenced.
                self.schedule.push((now + 25, "thaw_in_fence"));
                self.schedule.push((now + 25 + long, "kill_primary_node"));
                self.schedule.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            }
            "restart_standbys_then_primary" => {
                let Some(primary) = primary else { return false };
                for host in &mut world.hosts {
                    if host.postgres.as_ref().is_some_and(|p| p.in_recovery) {
                        restart(host, now, &mut world.random);
                    }
                }
                kill_node(world, primary, now + long);
            }
            "lose_disk_then_primary" => {
                let standby = random_host;
                let is_too_much = self.lost >= self.disks;
                if is_too_much || Some(standby) == primary || !world.hosts[standby].disk.exists {
                    return false;
                }
                self.lost += 1;
                lose_disk(world, standby);
                self.schedule
                    .push((now + world.random.below(40), "kill_primary_node"));
                self.schedule.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            }
            other => panic!("unknown fault {other}"),
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

fn cut_from_peers(world: &mut World, host: usize) {
    for peer in 0..world.peers.len() {
        world.network.cut(End::Host(host), End::Peer(peer));
        world.network.cut(End::Peer(peer), End::Host(host));
    }
}

/// Cuts these off from everybody else, and from nobody among them.
pub(super) fn cut_off(world: &mut World, group: &[End]) {
    let hosts = (0..world.hosts.len()).map(End::Host);
    let all: Vec<_> = hosts.chain((0..world.peers.len()).map(End::Peer)).collect();
    for inside in group {
        for outside in all.iter().filter(|end| !group.contains(end)) {
            world.network.cut(*inside, *outside);
            world.network.cut(*outside, *inside);
        }
    }
}
