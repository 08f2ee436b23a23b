//! What this peer has seen over SQL. It stays here; what is decided on it is replicated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use crate::decision::discovery::Unfound;
use crate::model::sql_only::{self, Look, Outcome, SqlSighting, Stall};
use crate::model::{ClusterName, Failure, InstanceFacts, InstanceId, Opinion, SqlView, Timestamp};

/// Everything that was seen. A short lock that is never held across an await.
#[derive(Default)]
pub struct Board {
    clusters: Mutex<BTreeMap<ClusterName, Seen>>,
}

#[derive(Default)]
struct Seen {
    instances: BTreeMap<InstanceId, SqlSighting>,
    /// When the newest look at an instance ended.
    ended: BTreeMap<InstanceId, Timestamp>,
    /// Has an instance looked at again at once.
    again: BTreeMap<InstanceId, Arc<Notify>>,
    gone: BTreeMap<InstanceId, Gone>,
    leaderless_since: Option<Timestamp>,
    stalled: BTreeMap<InstanceId, Stall>,
    lacks: BTreeMap<InstanceId, Vec<String>>,
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
            seen.ended.insert(instance.clone(), now);
            let is_news = sql_only::note(&mut seen.instances, instance, look);
            let known = seen.instances.get(instance);
            let opinion = known.map_or(Opinion::Unsure, |it| it.opinion(now));
            seen.tell(is_news);
            opinion
        })
    }

    /// When the newest look at an instance ended, and what this peer thinks of it.
    pub(super) fn opinion(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        now: Timestamp,
    ) -> (Option<Timestamp>, Opinion) {
        self.of(cluster, |seen| {
            let known = seen.instances.get(instance);
            let opinion = known.map_or(Opinion::Unsure, |it| it.opinion(now));
            (seen.ended.get(instance).copied(), opinion)
        })
    }

    /// Who lives and lets this peer not look at it, in words: other peers may see it well.
    pub fn refusals(&self, now: Timestamp) -> Vec<String> {
        let clusters = self.lock();
        let all = clusters.iter().flat_map(|(cluster, seen)| {
            let instances = seen.instances.iter();
            instances.map(move |(instance, it)| (cluster, instance, it))
        });
        let refused = all.filter_map(|(cluster, instance, it)| match &it.last.as_ref()?.outcome {
            Outcome::Refused(why) if it.opinion(now) == Opinion::Lives => Some(format!(
                "{instance} of {cluster} lets this peer not look at it: {why}; correct [postgresql] in its configuration, or pg_hba.conf there"
            )),
            _ => None,
        });
        refused.collect()
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

    /// Notes whether the record knows of no primary and no change of one.
    pub(super) fn leaderless(&self, cluster: &ClusterName, is_so: bool, now: Timestamp) {
        self.of(cluster, |seen| match is_so {
            true => drop(seen.leaderless_since.get_or_insert(now)),
            false => seen.leaderless_since = None,
        });
    }

    /// Forgets since when something has been so: another peer leads, and what it does is not noted here.
    pub(super) fn forget_times(&self) {
        for seen in self.lock().values_mut() {
            seen.leaderless_since = None;
        }
    }

    /// Notes whether the disk of an instance confirms no write.
    pub(super) fn stalled(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        stall: Option<Stall>,
    ) {
        self.of(cluster, |seen| {
            if seen.stalled.get(instance) == stall.as_ref() {
                return;
            }
            match stall {
                Some(stall) => drop(seen.stalled.insert(instance.clone(), stall)),
                None => drop(seen.stalled.remove(instance)),
            }
            seen.tell(true);
        });
    }

    /// Notes what an instance lacks that a failover needs there.
    pub(super) fn lacks(&self, cluster: &ClusterName, instance: &InstanceId, lacks: Vec<String>) {
        self.of(cluster, |seen| {
            let known = seen.lacks.get(instance).map(Vec::as_slice);
            if known.unwrap_or_default() == lacks {
                return;
            }
            match lacks.is_empty() {
                false => drop(seen.lacks.insert(instance.clone(), lacks)),
                true => drop(seen.lacks.remove(instance)),
            }
            seen.tell(true);
        });
    }

    /// Whether an instance is known to lack something.
    pub(super) fn is_lacking(&self, cluster: &ClusterName, instance: &InstanceId) -> bool {
        self.of(cluster, |seen| seen.lacks.contains_key(instance))
    }

    /// What was seen of each instance of a cluster whose newest look is fresh and brought facts.
    pub(super) fn all_fresh(
        &self,
        cluster: &ClusterName,
        now: Timestamp,
    ) -> Vec<Arc<InstanceFacts>> {
        self.of(cluster, |seen| {
            let fresh = seen.instances.values().filter_map(|it| it.fresh(now));
            fresh.cloned().collect()
        })
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
                leaderless_since: seen.leaderless_since,
                stalled: seen.stalled.clone(),
                lacks: seen.lacks.clone(),
                ..SqlView::default()
            }
        })
    }
}
