//! What a group of peers that begins anew from a saved state makes of it.
//!
//! The saved state may be old. Meanwhile other primaries may have been elected, whose epochs and timelines nobody knows
//! any more, and whoever granted their leases may grant on. So nothing that was granted before stays valid: every epoch
//! rises above all that can have been burnt, no instance is the primary, and each may hold a lease. The next handover
//! then proves as every other that no acknowledged commit is lost; the instances that count in the proof are fixed at
//! creation, and a filling of a data folder that is not recorded counts for nothing.

use std::collections::BTreeSet;

use crate::model::{ClusterName, Epoch, Incarnation, PlannedStop, Standing, Timeline};
use crate::recovery::Handover;

use super::level::has_durabilities;
use super::{ClusterState, Hooks, State};

/// More epochs than were burnt since anything that is still worth restoring. The milliseconds since 1970 are above even
/// those, and grow: so the later of two groups that begin anew has the higher epochs, from whichever states they begin, and
/// agents that promised the earlier one follow it. Where a clock stood wrong, by as much as it did, a later one may not.
const EPOCHS: u64 = 1 << 10;
/// More timelines than were allocated since anything that is still worth restoring. What is drawn comes on top, as many
/// again at most, so that two groups that begin anew from one state hardly share one. A comment is planted in `pg_wal`
/// for each, so it is not as generous.
const TIMELINES: u32 = 512;

impl State {
    /// Makes it the state with which a group begins anew at `at`, milliseconds since 1970. `drawn` is a random number.
    /// Answers which clusters are left out because their first data was still being created.
    pub fn begin_anew(&mut self, at: u64, drawn: u32) -> Vec<ClusterName> {
        let is_created =
            |state: &ClusterState| !matches!(state.handover, Some(Handover::Creating { .. }));
        let left_out = self.clusters.extract_if(.., |_, state| !is_created(state));
        let left_out = left_out.map(|(name, _)| name).collect();
        // Whatever the level was when it was saved: it may have risen since.
        let keeps_wish = has_durabilities(self.level);
        for state in self.clusters.values_mut() {
            state.begin_anew(at, TIMELINES + drawn % TIMELINES);
            state.weaken_for_old_state(at, keeps_wish);
        }
        for state in self.sql.values_mut() {
            let epoch = state.cluster.epoch.0.saturating_add(EPOCHS).max(at);
            state.begin_anew(Epoch(epoch), at);
        }
        self.peers.begin_anew();
        self.access.begin_anew();
        // What programs said then says nothing now.
        self.hooks = Hooks::default();
        left_out
    }
}

