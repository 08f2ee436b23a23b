//! The primary lease as its holder counts it: from the *sending* of the renewal, on CLOCK_BOOTTIME. Its grantor
//! counts from the arrival ([`super::tenure`]), so no lease outlives what the grantor waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Epoch, Order, Timestamp};

/// Two requests are never closer than this.
const PACE: Duration = Duration::from_millis(20);
/// Requests that are due are never further apart than this, however long the lease is.
const RETRY: Duration = Duration::from_millis(500);
/// A request that was not answered for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

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
    /// Whether the leash still held a lease when this process began.
    took_over: bool,
    /// Whether the leash has echoed a lease of this process, which took the place of whatever it held before.
    is_own: bool,
    length: Duration,
    sent: BTreeMap<u64, Timestamp>,
    last_sent: Timestamp,
    serial: u64,
    /// The requests for the longer lease of a planned stop.
    stop_asked: BTreeSet<u64>,
    /// The orders under which that lease was granted. The leash may refuse one and take the next.
    stops: BTreeSet<Order>,
    /// The stop whose longer lease was taken over from the leash and exchanged for an ordinary one.
    given_up: Option<Order>,
    /// What the record had come to before this process asked for any stop: those up to this one were asked for by
    /// earlier processes.
    earlier: Option<Order>,
}

impl LeaseKeeper {
    /// Takes over a lease that the leash still holds from before a restart, to be renewed at once.
    pub fn take_over(&mut self, lease: Lease, now: Timestamp) {
        self.length = lease.until.since(now) * 2;
        self.took_over = true;
        self.held = Some(lease);
    }

    /// Whether the leash has echoed a lease of this process. The first one takes the place of whatever the leash
    /// holds, even of a lease of the same order.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Whether the order that the record has come to is worth asking for: a stop may be recorded whose lease no
    /// process ever held, or of which the leash was never told.
    pub fn asks_for_present(&self) -> bool {
        self.took_over
            && self.held.is_some()
            && self.earlier.is_none()
            && self.stop_asked.is_empty()
    }

    /// Notes what the record has come to, as a linearizable read that began after this process did. Ignored once a
    /// stop was asked for: it might be among those recorded.
    pub fn note_present(&mut self, order: Order) {
        if self.stop_asked.is_empty() {
            self.earlier = self.earlier.max(Some(order));
        }
    }

    /// The lease, if it is live and of the highest epoch promised.
    pub fn live(&self, promised: Option<Epoch>, now: Timestamp) -> Option<Lease> {
        self.held
            .filter(|lease| lease.live(now).is_some() && promised == Some(lease.order.epoch))
    }

    /// The lease held as long as others back it; none if it lasts as long anyway, or is not of this process.
    pub fn backed(&self, until: Timestamp) -> Option<Lease> {
        let held = self.held.filter(|_| self.is_own && !self.may_stop())?;
        (held.until < until).then_some(Lease { until, ..held })
    }

    /// The serial of the last request.
    pub fn last_serial(&self) -> u64 {
        self.serial
    }

    /// Whether a request of this serial was sent and is not forgotten.
    pub fn has_sent(&self, serial: u64) -> bool {
        self.sent.contains_key(&serial)
    }

    /// The lease that is held.
    pub fn held(&self) -> Option<Lease> {
        self.held
    }

    /// How long the leases are that the leader grants.
    pub fn length(&self) -> Duration {
        self.length
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
        let again = self.last_sent.after(self.retry());
        if !self.is_own {
            // One that was taken over says nothing of the length to come.
            return Some(again);
        }
        Some(lease.renew_at(self.length).max(again))
    }

    fn retry(&self) -> Duration {
        (self.length / 16).clamp(PACE, RETRY)
    }

    /// Forgets the lease: nothing runs that would need it, or a newer epoch was promised.
    pub fn drop_it(&mut self) {
        self.held = None;
        self.given_up = None;
        self.sent.clear();
    }

    /// The serial of a request to be sent now; none if one was sent a moment ago.
    pub fn request(&mut self, now: Timestamp) -> Option<u64> {
        if self.serial > 0 && now.since(self.last_sent) < PACE {
            return None;
        }
        self.last_sent = now;
        Some(self.note_request(now))
    }

