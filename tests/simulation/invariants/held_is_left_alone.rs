//! While automation is switched off no recovery begins by itself.

use std::collections::BTreeSet;

use primacy::model::InstanceId;

use crate::world::{Event, World};

#[derive(Default)]
pub struct Check {
    rejoining: BTreeSet<InstanceId>,
    primary: Option<InstanceId>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        let state = world.cluster();
        let said = world.said();
        let begun = world
            .events
            .iter()
            .any(|event| matches!(event, Event::Begun { .. }));
        // Whom a handover that has begun replaces was primary before it.
        let before = std::mem::replace(&mut self.primary, state.cluster.of_failover().cloned());
        let rejoining: BTreeSet<_> = state.rejoins.keys().cloned().collect();
        let rejoined = std::mem::replace(&mut self.rejoining, rejoining);
        // Who was asked to change the primary has begun that already.
        let is_asked_for = state.cluster.switches_over() || state.cluster.forced.is_some();
        if begun
            && !is_asked_for
            && let Some(held) = said.holds_failover(before.as_ref())
        {
            return Err(format!("a failover began although {held}"));
        }
        let mut new = self.rejoining.difference(&rejoined);
        match new.find_map(|id| said.holds(Some(id))) {
            Some(held) => Err(format!("a rejoin began although {held}")),
            None => Ok(()),
        }
    }
}
