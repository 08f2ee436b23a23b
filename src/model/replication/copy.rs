//! What tells one copy of the data from the next.

use serde::{Deserialize, Serialize};

/// Which copy of its data an instance holds, by the files that every copy, restore and rewind writes: in seconds since 1970 on
/// its host's clock. It stays the same through restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CopyMark {
    /// When their entries were last changed, which nobody can set: no copy leaves it as it is, and neither does `chown`.
    pub changed: u64,
    /// When their contents were last written: `chown` leaves that as it is, and so may a copy that keeps times. Where it
    /// differs, the data is another.
    pub written: u64,
}
