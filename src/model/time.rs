//! Time as data. Decisions are handed their `now`; nothing in the pure modules reads a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on one process's monotonic clock, in milliseconds. Comparable only within that process,
/// except on an agent, where it is CLOCK_BOOTTIME and shared by the agent and its leash.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `length` later.
    pub fn after(self, length: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(length.as_millis() as u64))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
