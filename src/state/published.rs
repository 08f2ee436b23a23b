//! Which instance is the primary of each cluster, as the world is told of it: recorded, promoted, and not in doubt.

use crate::model::{Address, ClusterName, Epoch, InstanceId, Timeline};

use super::history::History;
use super::{ClusterState, SqlState, State};

/// A primary that clients may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPrimary {
    /// Its name.
    pub instance: InstanceId,
    /// Where it answers.
    pub address: Address,
    /// The epoch under which it became the primary, or a later one that left it so.
    pub epoch: Epoch,
    /// Its timeline.
    pub timeline: Timeline,
    /// When that was recorded, in milliseconds since 1970 on the leader's clock. For display only.
    pub since: u64,
}

impl PublishedPrimary {
    /// Whether both say the same of who is the primary.
    pub fn tells_the_same_as(&self, other: &PublishedPrimary) -> bool {
        let told = |it: &PublishedPrimary| (it.instance.clone(), it.epoch, it.timeline);
        told(self) == told(other) && self.address == other.address
    }
}

impl State {
    /// The primary of a cluster; none if there is no such cluster, or it has none at the moment.
    pub fn published(&self, cluster: &ClusterName) -> Option<PublishedPrimary> {
        let with_agents = self.clusters.get(cluster).and_then(of_agents);
        with_agents.or_else(|| self.sql.get(cluster).and_then(over_sql))
    }

    /// The primaries of all clusters that have one, by name.
    pub fn all_published(&self) -> impl Iterator<Item = (&ClusterName, PublishedPrimary)> {
        let with_agents = self.clusters.iter();
        let with_agents = with_agents.filter_map(|(name, state)| Some((name, of_agents(state)?)));
        let over_sql = self
            .sql
            .iter()
            .filter_map(|(name, state)| Some((name, over_sql(state)?)));
        with_agents.chain(over_sql)
    }
}

fn of_agents(state: &ClusterState) -> Option<PublishedPrimary> {
    let primary = state
        .cluster
        .primary
        .as_ref()
        .filter(|_| state.is_established())?;
    Some(PublishedPrimary {
        instance: primary.clone(),
        address: state.cluster.members.get(primary)?.address.clone(),
        epoch: state.cluster.epoch,
        timeline: state.cluster.lineage.current,
        since: since(&state.history),
    })
}

fn over_sql(state: &SqlState) -> Option<PublishedPrimary> {
    let primary = state.cluster.primary.as_ref()?;
    Some(PublishedPrimary {
        instance: primary.clone(),
        address: state.cluster.members.get(primary)?.address.clone(),
        epoch: state.cluster.epoch,
        timeline: state.cluster.lineage.current,
        since: since(&state.history).max(state.adopted_at),
    })
}

/// When the newest change of primary was recorded, or the newest thing that is known of it.
fn since(history: &History) -> u64 {
    let mut newest_first = history.records().rev();
    let change = newest_first.find(|record| record.kind.changes_primary());
    let entries = change.map(|record| record.entries.as_slice());
    let entries = entries.unwrap_or_default();
    let promoted = entries.iter().rev().find(|it| it.event == "promoted");
    promoted.or(entries.last()).map_or(0, |entry| entry.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;
    use crate::model::example::{cluster, id, order};
    use crate::recovery::Handover;
    use crate::state::example::at_rest;
    use crate::state::history::Kind;

    fn state(handover: Option<Handover>) -> State {
        let mut one = at_rest(cluster(&["a", "b"], Durability::Async));
        one.cluster.primary = Some(id("a"));
        one.handover = handover;
        let mut history = History::default();
        history.begin(5, Kind::Handover, order(1, 2).epoch, None, None, "x");
        history.begin(9, Kind::Rejoin, order(1, 2).epoch, Some(id("b")), None, "y");
        one.history = history;
        let mut state = State::default();
        state
            .clusters
            .insert(ClusterName::new("demo").unwrap(), one);
        state
    }

    #[test]
    fn a_primary_is_published_once_it_is_promoted() {
        let demo = ClusterName::new("demo").unwrap();
        let found = state(None).published(&demo).unwrap();
        assert_eq!((found.instance, found.since), (id("a"), 5));
        let promoting = Handover::Fencing {
            promises: [].into(),
        };
        assert_eq!(state(Some(promoting.clone())).published(&demo), None);
        assert_eq!(state(Some(promoting)).all_published().count(), 0);
        assert_eq!(state(Some(Handover::Done)).all_published().count(), 1);
        assert_eq!(State::default().published(&demo), None);
    }
}
