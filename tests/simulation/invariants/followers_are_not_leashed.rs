//! A standby that follows the primary is not ended by a deadline that was given to it in an earlier role.

use crate::world::{Event, World};

pub fn tick(world: &World) -> Result<(), String> {
    let primary = world.cluster().cluster.primary.as_ref();
    for event in &world.events {
        if let Event::Leashed { host } = event
            && let Some(postgres) = &world.hosts[*host].postgres
            && postgres.in_recovery
            && let Some(receiver) = postgres.receiver.as_ref().filter(|it| it.streaming)
            && Some(&world.hosts[receiver.source].id) == primary
        {
            return Err(format!(
                "a standby that follows was killed by its own leash: host {host} streamed from host {}",
                receiver.source
            ));
        }
    }
    Ok(())
}
