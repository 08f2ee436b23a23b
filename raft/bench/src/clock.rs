//! The one clock of all measurements.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
pub fn now() -> Instant {
    Instant::now()
}
