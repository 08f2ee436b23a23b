//! A primary that its peers cannot reach goes on while enough standbys' agents back it: each gives its word to promise
//! nothing newer for a while, so that nobody can be elected meanwhile ([`crate::model::Backers`]).
//!
//! It asks only once its lease was not renewed in time. It counts from the sending of its question; the standby counts from
//! its answer, and a margin longer: no word outlives what the other believes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::gate::PromiseRecord;
use super::lease::Lease;
use super::tenure::MARGIN;
use crate::broken;
use crate::model::{Backers, Epoch, InstanceId, Timestamp};

/// How long a primary counts on one word. Some questions may be lost in it, and a failover that begins when the peers are
/// back waits for no more than that.
pub const BACKED_FOR: Duration = Duration::from_secs(3);
/// How often a primary asks, from so long before the end of its lease on: several questions may be lost.
const ASK_EVERY: Duration = Duration::from_millis(250);
const ASK_BEFORE: Duration = Duration::from_secs(2);

/// How long a standby keeps its word: clocks differ, and the leash takes a moment.
pub(super) fn kept_for() -> Duration {
    BACKED_FOR + MARGIN
}

/// What a standby's agent has given its word for. On disk it has a mark in the promise; how long it lasts, only its memory
/// knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Word {
    until: Timestamp,
}

impl Word {
    /// At the start of a process: if the promise has the mark, the word may have been given a moment ago. Of one without a
    /// readable promise see [`Word::may_be_forgotten`].
    pub fn at_start(record: Option<&PromiseRecord>, now: Timestamp) -> Word {
        match record.is_some_and(|record| record.backs) && !broken!(BackingMark) {
            true => Word {
                until: now.after(kept_for()),
            },
            false => Word::default(),
        }
    }

    /// Until when an agent without a readable promise, which began at `began` beside data that was filled, adopts no epoch:
    /// adopting is promising, and it may have given its word.
    pub fn may_be_forgotten(began: Timestamp) -> Timestamp {
        match broken!(BackingMark) {
            true => began,
            false => began.after(kept_for()),
        }
    }

    /// How long it still lasts.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        match broken!(BackingWord) {
            true => Duration::ZERO,
            false => self.until.since(now),
        }
    }

    /// Gives the word to back the primary of `epoch`. What comes back must be on disk before the answer is sent.
    pub fn give(
        &mut self,
        record: Option<&PromiseRecord>,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<PromiseRecord, NoWord> {
        let record = record.ok_or(NoWord::NotAdopted)?;
        let promised = record.order.epoch;
        if promised > epoch && !broken!(BackingPromised) {
            return Err(NoWord::Newer { promised });
        }
        if promised < epoch {
            return Err(NoWord::Older { promised });
        }
        self.until = self.until.max(now.after(kept_for()));
        Ok(PromiseRecord {
            backs: true,
            ..record.clone()
        })
    }
}

/// Why no word is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWord {
    /// There is no readable promise.
    #[error("it has adopted no epoch")]
    NotAdopted,
    /// Somebody else is being elected, or was.
    #[error("it has promised epoch {promised}")]
    Newer {
        /// The epoch.
        promised: Epoch,
    },
    /// It was never told of this one.
    #[error("it knows of epoch {promised} only")]
    Older {
        /// The newest that it knows.
        promised: Epoch,
    },
}

/// Whom the primary asks, and what they said.
#[derive(Debug, Clone, Default)]
pub struct Backing {
    epoch: Epoch,
    backers: Backers,
    /// When the question was sent that each of them answered last with its word.
    backed: BTreeMap<InstanceId, Timestamp>,
    asked_at: Timestamp,
    /// When a leader granted the lease last.
    told_at: Timestamp,
    /// Whether a leader has said since that another epoch has begun.
    is_denied: bool,
    /// Answers to requests up to this one say nothing any more.
    outdated: u64,
}

