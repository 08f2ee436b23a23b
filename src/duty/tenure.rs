//! The primary lease as its grantor counts it: from the arrival of a renewal, and from the beginning of a tenure
//! for whatever earlier leaders granted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broken;
use crate::model::{ChangePhase, Cluster, ClusterName, Network, Order, PlannedStop, Timestamp};

use super::backing::kept_for;

/// What the successor of a silent primary waits beyond the length of a lease, where a failover waits for it: clock
/// drift over a lease, and the leash's time to zero processes.
pub const MARGIN: Duration = Duration::from_millis(500);
/// The same for the longer lease of a planned stop: the leash's time, and clocks that differ by 2 % for a minute.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// Since when a peer leads, and what it granted. Forgotten with the term.
#[derive(Debug, Clone)]
pub struct Tenure {
    /// The term.
    pub term: u64,
    /// When this peer learnt that it leads.
    pub since: Timestamp,
    /// How far apart the peers are: those before this one granted leases by the same lengths.
    network: Network,
    granted: BTreeMap<ClusterName, Timestamp>,
    /// When the last request for a longer lease arrived.
    stops: BTreeMap<ClusterName, Timestamp>,
    /// The last stop of which its agent said: no longer lease of it, or of any before it, is held any more.
    given_up: BTreeMap<ClusterName, Order>,
    /// When this peer first saw the operator's word under which a failover is forced, and in which epoch.
    forced: BTreeMap<ClusterName, (u64, Timestamp)>,
    /// When this peer first saw that leases lapse before `async` is recorded, and under which order that began.
    lapsing: BTreeMap<ClusterName, (Order, Timestamp)>,
}

impl Tenure {
    /// A tenure that begins now, with nothing granted.
    pub fn new(term: u64, since: Timestamp, network: Network) -> Tenure {
        Tenure {
            term,
            since,
            network,
            granted: BTreeMap::new(),
            stops: BTreeMap::new(),
            given_up: BTreeMap::new(),
            forced: BTreeMap::new(),
            lapsing: BTreeMap::new(),
        }
    }

    /// Notes a grant for the renewal that arrived at `arrived`; `false` if leadership was confirmed for
    /// another term. To be noted before the record is looked at again and before the grant is sent.
    pub fn grant(&mut self, cluster: &ClusterName, term: u64, arrived: Timestamp) -> bool {
        if self.term == term {
            note(&mut self.granted, cluster, arrived);
        }
        self.term == term
    }

    /// Notes a request for a longer lease that arrived at `arrived`; `false` if this is not the tenure of
    /// `term`. To be noted before the stop is recorded, and so before the lease is granted.
    pub fn plan_stop(&mut self, cluster: &ClusterName, term: u64, arrived: Timestamp) -> bool {
        if self.term == term {
            note(&mut self.stops, cluster, arrived);
        }
        self.term == term
    }

    /// Notes what the agent of the primary says: no longer lease of this stop or of an earlier one is held any more.
    pub fn gave_up(&mut self, cluster: &ClusterName, stop: Order) {
        note(&mut self.given_up, cluster, stop);
    }

    /// Notes whether a failover is forced. To be called before each look at [`Tenure::lapse_at`].
    pub fn note_forced(&mut self, cluster: &Cluster, now: Timestamp) {
        let Some(word) = &cluster.forced else {
            self.forced.remove(&cluster.name);
            return;
        };
        // Another word may speak of others that are off only since then.
        let seen = self.forced.entry(cluster.name.clone());
        let seen = seen.or_insert((word.until, now));
        if seen.0 != word.until {
            *seen = (word.until, now);
        }
    }

    /// Notes whether leases lapse before `async` is recorded. To be called before each look at
    /// [`Tenure::has_lapsed`].
    pub fn note_lapsing(&mut self, cluster: &Cluster, now: Timestamp) {
        let change = cluster.durability_change.as_ref();
        let Some(change) = change.filter(|it| it.phase == ChangePhase::Lapsing) else {
            self.lapsing.remove(&cluster.name);
            return;
        };
        let began = Order {
            epoch: cluster.epoch,
            number: change.since,
        };
        let seen = self.lapsing.entry(cluster.name.clone());
        let seen = seen.or_insert((began, now));
        if seen.0 != began {
            *seen = (began, now);
        }
    }

    /// Whether nobody holds a lease any more that is longer than those of an async cluster, nor one that fewer words made
    /// longer than all others' would. Since `async` was asked for only short ones were granted, so what is longer was sent
    /// before this peer saw that it lapses, whoever granted it; and before that the agent of the primary had forgotten the
    /// words that it had, which make a lease longer by less than the longest is.
    pub fn has_lapsed(&self, cluster: &Cluster, now: Timestamp) -> bool {
        let seen = self.lapsing.get(&cluster.name).map(|(_, at)| *at);
        let longest = cluster.longest_lease(self.network).max(kept_for());
        seen.is_some_and(|at| now > at.after(longest).after(MARGIN))
    }

