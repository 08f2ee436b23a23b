//! Who promised an epoch neither writes nor receives anything on a timeline older than that epoch's.

use crate::world::{Event, World};

#[derive(Default)]
pub struct Check;

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        for event in &world.events {
            if let Event::Appended {
                host,
                from_timeline,
            } = event
                && let Some(fenced) = world.hosts[*host].fenced
                && *from_timeline < fenced
            {
                return Err(format!(
                    "a fenced instance did not stay fenced: host {host} promised the epoch of timeline {fenced} and took WAL of timeline {from_timeline}"
                ));
            }
        }
        Ok(())
    }
}
