//! The primary lease, as its holder counts it: from the *sending* of the renewal, on CLOCK_BOOTTIME.

use std::time::Duration;

use crate::model::{Epoch, Order, Timestamp};

/// What the successor of a silent primary waits beyond the length of a lease, in async clusters: clock
/// drift over a lease, and the leash's time to zero processes.
pub const MARGIN: Duration = Duration::from_millis(500);

/// A lease held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The order it was granted under.
    pub order: Order,
    /// When it ends.
    pub until: Timestamp,
}

impl Lease {
    /// The lease that a grant gives to the renewal sent at `sent`.
    pub fn granted(order: Order, sent: Timestamp, length: Duration) -> Lease {
        Lease {
            order,
            until: sent.after(length),
        }
    }

    /// The epoch, while it lasts.
    pub fn live(&self, now: Timestamp) -> Option<Epoch> {
        (now < self.until).then_some(self.order.epoch)
    }

    /// When to renew: four tries fit into one lease.
    pub fn renew_at(&self, length: Duration) -> Timestamp {
        Timestamp(
            self.until
                .0
                .saturating_sub(length.mul_f32(0.75).as_millis() as u64),
        )
    }
}