impl Backing {
    /// What the leader said with a lease of this epoch, which it granted now, answering the request of this serial.
    pub fn told(&mut self, serial: u64, epoch: Epoch, backers: Backers, now: Timestamp) {
        if serial <= self.outdated {
            return;
        }
        self.told_at = now;
        self.is_denied = false;
        if self.epoch != epoch {
            self.backed.clear();
        }
        self.epoch = epoch;
        self.backers = backers;
    }

    /// How many are needed may rise from here on: nobody is asked before a grant tells that was asked for later than the
    /// request of this serial.
    pub fn forget(&mut self, last: u64) {
        self.outdated = last;
        self.epoch = Epoch::default();
        self.backed.clear();
    }

    /// A leader that reaches a majority says that this is not the primary: its peers are not out of reach.
    pub fn denied(&mut self) {
        self.is_denied = true;
    }

    /// When to ask: so long before the end of a lease that was not renewed, or once half of a shorter one is over. None if
    /// nobody may be asked.
    pub fn ask_at(&self, lease: Option<Lease>, length: Duration) -> Option<Timestamp> {
        let lease = lease.filter(|it| it.order.epoch == self.epoch && !self.is_denied)?;
        let before = ASK_BEFORE.min(length / 2).as_millis() as u64;
        let overdue = Timestamp(lease.until.0.saturating_sub(before));
        Some(overdue.max(self.asked_at.after(ASK_EVERY)))
    }

    /// In which epoch to ask, and whom.
    pub fn ask(&mut self, now: Timestamp) -> (Epoch, &Backers) {
        self.asked_at = now;
        (self.epoch, &self.backers)
    }

    /// One of them gave its word for `epoch`, answering a question sent at `sent`; the answer arrived at `arrived`.
    pub fn backed(&mut self, by: &InstanceId, epoch: Epoch, sent: Timestamp, arrived: Timestamp) {
        if epoch != self.epoch || !self.backers.agents.contains_key(by) {
            return;
        }
        let counted = match broken!(BackingClock) {
            true => arrived.after(BACKED_FOR),
            false => sent,
        };
        let last = self.backed.entry(by.clone()).or_default();
        *last = counted.max(*last);
    }

    /// Until when enough of them back it.
    pub fn until(&self) -> Option<Timestamp> {
        let needed =
            (self.backers.needed as usize).saturating_sub(usize::from(broken!(BackingEnough)));
        let mut sent: Vec<Timestamp> = self.backed.values().copied().collect();
        sent.sort_unstable();
        // As many as are needed were asked then or later.
        let at = sent.len().checked_sub(needed)?;
        let oldest = sent.get(at).copied().or(Some(self.asked_at));
        oldest.map(|sent| sent.after(BACKED_FOR))
    }

    /// Whether the lease goes on by their words alone. Who serves so promises nothing newer of its own accord: it would be
    /// fenced, although it serves and nobody else can be elected.
    pub fn carries(&self, now: Timestamp) -> bool {
        let since = self.backed.values().any(|sent| *sent > self.told_at);
        since && !self.is_denied && self.until().is_some_and(|until| now < until)
    }

