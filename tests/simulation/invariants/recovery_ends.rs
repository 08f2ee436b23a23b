//! Every recovery ends, or says why it does not.

use primacy::model::Standing;

use crate::world::World;

/// One primary serves, everybody else streams from it, and every promise counts.
pub fn is_healthy(world: &World) -> bool {
    let state = world.cluster();
    let Some(primary) = world
        .hosts
        .iter()
        .position(|h| Some(&h.id) == state.cluster.primary.as_ref())
    else {
        return false;
    };
    let streams = |n: usize| {
        let receiver = world.hosts[n]
            .postgres
            .as_ref()
            .and_then(|p| p.receiver.as_ref());
        receiver.is_some_and(|r| r.streaming && r.source == primary)
    };
    state.handover.is_none()
        && state.rejoins.is_empty()
        && state.cluster.durability_change.is_none()
        && state.cluster.first_commit.is_some()
        && state
            .cluster
            .members
            .values()
            .all(|member| member.standing == Standing::Voter)
        && world.hosts[primary]
            .postgres
            .as_ref()
            .is_some_and(|p| p.can_acknowledge(world.now))
        && (0..world.hosts.len()).all(|n| n == primary || streams(n))
}

/// When everything has worked again for long enough.
pub fn end(world: &World) -> Result<(), String> {
    if is_healthy(world) || !world.plan.waiting.is_empty() {
        return Ok(());
    }
    let state = world.cluster();
    Err(format!(
        "a recovery neither ended nor said why: handover {:?}, rejoins {:?}, findings {:?}",
        state.handover, state.rejoins, world.plan.findings
    ))
}