impl ClusterState {
    fn begin_anew(&mut self, at: u64, timelines: u32) {
        let why = "the group of peers began anew from a saved state";
        self.history.end_rejoins(at, why);
        if let Some(record) = self.history.handover() {
            record.end(at, "gave_up", why);
        }
        self.end_switchover("gave_up", why, at);
        self.cluster.forced = None;
        if let Some(handover) = self.handover.take() {
            self.forsake(&handover);
        }
        self.rejoins.clear();
        self.number = 1;
        let cluster = &mut self.cluster;
        let primary = cluster.primary.take();
        cluster.epoch = Epoch(cluster.epoch.0.saturating_add(EPOCHS).max(at));
        cluster.timeline = Timeline(cluster.timeline.0.saturating_add(timelines));
        cluster.first_commit = None;
        // One that was being filled may have been admitted since: its data is newer than any that is known.
        for member in cluster.members.values_mut() {
            if member.standing == Standing::Recovering {
                member.incarnation = Incarnation(member.incarnation.0.saturating_sub(1));
            }
        }
        let members: BTreeSet<_> = cluster.members.keys().cloned().collect();
        let suspect = primary.or_else(|| members.first().cloned());
        cluster.holders = members;
        // A planned stop may have been recorded since, of whomever: its lease is waited for as well.
        let order = self.order();
        self.cluster.planned_stop = suspect.map(|instance| PlannedStop {
            instance,
            order,
            length: PlannedStop::LONGEST,
            at,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{cluster, id};
    use crate::model::{Durability, Order};
    use crate::state::FeatureLevel;
    use crate::state::example::at_rest;

    #[test]
    fn nothing_that_was_granted_before_stays_valid() {
        let mut state = State::default();
        let before = at_rest(cluster(&["a", "b"], Durability::Async));
        let name = before.cluster.name.clone();
        state.clusters.insert(name.clone(), before.clone());
        let (mut other, mut old_clock) = (state.clone(), state.clone());
        let at = 1_790_000_000_000;
        assert_eq!(state.begin_anew(at, 5), []);
        let after = &state.clusters[&name];
        assert_eq!(after.cluster.epoch, Epoch(at));
        assert_eq!(after.cluster.timeline.0, before.cluster.timeline.0 + 517);
        assert_eq!(after.cluster.primary, None);
        assert_eq!(after.cluster.holders, BTreeSet::from([id("a"), id("b")]));
        for instance in ["a", "b"] {
            assert_eq!(after.lease_order(&id(instance)), None);
        }
        let stop = after.cluster.planned_stop.as_ref().unwrap();
        assert_eq!(stop.length, PlannedStop::LONGEST);
        assert_eq!(
            after.order(),
            Order {
                epoch: Epoch(at),
                number: 1
            }
        );

        // The later one wins, whatever was drawn, and time that stands still is not all that there is.
        other.begin_anew(at + 60_000, 0);
        assert!(other.clusters[&name].cluster.epoch > after.cluster.epoch);
        // Also if the earlier one was begun anew twice, and the later one from an older state.
        let mut twice = state.clone();
        twice.begin_anew(at + 1_000, 0);
        assert!(twice.clusters[&name].cluster.epoch > Epoch(at));
        assert!(other.clusters[&name].cluster.epoch > twice.clusters[&name].cluster.epoch);
        old_clock.begin_anew(0, 0);
        let epoch = old_clock.clusters[&name].cluster.epoch;
        assert_eq!(epoch.0, before.cluster.epoch.0 + EPOCHS);
    }

    /// At whatever level it was saved: it may have risen since, and the durability been weakened.
    #[test]
    fn a_saved_state_elects_by_the_weakest_durability() {
        for level in [3, 4] {
            let two = Durability::Quorum { standbys: 2 };
            let before = at_rest(cluster(&["a", "b", "c"], two));
            let name = before.cluster.name.clone();
            let mut state = State {
                level: FeatureLevel::try_from(level).unwrap(),
                ..State::default()
            };
            state.clusters.insert(name.clone(), before);
            state.begin_anew(7, 0);
            let after = &state.clusters[&name].cluster;
            assert_eq!(after.durability, Durability::Quorum { standbys: 1 });
            // Below its level nobody could read the wish.
            let wish = after.durability_change.as_ref().map(|it| it.to);
            assert_eq!(wish, (level >= 4).then_some(two));
        }
    }

    /// A quorum may have been confirmed since `async` was saved.
    #[test]
    fn a_saved_async_cluster_elects_as_a_quorum_and_becomes_async_again() {
        let (one, none) = (Durability::Quorum { standbys: 1 }, Durability::Async);
        for (level, members, then) in [
            (4, &["a", "b", "c"][..], (one, Some(none))),
            (4, &["a"], (none, None)),
            (3, &["a", "b", "c"], (none, None)),
        ] {
            let before = at_rest(cluster(members, none));
            let name = before.cluster.name.clone();
            let mut state = State {
                level: FeatureLevel::try_from(level).unwrap(),
                ..State::default()
            };
            state.clusters.insert(name.clone(), before);
            state.begin_anew(7, 0);
            let after = &state.clusters[&name].cluster;
            let wish = after.durability_change.as_ref().map(|it| it.to);
            assert_eq!((after.durability, wish), then);
        }
    }

    #[test]
    fn what_was_being_created_is_left_out() {
        let mut creating = at_rest(cluster(&["a", "b"], Durability::Async));
        let name = creating.cluster.name.clone();
        creating.handover = Some(Handover::Creating { instance: id("a") });
        let mut state = State::default();
        state.clusters.insert(name.clone(), creating);
        assert_eq!(state.begin_anew(7, 0), [name]);
        assert!(state.clusters.is_empty());
    }
}
