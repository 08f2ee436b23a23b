//! A zone that is lost, told as one: many clusters that hear none of their instances there, and hear others elsewhere.
//!
//! It is told and decides nothing: each cluster fails over by what is known of itself.

use std::collections::BTreeMap;

use crate::model::{View, Zone};
use crate::state::ClusterState;

/// From so many clusters on it is the zone, and not a host that some of them share.
const MANY: usize = 3;

/// The zones of one cluster with agents, and whether any agent is heard in each.
pub type Heard = BTreeMap<Zone, bool>;

/// A zone in which most clusters that have instances there hear none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostZone {
    /// Which.
    pub zone: Zone,
    /// How many clusters hear none of theirs.
    pub clusters: usize,
    /// How many have any there.
    pub of: usize,
}

impl LostZone {
    /// One word for the API.
    pub const CODE: &str = "ZoneLost";
    /// What follows, and what a person may do.
    pub const REMEDY: &str = "Primacy fails over the clusters whose primaries were there, those of the greatest priority first, and brings all instances \
         back when they are heard; bring the hosts of the zone back, or its network";
}

impl std::fmt::Display for LostZone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LostZone { zone, clusters, of } = self;
        write!(
            f,
            "zone {zone} seems to be lost: {clusters} of {of} clusters with instances there hear none of them"
        )
    }
}

/// Where a cluster is heard.
pub fn heard(state: &ClusterState, view: &View) -> Heard {
    let mut zones = Heard::new();
    for (id, member) in &state.cluster.members {
        *zones.entry(member.zone.clone()).or_default() |= view.fresh(id).is_some();
    }
    zones
}

/// The zones that are lost, by what all clusters hear.
pub fn lost<'a>(clusters: impl IntoIterator<Item = &'a Heard>) -> Vec<LostZone> {
    let mut zones = BTreeMap::<&Zone, (usize, usize)>::new();
    for heard in clusters {
        // Of one that is heard nowhere nobody knows whether it is the zone.
        let is_heard = heard.values().any(|it| *it);
        for (zone, is_there) in heard {
            let (silent, all) = zones.entry(zone).or_default();
            *silent += usize::from(is_heard && !is_there);
            *all += 1;
        }
    }
    let zones = zones.into_iter();
    let is_lost =
        |(_, (silent, all)): &(&Zone, (usize, usize))| *silent >= MANY && silent * 2 > *all;
    let lost = zones
        .filter(is_lost)
        .map(|(zone, (clusters, of))| LostZone {
            zone: zone.clone(),
            clusters,
            of,
        });
    lost.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;
    use crate::model::example::{at, cluster, id, primary, standby, view};
    use crate::state::example::at_rest;

    /// A cluster whose members a, b and c are in zones of these names, with only these heard.
    fn hearing(zones: [&str; 3], who: &[&str]) -> Heard {
        let mut state = at_rest(cluster(&["a", "b", "c"], Durability::Async));
        for (name, zone) in ["a", "b", "c"].iter().zip(zones) {
            let member = state.cluster.members.get_mut(&id(name)).unwrap();
            member.zone = Zone::new(zone).unwrap();
        }
        let mut seen = view([
            ("a", primary(&state.cluster, "a")),
            ("b", standby(&state.cluster, "b", at(2, 45))),
            ("c", standby(&state.cluster, "c", at(2, 45))),
        ]);
        for (id, seen) in &mut seen.instances {
            seen.connected = who.contains(&id.as_str());
        }
        heard(&state, &seen)
    }

    #[test]
    fn a_zone_that_many_clusters_lose_is_told_as_one() {
        let own = ["z1", "z2", "z3"];
        let well = || hearing(own, &["a", "b", "c"]);
        let without = |who: &[&str]| hearing(own, who);
        let told = |all: &[Heard]| {
            let words: Vec<_> = lost(all).iter().map(ToString::to_string).collect();
            words.join("; ")
        };
        assert_eq!(told(&[well(), well(), well()]), "");
        let dark = || without(&["b", "c"]);
        assert_eq!(
            told(&[dark(), dark(), dark(), well()]),
            "zone z1 seems to be lost: 3 of 4 clusters with instances there hear none of them"
        );
        assert_eq!(told(&[dark(), dark()]), "", "a host that both share");
        assert_eq!(
            told(&[dark(), dark(), dark(), well(), well(), well()]),
            "",
            "half of them hear it"
        );
        // Who hears nobody says nothing of a zone.
        let deaf = || without(&[]);
        assert_eq!(told(&[deaf(), deaf(), deaf(), deaf()]), "");
        // One of two instances there is enough.
        let two = || hearing(["z1", "z1", "z3"], &["b", "c"]);
        assert_eq!(told(&[two(), two(), two()]), "");
    }
}