    /// Until then others may have given their word to back the old primary, of whom an operator says that they, or it, are
    /// off since the failover was forced. Of no other failover anything is said: whoever counts there has promised.
    fn words_end_at(&self, cluster: &Cluster) -> Option<Timestamp> {
        cluster.forced.as_ref()?;
        let seen = self.forced.get(&cluster.name).map(|(_, at)| *at);
        Some(
            seen.unwrap_or(Timestamp(u64::MAX - 60_000))
                .after(kept_for()),
        )
    }

    /// After this no instance holds a lease that this or any earlier leader granted. While a planned stop is
    /// recorded, the longer lease counts as well, whoever granted it.
    pub fn lapse_at(&self, cluster: &Cluster) -> Timestamp {
        let length = cluster.longest_lease(self.network);
        let last = self.last(&self.granted, cluster);
        if broken!(WholeLease) {
            return last.after(length / 2);
        }
        let ordinary = last.after(length).after(MARGIN);
        let ordinary = self.words_end_at(cluster).unwrap_or_default().max(ordinary);
        let planned = cluster.planned_stop.as_ref();
        planned.map_or(ordinary, |stop| {
            ordinary.max(self.stop_lapses_at(cluster, stop))
        })
    }

    /// Whether nobody holds the longer lease of the recorded planned stop any more, nor ever will, so that its
    /// record may be withdrawn. Either its agent gave it up, or it has ended.
    ///
    /// *Given up.* An agent says so of this stop's order or of a later one, after its leash has echoed an ordinary
    /// deadline in place of whatever it held. The order is that of a longer lease which it took over from the leash,
    /// or what the record had come to before it asked for any stop itself. Either way whoever asked for the stops up
    /// to there is gone (the lock on the state folder has one owner, and the leash hears words in their order), and
    /// with it the session over which another grant could come: also for a stop whose lease nobody ever held. A
    /// process that asks never says this of its own stop, which is recorded under a higher order than any that it
    /// may name: what is said of earlier ones does not end that.
    ///
    /// *Ended.* The agent counts from the sending of its request. A request that this leader granted arrived, and was
    /// noted, before the record was proposed. One that an earlier leader granted was sent before this tenure began:
    /// after it had recorded the stop, that leader still reached a majority. So the later of the two moments, and the
    /// length and the margin after it, bound every grant of the record by this peer's own monotonic clock.
    pub fn stop_is_over(&self, cluster: &Cluster, now: Timestamp) -> bool {
        cluster.planned_stop.as_ref().is_some_and(|stop| {
            let is_given_up = self.given_up.get(&cluster.name) >= Some(&stop.order);
            // Of a lease that was granted before the group began anew nobody can say which order it was.
            is_given_up && !cluster.is_of_old_state() || now > self.stop_lapses_at(cluster, stop)
        })
    }

    fn stop_lapses_at(&self, cluster: &Cluster, stop: &PlannedStop) -> Timestamp {
        let last = self.last(&self.stops, cluster);
        last.after(stop.length).after(STOP_MARGIN)
    }

    /// The last of these, or the beginning of the tenure: what earlier leaders granted was asked for before.
    fn last(&self, of: &BTreeMap<ClusterName, Timestamp>, cluster: &Cluster) -> Timestamp {
        let noted = of.get(&cluster.name).copied().unwrap_or_default();
        self.since.max(noted)
    }
}

