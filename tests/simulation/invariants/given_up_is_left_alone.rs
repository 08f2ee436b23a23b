//! A primary is shut down for a switchover alone, and for none that is over.

use crate::world::{Event, World};

pub fn tick(world: &World) -> Result<(), String> {
    let state = world.cluster();
    for event in &world.events {
        let Event::ToldToShutDown { host, order } = event else {
            continue;
        };
        let id = &world.hosts[*host].id;
        let serves = state.handover.is_none() && state.cluster.primary.as_ref() == Some(id);
        if serves && order.epoch == state.cluster.epoch && !state.cluster.switches_over() {
            return Err(format!(
                "the primary {id} is shut down under order {order}, and no switchover is under way"
            ));
        }
    }
    Ok(())
}