    /// The serial of a request for the longer lease of a planned stop, to be sent now. Whoever asks for one
    /// ends, with it or without.
    pub fn request_stop(&mut self, now: Timestamp) -> u64 {
        let serial = self.note_request(now);
        self.stop_asked.insert(serial);
        serial
    }

    fn note_request(&mut self, now: Timestamp) -> u64 {
        self.sent
            .retain(|_, sent| now.since(*sent) < FORGOTTEN_AFTER);
        self.serial += 1;
        self.sent.insert(self.serial, now);
        self.serial
    }

    /// Whether the longer lease of a planned stop is held: the agent may end, and takes no other lease.
    pub fn may_stop(&self) -> bool {
        self.held
            .is_some_and(|held| self.stops.contains(&held.order))
    }

    /// No longer lease of any stop up to this one is held any more, nor will be: the leash holds the end of an
    /// ordinary one instead, and none of those stops was asked for by this process.
    pub fn given_up(&self) -> Option<Order> {
        let is_told = self.held.is_some() && self.is_own;
        self.given_up.max(self.earlier).filter(|_| is_told)
    }

    /// The lease that a grant gives, counted from the sending of the request; none for a request that
    /// was never sent or is forgotten. It is held only after the leash echoed its end.
    pub fn granted(&mut self, serial: u64, order: Order, length: Duration) -> Option<Lease> {
        let sent = *self.sent.get(&serial)?;
        if self.may_stop() {
            return None;
        }
        if self.stop_asked.contains(&serial) {
            self.stops.insert(order);
        }
        self.length = length;
        Some(Lease::granted(order, sent, length))
    }

    /// Holds a lease that the leash echoed; `false` if a better one is held. One of the same order is never
    /// shortened. One of another order or of an earlier process makes way, because the leash then holds exactly the
    /// end of the new one.
    pub fn hold(&mut self, lease: Lease) -> bool {
        let Some(held) = self.held else {
            self.held = Some(lease);
            self.is_own = true;
            return true;
        };
        let is_better = if lease.order == held.order && self.is_own {
            lease.until > held.until
        } else {
            lease.order.epoch >= held.order.epoch && !self.may_stop()
        };
        if is_better {
            // Ordinary leases have the order of the election, which came before any stop.
            if lease.order < held.order {
                self.given_up = Some(held.order);
            }
            self.held = Some(lease);
            self.is_own = true;
        }
        is_better
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
        assert!(keeper.hold(lease));
        assert!(keeper.live(Some(Epoch(3)), Timestamp(2_999)).is_some());
        assert!(keeper.live(Some(Epoch(4)), Timestamp(2_999)).is_none());
        assert!(keeper.has_lapsed(Timestamp(3_000)));
        assert_eq!(keeper.renew_at(), Some(Timestamp(1_500)));
    }
    const SHORT: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(60);
    const ELECTED: Order = Order {
        epoch: Epoch(3),
        number: 1,
    };
    const STOP: Order = Order {
        epoch: Epoch(3),
        number: 9,
    };

    #[test]
    fn who_may_stop_takes_no_other_lease() {
        let mut keeper = LeaseKeeper::default();
        let renewal = keeper.request(Timestamp(1_000)).unwrap();
        let stop = keeper.request_stop(Timestamp(1_001));
        let again = keeper.request_stop(Timestamp(1_501));
        let longer = keeper.granted(stop, STOP, LONG).unwrap();
        assert_eq!(longer.until, Timestamp(61_001));
        // On its way to the leash, it does not keep the agent from renewing.
        let ordinary = keeper.granted(renewal, ELECTED, SHORT).unwrap();
        assert!(keeper.hold(ordinary) && !keeper.may_stop());
        assert!(keeper.hold(longer) && keeper.may_stop());
        assert!(!keeper.hold(ordinary), "an echo that comes late");
        for late in [renewal, again] {
            assert_eq!(keeper.granted(late, ELECTED, SHORT), None, "one is enough");
        }
        assert_eq!(keeper.given_up(), None);
        assert_eq!(keeper.ends_at(), Some(Timestamp(61_001)));
    }

