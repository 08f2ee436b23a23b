//! The primary lease: granted by the leader only, and only after a heartbeat round to a majority that
//! began after the renewal arrived. So every grant was sent before any successor was elected. The count
//! of what was granted is the pure [`Tenure`].

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::broken;
use crate::clock;
use crate::control::PeerMessage;
use crate::duty::Tenure;
use crate::model::{
    Backers, Cluster, ClusterName, InstanceId, Network, Order, PlannedStop, Timestamp,
};
use crate::state::Change;
use crate::state::level::has_durabilities;

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
    pub(super) fn lead(&self, term: Option<u64>, now: Timestamp, network: Network) {
        *self.lock() = term.map(|term| Tenure::new(term, now, network));
    }

    fn grant(&self, cluster: &ClusterName, term: u64, arrived: Timestamp) -> bool {
        let mut tenure = self.lock();
        tenure
            .as_mut()
            .is_some_and(|tenure| tenure.grant(cluster, term, arrived))
    }

    fn plan_stop(&self, cluster: &ClusterName, arrived: Timestamp) -> Option<u64> {
        let mut tenure = self.lock();
        let tenure = tenure.as_mut()?;
        let term = tenure.term;
        tenure.plan_stop(cluster, term, arrived).then_some(term)
    }

    fn gave_up(&self, cluster: &ClusterName, stop: Order) {
        if let Some(tenure) = self.lock().as_mut() {
            tenure.gave_up(cluster, stop);
        }
    }

    /// After this no instance holds a lease that this or any earlier leader granted. On a peer that does
    /// not lead it is never reached.
    pub(super) fn lapse_at(&self, cluster: &Cluster) -> Timestamp {
        match self.lock().as_mut() {
            None => Timestamp(u64::MAX),
            Some(tenure) => {
                tenure.note_forced(cluster, clock::monotonic());
                tenure.lapse_at(cluster)
            }
        }
    }

    /// [`Tenure::has_lapsed`]; `false` on a peer that does not lead.
    pub(super) fn has_lapsed(&self, cluster: &Cluster, now: Timestamp) -> bool {
        self.lock().as_mut().is_some_and(|tenure| {
            tenure.note_lapsing(cluster, now);
            tenure.has_lapsed(cluster, now)
        })
    }

    /// [`Tenure::stop_is_over`]; `false` on a peer that does not lead.
    pub(super) fn stop_is_over(&self, cluster: &Cluster, now: Timestamp) -> bool {
        let tenure = self.lock();
        tenure
            .as_ref()
            .is_some_and(|tenure| tenure.stop_is_over(cluster, now))
    }
}

