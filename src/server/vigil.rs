//! Has this peer itself been awake? One that was frozen, or got no processor, finds everybody's last
//! word old. It must not call anybody silent before they had a chance to be heard again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::model::Timestamp;

/// How often the peer notes that it is awake.
const EVERY: Duration = Duration::from_millis(250);
/// A gap this long means that it was not: well above what a busy machine makes of [`EVERY`].
const GAP: Duration = Duration::from_millis(750);

/// Since when this peer has been awake without a gap.
#[derive(Debug, Default)]
pub struct Vigil {
    since: AtomicU64,
    noted: AtomicU64,
}

impl Vigil {
    /// Since when, at `now`. A gap counts from the moment it is asked about, whoever notes it first.
    pub fn since(&self, now: Timestamp) -> Timestamp {
        self.note(now);
        Timestamp(self.since.load(Ordering::SeqCst))
    }

    fn note(&self, now: Timestamp) {
        let last = Timestamp(self.noted.fetch_max(now.0, Ordering::SeqCst));
        if now.since(last) > GAP {
            self.since.store(now.0, Ordering::SeqCst);
        }
    }

    /// Notes for ever.
    pub(super) async fn keep(&self) -> String {
        loop {
            self.note(clock::monotonic());
            tokio::time::sleep(EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_the_vigil_anew() {
        let vigil = Vigil::default();
        assert_eq!(vigil.since(Timestamp(10_000)), Timestamp(10_000));
        assert_eq!(vigil.since(Timestamp(10_500)), Timestamp(10_000));
        assert_eq!(vigil.since(Timestamp(12_000)), Timestamp(12_000));
        assert_eq!(vigil.since(Timestamp(12_300)), Timestamp(12_000));
    }
}
