//! No two promotions take one timeline number: their WAL would look alike and differ.

use std::collections::BTreeSet;

use crate::world::{Event, World};

#[derive(Default)]
pub struct Check {
    taken: BTreeSet<u32>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        for event in &world.events {
            if let Event::Promoted { host, timeline } = event
                && !self.taken.insert(*timeline)
            {
                return Err(format!("host {host} took timeline {timeline} once more"));
            }
        }
        Ok(())
    }
}