fn note<T: Ord + Default>(of: &mut BTreeMap<ClusterName, T>, cluster: &ClusterName, value: T) {
    let last = of.entry(cluster.clone()).or_default();
    if value > *last {
        *last = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, id, order};
    use crate::model::{Durability, DurabilityChange, Forced};

    fn planned(number: u32) -> Cluster {
        let mut demo = cluster(&["a", "b"], Durability::Async);
        demo.planned_stop = Some(PlannedStop {
            instance: id("a"),
            order: order(1, number),
            length: Duration::from_secs(60),
            at: 0,
        });
        demo
    }

    #[test]
    fn leases_lapse_after_the_last_grant_or_the_election() {
        let demo = cluster(&["a", "b"], Durability::Async);
        let mut tenure = Tenure::new(3, Timestamp(1_000), Network::Lan);
        assert_eq!(tenure.lapse_at(&demo), Timestamp(3_500));
        assert!(tenure.grant(&demo.name, 3, Timestamp(1_400)));
        assert!(tenure.grant(&demo.name, 3, Timestamp(1_200)));
        assert_eq!(tenure.lapse_at(&demo), Timestamp(3_900));
        assert!(!tenure.grant(&demo.name, 2, Timestamp(9_000)));
        assert!(!tenure.plan_stop(&demo.name, 2, Timestamp(9_000)));
        assert_eq!(tenure.lapse_at(&demo), Timestamp(3_900));
        let far = Tenure::new(3, Timestamp(1_000), Network::Wan);
        assert_eq!(far.lapse_at(&demo), Timestamp(11_500));
    }

    #[test]
    fn a_recorded_stop_counts_whoever_granted_its_lease() {
        let demo = planned(9);
        let mut tenure = Tenure::new(3, Timestamp(1_000), Network::Lan);
        // An earlier leader may have granted it just before this one was elected.
        assert_eq!(tenure.lapse_at(&demo), Timestamp(63_000));
        assert!(tenure.plan_stop(&demo.name, 3, Timestamp(2_000)));
        assert!(tenure.grant(&demo.name, 3, Timestamp(5_000)));
        assert_eq!(tenure.lapse_at(&demo), Timestamp(64_000));
        assert!(!tenure.stop_is_over(&demo, Timestamp(64_000)));
        assert!(tenure.stop_is_over(&demo, Timestamp(64_001)));
        assert!(tenure.grant(&demo.name, 3, Timestamp(63_900)));
        assert_eq!(tenure.lapse_at(&demo), Timestamp(66_400));
    }

    #[test]
    fn a_forced_failover_waits_for_words_that_nobody_heard_of() {
        let mut demo = cluster(&["a", "b"], Durability::Async);
        let mut tenure = Tenure::new(3, Timestamp(1_000), Network::Lan);
        tenure.note_forced(&demo, Timestamp(9_000));
        assert_eq!(tenure.lapse_at(&demo), Timestamp(3_500));
        demo.forced = Some(Forced {
            owner: "o".to_owned(),
            reason: "r".to_owned(),
            until: 0,
            accepted: at(1, 1),
            patient_until: 0,
            old_is_off: false,
        });
        tenure.note_forced(&demo, Timestamp(10_000));
        tenure.note_forced(&demo, Timestamp(12_000));
        assert_eq!(tenure.lapse_at(&demo), Timestamp(13_500));
        // Another word, in the same epoch or not.
        demo.forced.as_mut().unwrap().until = 1;
        tenure.note_forced(&demo, Timestamp(20_000));
        assert_eq!(tenure.lapse_at(&demo), Timestamp(23_500));
    }

    #[test]
    fn leases_lapse_from_when_this_peer_saw_that_they_do() {
        let mut demo = cluster(&["a", "b"], Durability::Quorum { standbys: 1 });
        let change = |phase, since| DurabilityChange {
            to: Durability::Async,
            owner: "o".to_owned(),
            reason: "r".to_owned(),
            since,
            phase,
        };
        let mut tenure = Tenure::new(3, Timestamp(1_000), Network::Lan);
        assert_eq!(demo.lease_length(Network::Lan), Duration::from_secs(10));
        demo.durability_change = Some(change(ChangePhase::Confirming, 4));
        assert_eq!(demo.lease_length(Network::Lan), Duration::from_secs(2));
        tenure.note_lapsing(&demo, Timestamp(90_000));
        assert!(!tenure.has_lapsed(&demo, Timestamp(200_000)));
        // Whoever forces a failover meanwhile waits for the longer ones.
        assert_eq!(tenure.lapse_at(&demo), Timestamp(11_500));
        for (since, at) in [(5, 100_000), (9, 300_000)] {
            demo.durability_change = Some(change(ChangePhase::Lapsing, since));
            tenure.note_lapsing(&demo, Timestamp(at));
            tenure.note_lapsing(&demo, Timestamp(at + 5_000));
            assert!(!tenure.has_lapsed(&demo, Timestamp(at + 10_500)));
            assert!(tenure.has_lapsed(&demo, Timestamp(at + 10_501)));
        }
        demo.durability = Durability::Async;
        demo.durability_change = None;
        tenure.note_lapsing(&demo, Timestamp(400_000));
        assert!(!tenure.has_lapsed(&demo, Timestamp(500_000)));
    }

    #[test]
    fn what_is_said_of_a_stop_ends_no_later_one() {
        let mut tenure = Tenure::new(3, Timestamp(1_000), Network::Lan);
        let now = Timestamp(1_500);
        tenure.gave_up(&planned(9).name, order(1, 9));
        assert!(tenure.stop_is_over(&planned(9), now));
        assert!(!tenure.stop_is_over(&planned(12), now));
        assert!(tenure.stop_is_over(&planned(8), now), "an earlier one");
        tenure.gave_up(&planned(12).name, order(1, 12));
        tenure.gave_up(&planned(12).name, order(1, 9));
        assert!(tenure.stop_is_over(&planned(12), now));
        // Whoever held one before the group began anew cannot have given up the stop that stands for it.
        let mut anew = planned(12);
        anew.primary = None;
        anew.holders = anew.members.keys().cloned().collect();
        assert!(!tenure.stop_is_over(&anew, now));
    }
}