    #[test]
    fn a_longer_lease_that_the_leash_did_not_take_spoils_no_later_one() {
        let mut keeper = LeaseKeeper::default();
        let renewal = keeper.request(Timestamp(1_000)).unwrap();
        let ordinary = keeper.granted(renewal, ELECTED, SHORT).unwrap();
        assert!(keeper.hold(ordinary));
        let stop = keeper.request_stop(Timestamp(1_100));
        assert!(keeper.granted(stop, STOP, LONG).is_some(), "never echoed");
        let again = keeper.request_stop(Timestamp(1_600));
        let later = Order { number: 10, ..STOP };
        let longer = keeper.granted(again, later, LONG).unwrap();
        assert!(!keeper.may_stop());
        assert!(keeper.hold(longer) && keeper.may_stop());
    }

    #[test]
    fn who_is_back_speaks_for_stops_that_nobody_held() {
        let later = Order { number: 10, ..STOP };
        let until = Timestamp(3_000);
        let taken = [ELECTED, STOP].map(|order| Lease { order, until });
        for taken in taken {
            let mut keeper = LeaseKeeper::default();
            assert!(!keeper.asks_for_present());
            keeper.take_over(taken, Timestamp(2_000));
            assert!(keeper.asks_for_present());
            keeper.note_present(later);
            assert!(!keeper.asks_for_present());
            let serial = keeper.request(Timestamp(2_000)).unwrap();
            assert_eq!(keeper.given_up(), None, "the leash was not told yet");
            // The leash held more under that order than an ordinary lease is long.
            let ordinary = keeper
                .granted(serial, ELECTED, Duration::from_millis(500))
                .unwrap();
            assert!(!keeper.is_own() && keeper.hold(ordinary) && keeper.is_own());
            assert_eq!(keeper.ends_at(), Some(Timestamp(2_500)));
            assert_eq!(keeper.given_up(), Some(later));
            // Its own stop is another, whatever it hears now.
            keeper.request_stop(Timestamp(2_100));
            let own = Order { number: 11, ..STOP };
            keeper.note_present(own);
            assert_eq!(keeper.given_up(), Some(later));
            keeper.drop_it();
            assert_eq!(keeper.given_up(), None);
        }
    }

    #[test]
    fn who_has_asked_for_a_stop_speaks_for_no_other() {
        let mut keeper = LeaseKeeper::default();
        let until = Timestamp(3_000);
        let order = ELECTED;
        keeper.take_over(Lease { order, until }, Timestamp(2_000));
        let serial = keeper.request(Timestamp(2_000)).unwrap();
        keeper.request_stop(Timestamp(2_001));
        assert!(!keeper.asks_for_present());
        keeper.note_present(STOP);
        let ordinary = keeper.granted(serial, ELECTED, SHORT).unwrap();
        assert!(keeper.hold(ordinary));
        assert_eq!(keeper.given_up(), None);
    }

    #[test]
    fn who_is_back_gives_the_longer_lease_up_for_an_ordinary_one() {
        let mut keeper = LeaseKeeper::default();
        let until = Timestamp(61_000);
        let taken = Lease { order: STOP, until };
        keeper.take_over(taken, Timestamp(5_000));
        assert!(keeper.renew_at().unwrap() <= Timestamp(5_000), "at once");
        let serial = keeper.request(Timestamp(5_000)).unwrap();
        assert_eq!(keeper.renew_at(), Some(Timestamp(5_500)), "soon again");
        let ordinary = keeper.granted(serial, ELECTED, SHORT).unwrap();
        assert_eq!(
            keeper.given_up(),
            None,
            "the leash still holds the longer one"
        );
        assert_eq!(keeper.renew_at(), Some(Timestamp(5_125)), "and again");
        assert!(keeper.hold(ordinary));
        assert_eq!(keeper.given_up(), Some(STOP));
        assert_eq!(keeper.ends_at(), Some(Timestamp(7_000)));
    }
}
