//! What this peer has seen, per cluster and instance. Observations stay local; they are never replicated.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::model::view::SILENT_AFTER;
use crate::model::{
    Answer, ClusterName, Failure, InForce, InstanceId, Report, Sighting, Timestamp, View,
};

/// Everything this peer has seen. A short lock that is never held across an await.
#[derive(Default)]
pub struct Board {
    clusters: Mutex<BTreeMap<ClusterName, Seen>>,
}

/// What the other voters said when they were asked whether they hear an agent.
#[derive(Clone, Copy)]
struct Look {
    at: Timestamp,
    heard_by: usize,
    /// How many voters there were then.
    voters: usize,
}

#[derive(Default)]
struct Seen {
    instances: BTreeMap<InstanceId, SeenInstance>,
    looks: BTreeMap<InstanceId, Look>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct SeenInstance {
    session: Option<u64>,
    report: Option<(Timestamp, Report)>,
    answer: Option<(Timestamp, Answer)>,
    failure: Option<Failure>,
    /// Why its present session was last found to be of no member.
    stranger: Option<String>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Seen>> {
        self.clusters.lock().expect("no holder of the board panics")
    }

    fn change(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        change: impl FnOnce(&mut SeenInstance),
    ) {
        let mut clusters = self.lock();
        let seen = clusters.entry(cluster.clone()).or_default();
        change(seen.instances.entry(instance.clone()).or_default());
        seen.changes.send_modify(|count| *count += 1);
    }

    /// Changes with every observation of the cluster.
    pub(super) fn watch(&self, cluster: &ClusterName) -> watch::Receiver<u64> {
        let mut clusters = self.lock();
        clusters
            .entry(cluster.clone())
            .or_default()
            .changes
            .subscribe()
    }

    /// A session began; it takes the place of any other of this instance.
    pub(super) fn connected(&self, cluster: &ClusterName, instance: &InstanceId, session: u64) {
        self.change(cluster, instance, |seen| {
            seen.session = Some(session);
            seen.answer = None;
            seen.stranger = None;
        });
    }

    /// Notes why an agent is of no member; whether that is new since it connected.
    pub(super) fn is_new_stranger(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        why: &str,
    ) -> bool {
        let mut clusters = self.lock();
        let seen = clusters.entry(cluster.clone()).or_default();
        let seen = seen.instances.entry(instance.clone()).or_default();
        let earlier = seen.stranger.replace(why.to_owned());
        earlier.as_deref() != Some(why)
    }

    /// A session ended. Does nothing if another took its place.
    pub(super) fn disconnected(&self, cluster: &ClusterName, instance: &InstanceId, session: u64) {
        self.change(cluster, instance, |seen| {
            seen.session.take_if(|current| *current == session);
        });
    }

    /// What an agent says over its session. Ignored if another session took that one's place.
    pub(super) fn report(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        session: u64,
        at: Timestamp,
        report: Report,
    ) {
        self.change(cluster, instance, |seen| {
            if seen.session == Some(session) {
                seen.report = Some((at, report));
            }
        });
    }

    pub(super) fn answer(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        at: Timestamp,
        answer: Answer,
    ) {
        self.change(cluster, instance, |seen| seen.answer = Some((at, answer)));
    }

    pub(super) fn failure(&self, cluster: &ClusterName, instance: &InstanceId, failure: Failure) {
        self.change(cluster, instance, |seen| seen.failure = Some(failure));
    }

    pub(super) fn look(
        &self,
        cluster: &ClusterName,
        instance: &InstanceId,
        at: Timestamp,
        heard_by: usize,
        voters: usize,
    ) {
        let mut clusters = self.lock();
        let seen = clusters.entry(cluster.clone()).or_default();
        seen.looks.insert(
            instance.clone(),
            Look {
                at,
                heard_by,
                voters,
            },
        );
        seen.changes.send_modify(|count| *count += 1);
    }

    /// Whether this peer hears the agent of `instance` at `now`.
    pub fn hears(&self, cluster: &ClusterName, instance: &InstanceId, now: Timestamp) -> bool {
        let clusters = self.lock();
        let seen = clusters
            .get(cluster)
            .and_then(|seen| seen.instances.get(instance));
        seen.is_some_and(|seen| {
            let recent = |(at, _): &(Timestamp, Report)| now.since(*at) <= SILENT_AFTER;
            seen.session.is_some() && seen.report.as_ref().is_some_and(recent)
        })
    }

    /// The readings of one cluster now, by a peer that has been awake since `awake_since`.
    pub(super) fn view(
        &self,
        cluster: &ClusterName,
        (now, awake_since): (Timestamp, Timestamp),
        leases_lapse_at: Timestamp,
        peers: usize,
    ) -> View {
        let clusters = self.lock();
        let Some(seen) = clusters.get(cluster) else {
            return View {
                now,
                awake_since,
                leases_lapse_at,
                peers,
                ..View::default()
            };
        };
        // What was asked of another group says nothing of a majority of this one.
        let looks = |looks: &BTreeMap<InstanceId, Look>| {
            let of_now = looks.iter().filter(|(_, look)| look.voters == peers);
            of_now
                .map(|(id, look)| (id.clone(), (look.at, look.heard_by)))
                .collect()
        };
        let sighting = |(id, seen): (&InstanceId, &SeenInstance)| {
            let (received_at, report) = seen.report.clone()?;
            let sighting = Sighting {
                report,
                received_at,
                connected: seen.session.is_some(),
                answer: seen.answer.clone(),
                failure: seen.failure.clone(),
            };
            Some((id.clone(), sighting))
        };
        View {
            now,
            awake_since,
            leases_lapse_at,
            stop_is_over: false,
            longer_leases_lapsed: false,
            switchover_is_late: false,
            awaits_the_slow: false,
            directives: InForce::default(),
            instances: seen.instances.iter().filter_map(sighting).collect(),
            peers,
            looks: looks(&seen.looks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Database;

    fn report() -> Report {
        Report {
            promised: None,
            incarnation: None,
            identity: None,
            database: Database::Absent,
            lease: None,
            disk: None,
            weak_commits: vec![],
            insecure: false,
            read_only_default: false,
            commits_waiting: 0,
            lag: None,
        }
    }

    #[test]
    fn an_old_session_neither_hides_the_new_one_nor_speaks_for_it() {
        let board = Board::default();
        let (cluster, a) = (
            ClusterName::new("demo").unwrap(),
            InstanceId::new("a").unwrap(),
        );
        board.connected(&cluster, &a, 1);
        let is_new = |why| board.is_new_stranger(&cluster, &a, why);
        assert!(is_new("one") && !is_new("one") && is_new("two"));
        board.connected(&cluster, &a, 2);
        assert!(is_new("two"), "it connected anew");
        board.disconnected(&cluster, &a, 1);
        let report = |session| board.report(&cluster, &a, session, Timestamp(5), report());
        report(1);
        assert!(!board.hears(&cluster, &a, Timestamp(6)), "it came late");
        report(2);
        assert!(board.hears(&cluster, &a, Timestamp(6)));
        board.disconnected(&cluster, &a, 2);
        assert!(!board.hears(&cluster, &a, Timestamp(6)));
        let view = board.view(&cluster, (Timestamp(6), Timestamp(0)), Timestamp(0), 3);
        assert!(!view.instances[&a].connected);
    }
}
