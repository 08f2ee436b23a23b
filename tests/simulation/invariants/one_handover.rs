//! At most one handover of a cluster runs, and none is delayed by a rejoin.

use primacy::recovery::Handover;
use primacy::state::Kind;

use crate::world::World;

#[derive(Default)]
pub struct Check;

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        if !world.now.is_multiple_of(10) {
            return Ok(());
        }
        let state = world.cluster();
        let running = state
            .history
            .records()
            .filter(|r| r.kind == Kind::Handover && r.outcome.is_none());
        if running.count() > 1 {
            return Err("two handovers of one cluster run".to_owned());
        }
        let begins = matches!(
            state.handover,
            Some(Handover::Fencing { .. } | Handover::Promoting { .. })
        );
        if begins && !state.rejoins.is_empty() {
            return Err("a rejoin goes on during a handover".to_owned());
        }
        Ok(())
    }
}
