//! Quorum clusters: whoever becomes primary holds every commit that any client was told is safe. What a failover of an async
//! cluster left aside was never promised, also if the cluster has a quorum later.

use std::collections::BTreeSet;

use primacy::model::Durability;

use crate::world::{Event, World};

#[derive(Default)]
pub struct Check {
    /// What failovers left aside while `async` was recorded.
    given_up: BTreeSet<u32>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        for event in &world.events {
            if let Event::Promoted { host, .. } = event {
                // Only of the instance that Raft elected: a stray one must not acknowledge, that is another rule.
                let elected = world.cluster().cluster.primary.as_ref();
                if elected != Some(&world.hosts[*host].id) {
                    continue;
                }
                match world.cluster().cluster.durability {
                    Durability::Async => self.given_up.extend(lost(world, *host)),
                    Durability::Quorum { .. } => self.all_there(world, *host, "was promoted")?,
                }
            }
        }
        Ok(())
    }

    pub fn end(&self, world: &World) -> Result<(), String> {
        let primary = world.cluster().cluster.primary.as_ref();
        match world
            .hosts
            .iter()
            .position(|host| Some(&host.id) == primary)
        {
            Some(primary) if world.hosts[primary].disk.exists => {
                self.all_there(world, primary, "is primary at the end")
            }
            _ => Ok(()),
        }
    }

    fn all_there(&self, world: &World, host: usize, when: &str) -> Result<(), String> {
        if world.cluster().cluster.durability == Durability::Async {
            return Ok(());
        }
        let lost: Vec<_> = lost(world, host)
            .into_iter()
            .filter(|value| !self.given_up.contains(value))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(format!(
            "acknowledged writes lost: host {host} {when} without {} of them, first {:?}",
            lost.len(),
            lost[0]
        ))
    }
}

/// What was acknowledged and this host does not hold.
fn lost(world: &World, host: usize) -> Vec<u32> {
    let held: BTreeSet<u32> = world.hosts[host]
        .disk
        .wal
        .iter()
        .map(|record| record.value)
        .collect();
    let acknowledged = world.acknowledged.iter().map(|(value, _)| *value);
    acknowledged.filter(|value| !held.contains(value)).collect()
}
