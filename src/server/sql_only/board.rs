//! What this peer has seen over SQL. It stays here; what is decided on it is replicated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use crate::decision::discovery::Unfound;
use crate::model::sql_only::{Look, SqlSighting};
use crate::model::{
    ClusterName, Failure, InstanceFacts, InstanceId, Opinion, SqlView, SyncRule, Timestamp,
};

/// Everything that was seen. A short lock that is never held across an await.
#[derive(Default)]
pub struct Board {
    clusters: Mutex<BTreeMap<ClusterName, Seen>>,
}

#[derive(Default)]
struct Seen {
    instances: BTreeMap<InstanceId, SqlSighting>,
    /// Has an instance looked at again at once.
    again: BTreeMap<InstanceId, Arc<Notify>>,
    gone: BTreeMap<InstanceId, Gone>,
    rule: Option<(SyncRule, Timestamp)>,
    leaderless_since: Option<Timestamp>,
    unfound: Vec<Unfound>,
    changes: watch::Sender<u64>,
    news: watch::Sender<u64>,
}

/// What the other voters said of an instance.
#[derive(Clone, Copy)]
struct Gone {
    at: Timestamp,
    by: usize,
    /// How many voters there were then.
    voters: usize,
}

impl Seen {
    fn tell(&self, is_news: bool) {
        self.changes.send_modify(|count| *count += 1);
        if is_news {
            self.news.send_modify(|count| *count += 1);
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Seen>> {
        self.clusters.lock().expect("no holder of the board panics")
    }

    fn of<R>(&self, cluster: &ClusterName, change: impl FnOnce(&mut Seen) -> R) -> R {
        let mut clusters = self.lock();
        match clusters.get_mut(cluster) {
            Some(seen) => change(seen),
            None => change(clusters.entry(cluster.clone()).or_default()),
        }
    }

    /// Changes what a decision goes by.
    fn change(&self, cluster: &ClusterName, change: impl FnOnce(&mut Seen)) {
        self.of(cluster, |seen| {
            change(seen);
            seen.tell(true);
        });
    }

    /// Changes with everything that is seen of the cluster.
    pub(super) fn watch(&self, cluster: &ClusterName) -> watch::Receiver<u64> {
        self.of(cluster, |seen| seen.changes.subscribe())
    }

    /// The same, but not with looks that tell nothing but how far WAL has come.
    pub(super) fn watch_news(&self, cluster: &ClusterName) -> watch::Receiver<u64> {
        self.of(cluster, |seen| seen.news.subscribe())
    }

    /// What has an instance looked at again at once.
    pub(super) fn again(&self, cluster: &ClusterName, instance: &InstanceId) -> Arc<Notify> {
        self.of(cluster, |seen| {
            seen.again.entry(instance.clone()).or_default().clone()
        })
    }

    /// Notes a look. Answers with what this peer thinks of the instance at `now`.
    pub(super) fn note(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        look: Look,
        now: Timestamp,
    ) -> Opinion {
        self.of(cluster, |seen| {
            if !seen.instances.contains_key(instance) {
                seen.instances
                    .insert(instance.clone(), SqlSighting::default());
            }
            let known = seen.instances.get_mut(instance).expect("it is there now");
            let is_news = known.note(look);
            let opinion = known.opinion(now);
            seen.tell(is_news);
            opinion
        })
    }

    /// When the newest look at an instance began, and what this peer thinks of it.
    pub(super) fn opinion(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        now: Timestamp,
    ) -> (Option<Timestamp>, Opinion) {
        self.of(cluster, |seen| match seen.instances.get(instance) {
            Some(it) => (it.last.as_ref().map(|look| look.at), it.opinion(now)),
            None => (None, Opinion::Unsure),
        })
    }

    /// What was seen of an instance in its newest look, if that is fresh and brought facts.
    pub(super) fn fresh(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        now: Timestamp,
    ) -> Option<Arc<InstanceFacts>> {
        self.of(cluster, |seen| {
            seen.instances.get(instance)?.fresh(now).cloned()
        })
    }

    pub(super) fn failure(&self, cluster: &ClusterName, instance: &InstanceId, failure: Failure) {
        self.change(cluster, |seen| {
            let known = seen.instances.entry(instance.clone()).or_default();
            known.failure = Some(failure);
        });
    }

    /// Notes how many of the other voters find an instance gone.
    pub(super) fn gone(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        at: Timestamp,
        (by, voters): (usize, usize),
    ) {
        self.change(cluster, |seen| {
            seen.gone.insert(instance.clone(), Gone { at, by, voters });
        });
    }

    /// Notes whose flush commits wait for, as it is seen now; none if it is not.
    pub(super) fn rule(&self, cluster: &ClusterName, rule: Option<SyncRule>, now: Timestamp) {
        self.of(cluster, |seen| {
            let is_same = seen.rule.as_ref().map(|(rule, _)| rule) == rule.as_ref();
            if !is_same {
                seen.rule = rule.map(|rule| (rule, now));
            }
        });
    }

    /// Notes whether the record knows of no primary and no change of one.
    pub(super) fn leaderless(&self, cluster: &ClusterName, is_so: bool, now: Timestamp) {
        self.of(cluster, |seen| match is_so {
            true => drop(seen.leaderless_since.get_or_insert(now)),
            false => seen.leaderless_since = None,
        });
    }

    pub(super) fn unfound(&self, cluster: &ClusterName, unfound: Vec<Unfound>) {
        self.of(cluster, |seen| seen.unfound = unfound);
    }

    /// Who receives and could not be found.
    pub fn not_found(&self, cluster: &ClusterName) -> Vec<Unfound> {
        self.of(cluster, |seen| seen.unfound.clone())
    }

    /// Keeps nothing more of these clusters.
    pub(super) fn forget(&self, clusters: &BTreeSet<ClusterName>) {
        self.lock().retain(|name, _| !clusters.contains(name));
    }

    /// All that was seen of a cluster.
    pub(super) fn view(&self, cluster: &ClusterName, now: Timestamp, peers: usize) -> SqlView {
        self.of(cluster, |seen| {
            // What was asked of another group says nothing of a majority of this one.
            let of_now = seen.gone.iter().filter(|(_, it)| it.voters == peers);
            SqlView {
                now,
                peers,
                instances: seen.instances.clone(),
                gone: of_now
                    .map(|(id, it)| (id.clone(), (it.at, it.by)))
                    .collect(),
                rule_since: seen.rule.as_ref().map(|(_, since)| *since),
                leaderless_since: seen.leaderless_since,
                ..SqlView::default()
            }
        })
    }
}
