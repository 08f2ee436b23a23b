//! The primary lease: granted by the leader only, and only after a heartbeat round to a majority that
//! began after the renewal arrived. So every grant was sent before any successor was elected. The count
//! of what was granted is the pure [`Tenure`].

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::broken;
use crate::control::PeerMessage;
use crate::duty::lease::Tenure;
use crate::model::{ClusterName, Durability, InstanceId, Order, Timestamp};

use super::Peer;

/// How long a grant waits for the majority. Longer helps nobody: the agent has asked again by then.
const CONFIRM: Duration = Duration::from_millis(1000);

/// Since when this peer leads, and what it granted. Forgotten with the term.
#[derive(Default)]
pub struct Leases {
    tenure: Mutex<Option<Tenure>>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Option<Tenure>> {
        self.tenure.lock().expect("no holder of the leases panics")
    }

    /// This peer learnt that it leads in this term, or no longer does.
    pub(super) fn lead(&self, term: Option<u64>, now: Timestamp) {
        *self.lock() = term.map(|term| Tenure::new(term, now));
    }

    fn grant(&self, cluster: &ClusterName, term: u64, arrived: Timestamp) -> bool {
        let mut tenure = self.lock();
        tenure
            .as_mut()
            .is_some_and(|tenure| tenure.grant(cluster, term, arrived))
    }

    /// After this no instance holds a lease that this or any earlier leader granted. On a peer that does
    /// not lead it is never reached.
    pub(super) fn lapse_at(&self, cluster: &ClusterName, durability: Durability) -> Timestamp {
        match self.lock().as_ref() {
            None => Timestamp(u64::MAX),
            Some(tenure) => tenure.lapse_at(cluster, durability),
        }
    }
}

/// Answers a renewal that arrived at `arrived`.
///
/// The order matters. The grant is noted before the record is looked at again: whoever finds no lease
/// holder in the record afterwards finds the grant among the notes.
pub(super) async fn renew(
    peer: &Peer,
    cluster: &ClusterName,
    instance: &InstanceId,
    serial: u64,
    arrived: Timestamp,
) -> PeerMessage {
    let declined = |why: &str| PeerMessage::Declined {
        serial,
        why: why.to_owned(),
    };
    let Some((order, length)) = lease_order(peer, cluster, instance) else {
        return declined("it is not recorded as the primary");
    };
    let confirmed = if broken!(HeartbeatBeforeGrant) {
        peer.leading_term()
    } else {
        let confirmed = peer.consensus.confirm_leadership(CONFIRM).await;
        confirmed.ok().map(|leadership| leadership.term)
    };
    let Some(term) = confirmed else {
        return declined("this peer does not lead, or cannot reach a majority");
    };
    if !peer.leases.grant(cluster, term, arrived) {
        return declined("this peer does not lead");
    }
    if lease_order(peer, cluster, instance) != Some((order, length)) {
        return declined("a handover began");
    }
    PeerMessage::Granted {
        serial,
        order,
        length,
    }
}

/// Answers an agent that has no readable promise.
pub(super) async fn adopt(
    peer: &Peer,
    cluster: &ClusterName,
    instance: &InstanceId,
    serial: u64,
) -> PeerMessage {
    let declined = |why: &str| PeerMessage::Declined {
        serial,
        why: why.to_owned(),
    };
    if peer.consensus.confirm_leadership(CONFIRM).await.is_err() {
        return declined("this peer does not lead, or cannot reach a majority");
    }
    let order = peer.consensus.read(|state| {
        let state = state.clusters.get(cluster)?;
        let is_member = state.cluster.members.contains_key(instance);
        is_member.then(|| state.order())
    });
    match order {
        Some(order) => PeerMessage::Adopted { serial, order },
        None => declined("the cluster or the instance is not recorded"),
    }
}

fn lease_order(
    peer: &Peer,
    cluster: &ClusterName,
    instance: &InstanceId,
) -> Option<(Order, Duration)> {
    peer.consensus.read(|state| {
        let state = state.clusters.get(cluster)?;
        let order = state.lease_order(instance)?;
        Some((order, state.cluster.durability.lease_length()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_lapse_after_the_last_grant_or_the_election() {
        let leases = Leases::default();
        let demo = ClusterName::new("demo").unwrap();
        assert_eq!(leases.lapse_at(&demo, Durability::Async).0, u64::MAX);
        leases.lead(Some(3), Timestamp(1000));
        assert_eq!(leases.lapse_at(&demo, Durability::Async), Timestamp(3500));
        assert!(leases.grant(&demo, 3, Timestamp(1400)));
        assert!(leases.grant(&demo, 3, Timestamp(1200)));
        assert_eq!(leases.lapse_at(&demo, Durability::Async), Timestamp(3900));
        assert!(!leases.grant(&demo, 2, Timestamp(9000)));
        leases.lead(None, Timestamp(2000));
        assert_eq!(leases.lapse_at(&demo, Durability::Async).0, u64::MAX);
    }
}
