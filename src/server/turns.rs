//! Whose turn it is, as far as this peer knows while it leads: see [`crate::decision::turns`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Peer;
use crate::clock;
use crate::decision::turns::{self, Course, Stand, Turn};
use crate::model::{ClusterName, Priority};

/// The turns of all clusters. A short lock that is never held across an await.
#[derive(Debug)]
pub struct Turns(Mutex<turns::Turns>);

impl Turns {
    pub(super) fn new(limit: usize) -> Turns {
        Turns(Mutex::new(turns::Turns::new(limit)))
    }

    fn lock(&self) -> MutexGuard<'_, turns::Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is seen of a cluster; whether its recovery may begin.
    pub(super) fn note(&self, cluster: &ClusterName, stand: Stand) -> Turn {
        // The clock is read under the lock, so that it never runs backwards there.
        let mut turns = self.lock();
        turns.note(cluster, stand, clock::monotonic())
    }

    /// Whether the recovery of a cluster may begin, by what was noted last.
    pub fn of(&self, cluster: &ClusterName) -> Turn {
        let turns = self.lock();
        turns.of(cluster, clock::monotonic())
    }

    /// Whether its recovery could begin if its primary failed now.
    pub fn forecast(&self, cluster: &ClusterName, priority: Priority) -> Turn {
        let turns = self.lock();
        turns.forecast(cluster, priority, clock::monotonic())
    }

    /// How many recoveries run, how many wait for their turn, and how many may run at once.
    pub fn counts(&self) -> (usize, usize, usize) {
        let turns = self.lock();
        let now = clock::monotonic();
        (turns.under_way(now), turns.waiting(now), turns.limit())
    }

    pub(super) fn forget(&self, cluster: &ClusterName) {
        self.lock().forget(cluster);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

impl Peer {
    /// Notes what is recorded of every cluster, before this leader begins a recovery.
    pub(super) fn note_recoveries(&self) {
        let wall = clock::wall_millis();
        self.consensus.read(|state| {
            let with_agents = state.clusters.iter();
            let with_agents =
                with_agents.map(|(name, it)| (name, Course::recorded(it), it.order()));
            let without = state.sql.iter();
            let without =
                without.map(|(name, it)| (name, Course::recorded_over_sql(it), it.order()));
            for (name, course, order) in with_agents.chain(without) {
                let priority = state.directives.in_force(name, wall).priority;
                let stand = Stand {
                    course,
                    order,
                    priority,
                };
                self.turns.lock().expect(name, stand, clock::monotonic());
            }
        });
    }
}