    /// Those who back it now.
    pub fn by(&self, now: Timestamp) -> Vec<InstanceId> {
        let lives = |sent: &Timestamp| now < sent.after(BACKED_FOR);
        let by = self.backed.iter().filter(|(_, sent)| lives(sent));
        by.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{cluster, id, order};
    use crate::model::{Durability, Order};

    fn record(epoch: u64) -> PromiseRecord {
        PromiseRecord {
            group: "g".to_owned(),
            order: order(epoch, 3),
            promotion_asked: false,
            backs: false,
        }
    }

    const NOW: Timestamp = Timestamp(10_000);

    #[test]
    fn a_word_is_given_for_the_epoch_promised_and_outlives_its_process() {
        let mut word = Word::default();
        let epoch = Epoch(4);
        for (promised, refused) in [
            (None, NoWord::NotAdopted),
            (Some(record(5)), NoWord::Newer { promised: Epoch(5) }),
            (Some(record(3)), NoWord::Older { promised: Epoch(3) }),
        ] {
            assert_eq!(word.give(promised.as_ref(), epoch, NOW), Err(refused));
        }
        assert_eq!(word.remaining(NOW), Duration::ZERO);
        let marked = word.give(Some(&record(4)), epoch, NOW).unwrap();
        assert!(marked.backs);
        assert_eq!(word.remaining(NOW), BACKED_FOR + MARGIN);
        assert_eq!(
            word.remaining(NOW.after(BACKED_FOR + MARGIN)),
            Duration::ZERO
        );
        // Nobody knows when it was given.
        let again = Word::at_start(Some(&marked), NOW);
        assert_eq!(again.remaining(NOW), BACKED_FOR + MARGIN);
        assert_eq!(Word::at_start(Some(&record(4)), NOW), Word::default());
    }

    fn told(durability: Durability) -> Backing {
        let mut backing = Backing::default();
        let of = cluster(&["a", "b", "c"], durability);
        backing.told(1, Epoch(4), of.backers(&id("a")), Timestamp(9_500));
        backing
    }

    #[test]
    fn as_many_as_are_needed_are_counted_from_the_sending() {
        let at = |seconds: u64| Timestamp(seconds * 1_000);
        let mut quorum = told(Durability::Quorum { standbys: 1 });
        let mut all = told(Durability::Async);
        for backing in [&mut quorum, &mut all] {
            assert_eq!(backing.until(), None);
            backing.backed(&id("x"), Epoch(4), at(9), at(9));
            backing.backed(&id("b"), Epoch(3), at(9), at(9));
            assert_eq!(backing.until(), None, "a stranger, and another epoch");
            backing.backed(&id("b"), Epoch(4), at(10), at(12));
        }
        assert_eq!(quorum.until(), Some(at(13)));
        assert_eq!(all.until(), None);
        for backing in [&mut quorum, &mut all] {
            backing.backed(&id("c"), Epoch(4), at(11), at(11));
            backing.backed(&id("c"), Epoch(4), at(9), at(12));
        }
        assert_eq!(quorum.until(), Some(at(14)));
        assert_eq!(all.until(), Some(at(13)));
        assert_eq!(all.by(at(13)), [id("c")]);
        assert!(quorum.carries(at(13)) && !quorum.carries(at(14)));
        let of = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        quorum.told(2, Epoch(4), of.backers(&id("a")), at(12));
        assert!(!quorum.carries(at(13)), "a leader grants again");
        all.told(2, Epoch(5), Backers::default(), at(12));
        assert!(all.by(at(1)).is_empty(), "of another epoch");
    }

    #[test]
    fn it_asks_only_when_a_renewal_is_late() {
        let mut backing = told(Durability::Async);
        let lease = |number| Lease {
            order: Order {
                epoch: Epoch(4),
                number,
            },
            until: Timestamp(10_000),
        };
        let short = Duration::from_secs(2);
        assert_eq!(backing.ask_at(None, short), None);
        assert_eq!(
            backing.ask_at(Some(lease(1)), short),
            Some(Timestamp(9_000))
        );
        let long = Duration::from_secs(10);
        assert_eq!(backing.ask_at(Some(lease(1)), long), Some(Timestamp(8_000)));
        let (epoch, backers) = backing.ask(Timestamp(9_100));
        assert_eq!((epoch, backers.agents.len()), (Epoch(4), 2));
        assert_eq!(
            backing.ask_at(Some(lease(1)), short),
            Some(Timestamp(9_350))
        );
        backing.denied();
        assert_eq!(backing.ask_at(Some(lease(1)), short), None);
        backing.told(2, Epoch(4), backing.backers.clone(), Timestamp(9_150));
        assert!(backing.ask_at(Some(lease(1)), short).is_some());
        backing.forget(7);
        backing.told(7, Epoch(4), backing.backers.clone(), Timestamp(9_160));
        assert_eq!(backing.ask_at(Some(lease(1)), short), None, "of before");
        assert_eq!(backing.until(), None);
        backing.told(8, Epoch(5), Backers::default(), Timestamp(9_200));
        assert_eq!(backing.ask_at(Some(lease(1)), short), None);
    }
}
