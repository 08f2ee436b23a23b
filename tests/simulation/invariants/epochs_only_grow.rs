//! The recorded epoch only grows; so does what each agent has promised, unless its file was lost.

use std::collections::BTreeMap;

use primacy::model::{Epoch, Order};

use crate::world::World;

#[derive(Default)]
pub struct Check {
    recorded: Epoch,
    promised: BTreeMap<(usize, u32), Order>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        let epoch = world.cluster().cluster.epoch;
        if epoch < self.recorded {
            return Err(format!(
                "the recorded epoch fell from {} to {epoch}",
                self.recorded
            ));
        }
        self.recorded = epoch;
        if !world.now.is_multiple_of(5) {
            return Ok(());
        }
        for (host, order) in world.promises() {
            let losses = world.hosts[host].promise_losses;
            let before = self
                .promised
                .insert((host, losses), order)
                .unwrap_or_default();
            if order < before {
                return Err(format!(
                    "the promise of host {host} fell from {before} to {order}"
                ));
            }
        }
        Ok(())
    }
}
