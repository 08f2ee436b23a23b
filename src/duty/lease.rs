//! The primary lease, as both sides count it: its holder from the *sending* of the renewal, on
//! CLOCK_BOOTTIME, its grantor from the arrival. So no lease outlives what the grantor waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broken;
use crate::model::{ClusterName, Durability, Epoch, Order, Timestamp};

/// Two requests are never closer than this.
const PACE: Duration = Duration::from_millis(20);
/// A request that was not answered for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

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

/// The lease of one agent: asking for it and keeping count of it.
#[derive(Debug, Clone, Default)]
pub struct LeaseKeeper {
    held: Option<Lease>,
    length: Duration,
    sent: BTreeMap<u64, Timestamp>,
    last_sent: Timestamp,
    serial: u64,
}

impl LeaseKeeper {
    /// Takes over a lease that the leash still holds from before a restart, to be renewed at once.
    pub fn take_over(&mut self, lease: Lease, now: Timestamp) {
        self.length = lease.until.since(now) * 2;
        self.held = Some(lease);
    }

    /// The lease, if it is live and of the highest epoch promised.
    pub fn live(&self, promised: Option<Epoch>, now: Timestamp) -> Option<Lease> {
        self.held
            .filter(|lease| lease.live(now).is_some() && promised == Some(lease.order.epoch))
    }

    /// When the lease ends; none without one.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.held.map(|lease| lease.until)
    }

    /// Whether the lease, live until now, has ended.
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.held.is_some_and(|lease| lease.live(now).is_none())
    }

    /// When to ask again; none without a lease.
    pub fn renew_at(&self) -> Option<Timestamp> {
        let lease = self.held?;
        Some(
            lease
                .renew_at(self.length)
                .max(self.last_sent.after(self.retry())),
        )
    }

    fn retry(&self) -> Duration {
        (self.length / 16).max(PACE)
    }

    /// Forgets the lease: nothing runs that would need it, or a newer epoch was promised.
    pub fn drop_it(&mut self) {
        self.held = None;
        self.sent.clear();
    }

    /// The serial of a request to be sent now; none if one was sent a moment ago.
    pub fn request(&mut self, now: Timestamp) -> Option<u64> {
        if self.serial > 0 && now.since(self.last_sent) < PACE {
            return None;
        }
        self.sent
            .retain(|_, sent| now.since(*sent) < FORGOTTEN_AFTER);
        self.serial += 1;
        self.sent.insert(self.serial, now);
        self.last_sent = now;
        Some(self.serial)
    }

    /// The lease that a grant gives, counted from the sending of the request; none for a request that
    /// was never sent or is forgotten. It is held only after the leash echoed its end.
    pub fn granted(&mut self, serial: u64, order: Order, length: Duration) -> Option<Lease> {
        let sent = *self.sent.get(&serial)?;
        self.length = length;
        Some(Lease::granted(order, sent, length))
    }

    /// Holds a lease that the leash echoed; never shortens one.
    pub fn hold(&mut self, lease: Lease) {
        let better =
            |held: Lease| (lease.order.epoch, lease.until) > (held.order.epoch, held.until);
        if self.held.is_none_or(better) {
            self.held = Some(lease);
        }
    }
}

/// Since when a peer leads, and what it granted. Forgotten with the term.
#[derive(Debug, Clone)]
pub struct Tenure {
    /// The term.
    pub term: u64,
    /// When this peer learnt that it leads.
    pub since: Timestamp,
    granted: BTreeMap<ClusterName, Timestamp>,
}

impl Tenure {
    /// A tenure that begins now, with nothing granted.
    pub fn new(term: u64, since: Timestamp) -> Tenure {
        Tenure {
            term,
            since,
            granted: BTreeMap::new(),
        }
    }

    /// Notes a grant for the renewal that arrived at `arrived`; `false` if leadership was confirmed for
    /// another term. To be noted before the record is looked at again and before the grant is sent.
    pub fn grant(&mut self, cluster: &ClusterName, term: u64, arrived: Timestamp) -> bool {
        if self.term != term {
            return false;
        }
        let last = self.granted.entry(cluster.clone()).or_default();
        *last = arrived.max(*last);
        true
    }

    /// After this no instance holds a lease that this or any earlier leader granted.
    pub fn lapse_at(&self, cluster: &ClusterName, durability: Durability) -> Timestamp {
        let granted = self.granted.get(cluster).copied().unwrap_or_default();
        let last = self.since.max(granted);
        if broken!(WholeLease) {
            return last.after(durability.lease_length() / 2);
        }
        last.after(durability.lease_length()).after(MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_sending_and_only_in_its_epoch() {
        let order = Order {
            epoch: Epoch(3),
            number: 1,
        };
        let mut keeper = LeaseKeeper::default();
        let serial = keeper.request(Timestamp(1_000)).unwrap();
        assert_eq!(keeper.request(Timestamp(1_010)), None, "paced");
        assert_eq!(
            keeper.granted(serial + 1, order, Duration::from_secs(2)),
            None
        );
        let lease = keeper
            .granted(serial, order, Duration::from_secs(2))
            .unwrap();
        assert_eq!(lease.until, Timestamp(3_000));
        assert_eq!(
            keeper.live(Some(Epoch(3)), Timestamp(1_100)),
            None,
            "not echoed"
        );
        keeper.hold(lease);
        assert!(keeper.live(Some(Epoch(3)), Timestamp(2_999)).is_some());
        assert!(keeper.live(Some(Epoch(4)), Timestamp(2_999)).is_none());
        assert!(keeper.has_lapsed(Timestamp(3_000)));
        assert_eq!(keeper.renew_at(), Some(Timestamp(1_500)));
    }
}
