//! The first commit of an epoch, which proves that the standbys acknowledge under its rule.

use std::sync::Arc;
use std::time::Duration;

use super::{Done, Worker};
use crate::agent::chain;
use crate::clock;
use crate::model::{Epoch, Lsn, Timestamp};
use crate::provider::LocalServer;

/// The longest checkpoint after a promotion that the first commit waits for.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(600);
/// A barrier that failed is tried again after this.
const BARRIER_AGAIN: Duration = Duration::from_millis(500);

impl Worker {
    pub(super) fn begin_barrier(&mut self, now: Timestamp) {
        let is_open = self
            .known
            .reading
            .as_ref()
            .is_some_and(|reading| !reading.session.in_recovery);
        let Some(lease) = self.lease.live(self.promise.epoch(), now) else {
            return;
        };
        let epoch = lease.order.epoch;
        let is_known = self.known.first_commit.is_some_and(|(of, _)| of == epoch);
        let idle = self.running.is_none() && self.barrier.is_none() && now >= self.barrier_at;
        if !is_open || is_known || !idle {
            return;
        }
        self.barrier = Some(epoch);
        let provider = Arc::clone(&self.tools.provider);
        self.tasks.spawn(async move {
            // Before anybody rewinds: pg_rewind believes what the last checkpoint says.
            let acknowledged = match provider.checkpoint(CHECKPOINT_WITHIN).await {
                Ok(()) => provider.barrier(epoch).await,
                Err(error) => Err(error),
            };
            Done::Barrier(epoch, acknowledged.map_err(|error| chain(&error)))
        });
    }

    pub(super) fn on_barrier(&mut self, epoch: Epoch, result: Result<Lsn, String>) {
        self.barrier = None;
        match result {
            Ok(lsn) => {
                tracing::info!(%epoch, %lsn, "the first commit of the epoch is acknowledged");
                self.known.first_commit = Some((epoch, lsn));
                self.publish();
            }
            Err(error) => {
                tracing::debug!(error, "the first commit is not acknowledged yet");
                self.barrier_at = clock::boottime().after(BARRIER_AGAIN);
            }
        }
    }
}
