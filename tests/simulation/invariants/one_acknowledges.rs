//! Never two that can acknowledge: not at the same moment, and never an older timeline after a younger.

use crate::world::{Event, World};

#[derive(Default)]
pub struct Check {
    youngest: u32,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        for event in &world.events {
            if let Event::Acknowledged {
                host,
                value,
                timeline,
            } = event
            {
                if *timeline < self.youngest {
                    return Err(format!(
                        "two acknowledge: host {host} acknowledged {value} on timeline {timeline} after timeline {} had acknowledged",
                        self.youngest
                    ));
                }
                self.youngest = *timeline;
            }
        }
        let able: Vec<_> = world
            .hosts
            .iter()
            .filter(|host| {
                host.postgres
                    .as_ref()
                    .is_some_and(|p| p.can_acknowledge(world.now))
            })
            .map(|host| host.index)
            .collect();
        if able.len() > 1 {
            return Err(format!("two can acknowledge: hosts {able:?}"));
        }
        Ok(())
    }
}
