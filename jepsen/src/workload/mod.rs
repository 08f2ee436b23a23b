//! What clients do while faults happen. Each workload is a future that runs until told to stop and records
//! what it does; it asks nothing of its runtime but timers and sockets, so that each client can live on a
//! thread of its own in a network namespace. Targets, habits and recorder are values.
//!
//! The rules of all: values are unique for ever; a retry is a new operation with a new value, and only after
//! the last one's end is known; after an unknown outcome the client is a new process. A statement that
//! succeeds with a warning, such as that waiting for standbys was cancelled, has an unknown outcome.

pub mod append;
pub mod bank;
pub mod client;
pub mod fenceprobe;
pub mod lease;
pub mod peers;
pub mod set;
pub mod sql;
pub mod status;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Why a workload ended early: then the run is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The history cannot be written.
    #[error("record the history")]
    Record(#[from] io::Error),
    /// No primary was found to prepare or to read at the end.
    #[error("{what}: not in time: {last}")]
    Late {
        /// What was tried.
        what: &'static str,
        /// What went wrong last.
        last: String,
    },
}

/// Values that nobody uses twice. All clones count together.
#[derive(Debug, Clone, Default)]
pub struct Values(Arc<AtomicI64>);

impl Values {
    /// The next one, from 1.
    pub fn next(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Says when to stop, and how often to act until then.
#[derive(Debug, Clone)]
pub struct Pace {
    /// True ends the workload after the operation under way.
    pub stopped: watch::Receiver<bool>,
    /// From the beginning of one operation to that of the next, if it ends in that time.
    pub every: Duration,
}

/// The beats of a [`Pace`].
#[derive(Debug)]
pub struct Beats {
    stopped: watch::Receiver<bool>,
    ticks: tokio::time::Interval,
}

impl Pace {
    /// The first beat comes at once.
    pub fn beats(self) -> Beats {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Beats {
            stopped: self.stopped,
            ticks,
        }
    }
}

impl Beats {
    /// Waits for the next beat; false if it is time to stop. Whoever could stop it being gone is that, too.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stopped| *stopped) => false,
            _ = self.ticks.tick() => true,
        }
    }
}
