//! A lease on its way to the leash, and the one that waits behind it.
//!
//! One at a time. The first lease of an order has its order noted on disk and may have to start the leash, and over slow
//! links several grants arrive before that is done: each would begin it anew beside the others.

use super::{Done, Worker};
use crate::agent::leash::Way;
use crate::duty::Lease;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Arming {
    is_under_way: bool,
    /// The best that was granted meanwhile.
    waiting: Option<Lease>,
}

impl Arming {
    fn wait(&mut self, lease: Lease) {
        let rank = |lease: &Lease| (lease.order, lease.until);
        let is_better = |waiting: &Lease| rank(waiting) < rank(&lease);
        if self.waiting.as_ref().is_none_or(is_better) {
            self.waiting = Some(lease);
        }
    }

    /// Nothing runs any more that would need what waits.
    pub(super) fn forget(&mut self) {
        self.waiting = None;
    }
}

impl Worker {
    /// Has the leash hold the end of this lease, once it has echoed that of the one before.
    pub(super) fn arm(&mut self, lease: Lease) {
        if self.arming.is_under_way {
            self.arming.wait(lease);
            return;
        }
        let way = match self.armed == Some(lease.order) {
            true if self.lease.is_own() => Way::Extend,
            true => Way::Replace,
            false => Way::Anew,
        };
        let (leash, releases) = (self.tools.leash.clone(), self.releases);
        self.arming.is_under_way = true;
        self.tasks
            .spawn(async move { Done::Armed(releases, lease, leash.arm(lease, way).await) });
    }

    /// The leash has echoed the end of a lease, which counts from now on, or has not taken it.
    pub(super) fn on_armed(&mut self, releases: u64, lease: Lease, result: Result<(), String>) {
        self.arming.is_under_way = false;
        match result {
            Ok(()) => self.hold(releases, lease),
            Err(error) => tracing::error!(
                error,
                "the leash did not take the deadline: the lease does not count"
            ),
        }
        let of_now = |lease: &Lease| Some(lease.order.epoch) == self.promise.epoch();
        if let Some(next) = self.arming.waiting.take().filter(of_now) {
            self.arm(next);
        }
    }

    fn hold(&mut self, releases: u64, lease: Lease) {
        let is_held = releases == self.releases;
        if !is_held || Some(lease.order.epoch) != self.promise.epoch() {
            return;
        }
        if self.lease.hold(lease) {
            self.armed = Some(lease.order);
        }
        if let Some(running) = &mut self.running {
            running.look_at = crate::clock::boottime();
        }
        self.publish();
    }
}
