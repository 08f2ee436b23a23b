//! How much of each kind a peer answers at once. Every kind of request has places of its own, so that none waits for
//! another: not the group for clients, not health checks for changes. Nothing waits for a place: if all are taken, the
//! answer is 503 `busy` with `Retry-After`. A place is taken once the whole request is there, so slow bodies take none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::problem::Problem;

/// Longer than any check takes that does not hang, below the usual patience of load balancers.
const CHECKED_WITHIN: Duration = Duration::from_secs(2);
/// Longer than a read may take, the way to the leader included.
const READ_WITHIN: Duration = Duration::from_secs(12);
/// Small questions of peers, for which they wait less than this.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// The places for one kind of request.
pub(super) struct Budget {
    /// What it is for, one word.
    pub(super) class: &'static str,
    /// How many are answered at once.
    pub(super) places: usize,
    free: Semaphore,
    refused: AtomicU64,
    within: Duration,
}

impl Budget {
    fn new(class: &'static str, places: usize, within: Duration) -> Arc<Budget> {
        Arc::new(Budget {
            class,
            places,
            free: Semaphore::new(places),
            refused: AtomicU64::new(0),
            within,
        })
    }

    /// A place until it is dropped. Fails with `busy`.
    pub(super) fn take(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.free.try_acquire().map_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            busy(&format!(
                "this peer answers {} requests of the kind '{}' already",
                self.places, self.class
            ))
        })
    }

    /// How many are being answered.
    pub(super) fn taken(&self) -> usize {
        self.places - self.free.available_permits()
    }

    /// How many were refused since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The places of one peer.
pub(super) struct Budgets {
    /// Load balancers and orchestration.
    pub(super) health: Arc<Budget>,
    /// Pages of metrics, which anybody may ask for: one is made at a time, and whoever waits is shown it, too.
    pub(super) metrics: Arc<Budget>,
    /// Reads of the API.
    pub(super) reads: Arc<Budget>,
    /// Changes, each at most a command's 48 KiB in the log.
    pub(super) changes: Arc<Budget>,
    /// Newcomers whose secret this peer does not know, which anybody may say they are: few, and none in the place of an
    /// admin's change. Who is known takes a place of a change.
    pub(super) strangers: Arc<Budget>,
    /// What peers and agents ask beside Raft.
    pub(super) group: Arc<Budget>,
    /// Calls of the Raft group but for snapshots: three at a time from each of a handful of peers, at most 4 MiB each.
    pub(super) raft: Arc<Budget>,
    /// Snapshots, at most 64 MiB each: the leader's, and one that its predecessor had begun.
    pub(super) snapshots: Arc<Budget>,
}

impl Budgets {
    pub(super) fn new() -> Budgets {
        // Raft has deadlines of its own for its calls, and so has a change.
        let own = Duration::MAX;
        Budgets {
            health: Budget::new("health", 256, CHECKED_WITHIN),
            metrics: Budget::new("metrics", 64, READ_WITHIN),
            reads: Budget::new("read", 256, READ_WITHIN),
            changes: Budget::new("change", 128, own),
            strangers: Budget::new("enrol", 8, own),
            group: Budget::new("group", 256, TOLD_WITHIN),
            raft: Budget::new("raft", 64, own),
            snapshots: Budget::new("snapshot", 2, own),
        }
    }

    pub(super) fn all(&self) -> [&Budget; 8] {
        [
            &self.health,
            &self.metrics,
            &self.reads,
            &self.changes,
            &self.strangers,
            &self.group,
            &self.raft,
            &self.snapshots,
        ]
    }

    /// The places for a call of the Raft group.
    pub(super) fn of_raft(&self, path: &str) -> &Budget {
        match path.strip_prefix(raft::PATH_PREFIX) {
            Some("snapshot") => &self.snapshots,
            _ => &self.raft,
        }
    }
}

/// Answers if there is a place, and in time.
pub(super) async fn within(
    State(budget): State<Arc<Budget>>,
    request: Request,
    next: Next,
) -> Response {
    let _place = match budget.take() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    match timeout(budget.within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => busy("this peer found no answer in time").into_response(),
    }
}

/// Nothing was done, and it makes sense to ask again.
pub(super) fn busy(why: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
        .hint("ask again in a second, or ask another peer; nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_kind_refuses_and_says_when_to_ask_again_and_leaves_the_others_alone() {
        let budgets = Budgets::new();
        let held: Vec<_> = (0..budgets.changes.places)
            .map(|_| budgets.changes.take().unwrap())
            .collect();
        let problem = budgets.changes.take().unwrap_err();
        assert!(problem.retryable && &*problem.code == "busy");
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(budgets.changes.refused(), 1);
        assert_eq!(budgets.changes.taken(), held.len());
        for other in budgets.all() {
            assert_eq!(other.take().is_err(), other.class == "change");
        }
        drop(held);
        assert!(budgets.changes.take().is_ok());
        assert_eq!(budgets.changes.taken(), 0);
    }

    #[test]
    fn a_snapshot_takes_no_place_of_a_heartbeat() {
        let budgets = Budgets::new();
        let class = |call: &str| budgets.of_raft(&format!("/raft/v1/{call}")).class;
        assert_eq!(class("snapshot"), "snapshot");
        for call in ["append", "vote", "pre-vote", "transfer", "birth", "other"] {
            assert_eq!(class(call), "raft");
        }
    }
}
