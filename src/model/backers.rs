//! Whose agents can keep a primary in office that its peers cannot reach.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cluster::{Address, Cluster};
use super::durability::{ChangePhase, Durability};
use super::ids::InstanceId;

/// The other members of a cluster, and how many of them are enough: none can then be elected in the place of the primary
/// (ARCHITECTURE 3.9).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Backers {
    /// How many of them must back it.
    pub needed: u32,
    /// Where their agents answer.
    pub agents: BTreeMap<InstanceId, Address>,
    /// Whether only those count that receive from it: without them it could acknowledge nothing.
    pub receiving: bool,
}

impl Cluster {
    /// Who can back `primary`. In a quorum cluster W of the others leave at most N - 1 - W that promise, too few for a proof;
    /// in an async cluster whoever is elected has promised, so it takes all of them. Members are fixed at creation.
    pub fn backers(&self, primary: &InstanceId) -> Backers {
        let others = self.members.iter().filter(|(id, _)| *id != primary);
        let agents: BTreeMap<_, _> = others
            .map(|(id, member)| (id.clone(), member.health.clone()))
            .collect();
        // A stronger durability may be recorded before the primary hears of another number.
        let change = self.durability_change.as_ref();
        let confirmed = change.filter(|it| it.phase == ChangePhase::Confirming);
        let acks = confirmed.map_or(0, |change| change.to.standby_acks());
        let needed = match self.durability {
            Durability::Async => agents.len(),
            // As many as under the record that is to come: it waits until this is known.
            Durability::Quorum { .. } if self.becomes_async() => agents.len(),
            Durability::Quorum { standbys } => usize::from(standbys).max(acks),
        };
        Backers {
            needed: needed as u32,
            agents,
            receiving: self.durability != Durability::Async,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{cluster, id};

    /// Whatever the others do: if enough back the primary, no quorum of promises is left.
    #[test]
    fn enough_backers_leave_no_proof() {
        let names = ["a", "b", "c", "d", "e"];
        for members in 1..=names.len() {
            for standbys in 1..=4u8 {
                let of = cluster(&names[..members], Durability::Quorum { standbys });
                let backers = of.backers(&id("a"));
                let (n, w) = (members, usize::from(standbys));
                for backing in backers.needed as usize..=backers.agents.len() {
                    let promising = backers.agents.len() - backing;
                    assert!(promising + w < n, "{members} members, {standbys}");
                }
            }
            let of = cluster(&names[..members], Durability::Async);
            let backers = of.backers(&id("a"));
            assert_eq!(backers.needed as usize, members - 1);
        }
    }
}
