//! What may become a cluster, and how it begins.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Cluster, ClusterName, Epoch, Incarnation, InstanceId, Lineage, Member, Order, Standing,
    SystemIdentifier, Timeline,
};
use crate::recovery::{Evidence, Handover, Rejection};

use super::history::{History, Kind};
use super::{ClusterState, NewCluster, State};

impl State {
    /// A server belongs to one cluster: its agent obeys no second one.
    pub(super) fn check_vacant(&self, new: &NewCluster) -> Result<(), Rejection> {
        for (id, member) in &new.members {
            for (name, state) in &self.clusters {
                let mut others = state.cluster.members.iter();
                if let Some((other, _)) = others.find(|(_, it)| it.address == member.address) {
                    return Err(Rejection::Invalid(format!(
                        "members.{id}: {other} of cluster {name} has the address {} too",
                        member.address
                    )));
                }
            }
            for (name, state) in &self.sql {
                if let Some(other) = state.cluster.at(&member.address) {
                    return Err(Rejection::Invalid(format!(
                        "members.{id}: {other} of cluster {name}, which has no agents, has the address {} too; run primacy cluster forget {name} first",
                        member.address
                    )));
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// A database history belongs to one cluster: what is taken over must not be looked after already.
    pub(super) fn check_unknown(
        &self,
        name: &ClusterName,
        evidence: &Evidence,
    ) -> Result<(), Rejection> {
        let Evidence::TakenOver { identity, .. } = evidence else {
            return Ok(());
        };
        let is_its = |found: Option<SystemIdentifier>| found == Some(*identity);
        let mut known = self.clusters.iter();
        if let Some((other, _)) =
            known.find(|(other, state)| *other != name && is_its(state.cluster.identity))
        {
            return Err(Rejection::Invalid(format!(
                "database system {identity} is that of cluster {other}"
            )));
        }
        let mut known = self.sql.iter();
        if let Some((other, _)) = known.find(|(_, state)| state.cluster.system == *identity) {
            return Err(Rejection::Invalid(format!(
                "database system {identity} is that of cluster {other}, which has no agents; run primacy cluster forget {other} first"
            )));
        }
        Ok(())
    }
}

impl ClusterState {
    pub(super) fn create(name: ClusterName, new: NewCluster, at: u64) -> Result<Self, Rejection> {
        let invalid = |why: &str| Err(Rejection::Invalid(why.to_owned()));
        if !new.members.contains_key(&new.first) {
            return invalid("the first instance is not a member");
        }
        if new.durability.standby_acks() >= new.members.len() {
            return invalid("durability asks for more standbys than the cluster has");
        }
        let first = new.first;
        let members: BTreeMap<InstanceId, Member> = new
            .members
            .into_iter()
            .map(|(id, member)| {
                let is_first = id == first;
                let member = Member {
                    address: member.address,
                    health: member.health,
                    zone: member.zone,
                    incarnation: if is_first {
                        Incarnation::FIRST
                    } else {
                        Incarnation::NEVER_FILLED
                    },
                    standing: if is_first {
                        Standing::Voter
                    } else {
                        Standing::Recovering
                    },
                };
                (id, member)
            })
            .collect();
        let epoch = Epoch(1);
        let mut history = History::default();
        history.begin(
            at,
            Kind::Creation,
            epoch,
            None,
            Some(first.clone()),
            "the cluster was created",
        );
        let cluster = Cluster {
            name,
            identity: None,
            durability: new.durability,
            reads: new.reads,
            members,
            epoch,
            // initdb writes on timeline 1; the first primary is promoted like every other.
            timeline: Timeline(2),
            primary: None,
            holders: BTreeSet::new(),
            lineage: Lineage::default(),
            first_commit: None,
            planned_stop: None,
            switchover: None,
            forced: None,
            forsaken: BTreeMap::new(),
            loss: None,
            durability_change: None,
        };
        Ok(ClusterState {
            cluster,
            number: 1,
            elected: Order::default(),
            handover: Some(Handover::Creating { instance: first }),
            rejoins: BTreeMap::new(),
            history,
        })
    }
}
