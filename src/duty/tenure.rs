//! The primary lease as its grantor counts it: from the arrival of a renewal, and from the beginning of a tenure
//! for whatever earlier leaders granted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broken;
use crate::model::{Cluster, ClusterName, Network, Order, PlannedStop, Timestamp};

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
    /// How far apart the peers are: those before this one granted leases of the same length.
    network: Network,
    granted: BTreeMap<ClusterName, Timestamp>,
    /// When the last request for a longer lease arrived.
    stops: BTreeMap<ClusterName, Timestamp>,
    /// The last stop of which its agent said: no longer lease of it, or of any before it, is held any more.
    given_up: BTreeMap<ClusterName, Order>,
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

    /// After this no instance holds a lease that this or any earlier leader granted. While a planned stop is
    /// recorded, the longer lease counts as well, whoever granted it.
    pub fn lapse_at(&self, cluster: &Cluster) -> Timestamp {
        let length = cluster.lease_length(self.network);
        let last = self.last(&self.granted, cluster);
        if broken!(WholeLease) {
            return last.after(length / 2);
        }
        let ordinary = last.after(length).after(MARGIN);
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
            self.given_up.get(&cluster.name) >= Some(&stop.order)
                || now > self.stop_lapses_at(cluster, stop)
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
    use crate::model::Durability;
    use crate::model::example::{cluster, id, order};

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
    }
}