/// Answers a renewal that arrived at `arrived`; with who can back the instance, if its agent takes that.
///
/// The order matters. The grant is noted before the record is looked at again: whoever finds no lease
/// holder in the record afterwards finds the grant among the notes.
pub(super) async fn renew(
    peer: &Peer,
    cluster: &ClusterName,
    instance: &InstanceId,
    (serial, takes_backers): (u64, bool),
    arrived: Timestamp,
) -> PeerMessage {
    let declined = |why: &str| PeerMessage::Declined {
        serial,
        why: why.to_owned(),
        lasting: false,
    };
    let Some((order, length)) = lease_order(peer, cluster, instance) else {
        let confirmed = peer.consensus.confirm_leadership(CONFIRM).await.is_ok();
        if takes_backers && confirmed && lease_order(peer, cluster, instance).is_none() {
            return PeerMessage::NotThePrimary { serial };
        }
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
    let backers = takes_backers.then(|| backers(peer, cluster, instance));
    if let Some(backers) = backers.flatten() {
        return PeerMessage::GrantedWithBackers {
            serial,
            order,
            length,
            backers,
        };
    }
    PeerMessage::Granted {
        serial,
        order,
        length,
    }
}

/// Answers an agent that is being stopped on purpose and whose request for a longer lease arrived at `arrived`.
///
/// The order matters. The request is noted, then the stop is recorded, and only then leadership is confirmed: whoever
/// leads later was elected after the request had arrived, and finds the record.
pub(super) async fn plan_stop(
    peer: &Peer,
    cluster: &ClusterName,
    instance: &InstanceId,
    serial: u64,
    arrived: Timestamp,
) -> PeerMessage {
    let declined = |why: &str| PeerMessage::Declined {
        serial,
        why: why.to_owned(),
        lasting: false,
    };
    let Some((order, _)) = lease_order(peer, cluster, instance) else {
        return declined("it is not recorded as the primary");
    };
    let Some(term) = peer.leases.plan_stop(cluster, arrived) else {
        return declined("this peer does not lead");
    };
    let length = PlannedStop::LONGEST;
    let change = Change::PlanStop {
        instance: instance.clone(),
        order,
        length,
    };
    let stop = match peer.propose(cluster.clone(), change).await {
        Ok(Ok(stop)) => stop,
        Ok(Err(rejection)) => return declined(&rejection.to_string()),
        Err(error) => return declined(&error.to_string()),
    };
    let confirmed = peer.consensus.confirm_leadership(CONFIRM).await;
    if confirmed.ok().map(|leadership| leadership.term) != Some(term) {
        return declined("this peer does not lead, or cannot reach a majority");
    }
    if lease_order(peer, cluster, instance).map(|(order, _)| order) != Some(order) {
        return declined("a handover began");
    }
    tracing::info!(%cluster, %instance, order = %stop, "a longer lease is granted for a planned stop of the agent");
    PeerMessage::Granted {
        serial,
        order: stop,
        length,
    }
}

/// Notes what an agent says with its renewal: that no longer lease of a stop up to this one is held any more.
pub(super) fn gave_up(peer: &Peer, cluster: &ClusterName, instance: &InstanceId, stop: Order) {
    let is_its_own = peer.consensus.read(|state| {
        let planned = state.clusters.get(cluster)?.cluster.planned_stop.as_ref();
        Some(planned?.instance == *instance)
    });
    if is_its_own == Some(true) {
        peer.leases.gave_up(cluster, stop);
    }
}

/// Answers an agent that has no readable promise, or has only just begun and holds a lease: with what the record has
/// come to.
pub(super) async fn adopt(
    peer: &Peer,
    cluster: &ClusterName,
    instance: &InstanceId,
    serial: u64,
) -> PeerMessage {
    if peer.consensus.confirm_leadership(CONFIRM).await.is_err() {
        return PeerMessage::Declined {
            serial,
            why: "this peer does not lead, or cannot reach a majority".to_owned(),
            lasting: false,
        };
    }
    let present = peer.consensus.read(|state| {
        let known = state.clusters.get(cluster);
        let known = known.ok_or_else(|| no_cluster(cluster))?;
        let members = &known.cluster.members;
        let is_member = members.contains_key(instance);
        is_member
            .then(|| known.order())
            .ok_or_else(|| no_member(cluster, instance, members.keys()))
    });
    match present {
        Ok(order) => PeerMessage::Adopted { serial, order },
        Err(why) => {
            if peer.board.is_new_stranger(cluster, instance, &why) {
                tracing::warn!(%cluster, %instance, why, "an agent of no member asks for the epoch");
            }
            PeerMessage::Declined {
                serial,
                why,
                lasting: true,
            }
        }
    }
}

fn no_cluster(cluster: &ClusterName) -> String {
    format!(
        "there is no cluster {cluster}; create it (primacy cluster create {cluster} …), or correct `cluster` in the agent's configuration"
    )
}

fn no_member<'a>(
    cluster: &ClusterName,
    instance: &InstanceId,
    members: impl Iterator<Item = &'a InstanceId>,
) -> String {
    let members: Vec<_> = members.map(InstanceId::as_str).collect();
    format!(
        "cluster {cluster} has no member {instance}, only {}; correct `instance` in the agent's configuration",
        members.join(", ")
    )
}

fn backers(peer: &Peer, cluster: &ClusterName, instance: &InstanceId) -> Option<Backers> {
    peer.consensus.read(|state| {
        let level = state.level;
        let state = state.clusters.get(cluster)?;
        // A leader of an older build does not understand the answers of an agent that backs somebody.
        has_durabilities(level).then(|| state.cluster.backers(instance))
    })
}

fn lease_order(
    peer: &Peer,
    cluster: &ClusterName,
    instance: &InstanceId,
) -> Option<(Order, Duration)> {
    peer.consensus.read(|state| {
        let state = state.clusters.get(cluster)?;
        let order = state.lease_order(instance)?;
        Some((order, state.cluster.lease_length(peer.config.network)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;
    use crate::model::example::cluster;

    #[test]
    fn a_peer_that_does_not_lead_says_nothing_of_leases() {
        let leases = Leases::default();
        let demo = cluster(&["a", "b"], Durability::Async);
        assert_eq!(leases.lapse_at(&demo).0, u64::MAX);
        assert_eq!(leases.plan_stop(&demo.name, Timestamp(900)), None);
        leases.lead(Some(3), Timestamp(1000), Network::Lan);
        assert_eq!(leases.lapse_at(&demo), Timestamp(3500));
        assert!(leases.grant(&demo.name, 3, Timestamp(1400)));
        assert_eq!(leases.lapse_at(&demo), Timestamp(3900));
        assert_eq!(leases.plan_stop(&demo.name, Timestamp(1500)), Some(3));
        leases.lead(None, Timestamp(2000), Network::Lan);
        assert_eq!(leases.lapse_at(&demo).0, u64::MAX);
        assert!(!leases.stop_is_over(&demo, Timestamp(u64::MAX)));
    }
}
