//! With `reads = strict` nobody can read from an older primary once a newer one takes writes.

use primacy::model::Reads;

use crate::world::World;

pub fn tick(world: &World) -> Result<(), String> {
    if world.cluster().cluster.reads != Reads::Strict {
        return Ok(());
    }
    let serve = world.hosts.iter().filter(|host| {
        let postgres = host.postgres.as_ref();
        postgres.is_some_and(|postgres| postgres.commits(world.now))
    });
    let serve: Vec<_> = serve.map(|host| host.index).collect();
    match serve.len() {
        0 | 1 => Ok(()),
        _ => Err(format!("hosts {serve:?} answer reads as primaries")),
    }
}
