//! The clocks of this machine, read in one place.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A reading of CLOCK_MONOTONIC in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// The time since `earlier`, zero if that is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time since `earlier` in milliseconds.
    pub fn ms_since(self, earlier: Moment) -> f64 {
        self.since(earlier).as_secs_f64() * 1000.0
    }
}

/// Now.
pub fn now() -> Moment {
    Moment(nanoseconds(ClockId::Monotonic))
}

/// Milliseconds since 1970: only to read the recorded history of recoveries, which uses it.
pub fn wall_ms() -> u64 {
    nanoseconds(ClockId::Realtime) / 1_000_000
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
