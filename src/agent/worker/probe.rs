//! Whether the disk of the data takes writes. The write hangs beside the worker if the disk does.

use super::{Done, Worker};
use crate::agent::observe::blocking;
use crate::host::write_probe;
use crate::model::{DiskTrouble, Timestamp};

impl Worker {
    pub(super) fn begin_probe(&mut self, now: Timestamp) {
        if !self.probe.begins(now) {
            return;
        }
        let data = self.tools.hands.config().data.clone();
        self.tasks
            .spawn(async move { Done::Probed(blocking(move || write_probe::write(&data)).await) });
    }

    /// Brings what is known of the disk up to date.
    pub(super) fn judge_disk(&mut self, now: Timestamp) {
        let trouble = self.probe.trouble(now, self.known.flushed.1);
        let lasts =
            |known: &Option<DiskTrouble>| known.as_ref().is_some_and(|it| !it.lasts.is_zero());
        match (lasts(&self.known.disk), lasts(&trouble)) {
            (false, true) => tracing::warn!(?trouble, "the disk takes no write"),
            (true, false) => tracing::info!("the disk takes writes again"),
            (true, true) | (false, false) => {}
        }
        self.known.disk = trouble;
    }
}
