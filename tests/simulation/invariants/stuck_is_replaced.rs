//! A primary that lives and cannot serve, because its processes are frozen or its disk takes no writes, does not
//! stay primary while everything else works.

use primacy::model::Standing;

use crate::host::Host;
use crate::world::World;

/// How long it may stay, in ticks: a failing disk is given five seconds, and its agent and the leader look now
/// and then only.
const REPLACED_WITHIN: u64 = 450;

#[derive(Default)]
pub struct Check {
    stuck: Option<(usize, u64)>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        let before = self.stuck.take();
        let Some(primary) = stuck(world) else {
            return Ok(());
        };
        let since = before
            .filter(|(host, _)| *host == primary)
            .map_or(world.now, |(_, since)| since);
        self.stuck = Some((primary, since));
        if world.now - since <= REPLACED_WITHIN {
            return Ok(());
        }
        Err(format!(
            "a primary that cannot serve stayed: host {primary}, findings {:?}, waiting {:?}",
            world.plan.findings, world.plan.waiting
        ))
    }
}

/// The primary that cannot serve, while everybody else could.
fn stuck(world: &World) -> Option<usize> {
    let state = world.cluster();
    let primary = state.cluster.primary.as_ref()?;
    let primary = world.hosts.iter().find(|host| host.id == *primary)?;
    let members = state.cluster.members.values();
    // Nothing begins, or whoever holds most may not be chosen.
    let said = world.said();
    let is_held = said.holds_failover(Some(&primary.id)).is_some() || !said.rules.is_empty();
    let is_quiet = state.handover.is_none()
        && !is_held
        && members.into_iter().all(|it| it.standing == Standing::Voter)
        && world.network.is_calm()
        && world.peers.iter().all(|peer| peer.works())
        && world
            .leader
            .is_some_and(|leader| world.has_majority(leader));
    let others = world.hosts.iter().filter(|host| host.id != primary.id);
    let is_stuck = primary.postgres.as_ref().is_some_and(|postgres| {
        postgres.postmaster && (postgres.frozen || !primary.writes(world.now))
    });
    let can_serve = |host: &Host| {
        let works = |p: &crate::postgres::Postgres| p.in_recovery && p.answers(world.now);
        host.writes(world.now) && host.postgres.as_ref().is_some_and(works)
    };
    let is_replaceable = others.clone().count() > 0 && others.into_iter().all(can_serve);
    let agents_work = world.hosts.iter().all(|host| agent_works(host, world.now));
    (is_quiet && is_stuck && is_replaceable && agents_work).then_some(primary.index)
}

fn agent_works(host: &Host, now: u64) -> bool {
    let is_awake = |agent: &crate::host::Agent| !agent.frozen && agent.promise.is_some();
    host.agent.as_ref().is_some_and(is_awake)
        && !host.leash_frozen
        && now >= host.blind_until
        && now >= host.slow_until
}
