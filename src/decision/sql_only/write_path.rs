//! Does the disk of a primary take writes? Told from looks, which cost nothing, and from one commit of our own where these
//! leave it open.
//!
//! While the log moves, the disk works; while nobody waits for it, nobody is harmed and nothing is to be told. Only where
//! something was handed over and is not confirmed, one commit is tried: whoever left an open transaction behind is told from
//! a disk that stands still by what becomes of it. So a cluster in which nobody writes is never written to, its archive
//! stays idle, and one that works is written to now and then at most.

use std::time::Duration;

use crate::model::report::DISK_FAILS_AFTER;
use crate::model::sql_only::Stall;
use crate::model::{LogEnds, Lsn, Timestamp};

/// For so long something must have waited before a commit is tried: a commit that is under way, and the few hundred
/// milliseconds for which PostgreSQL itself lets an asynchronous one wait, are no reason.
const OPEN_FOR: Duration = Duration::from_secs(1);
/// After a commit that could not be tried, for want of a session, the next is tried so much later.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How a commit that was tried ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It was confirmed.
    Confirmed,
    /// The server refuses, because its disk does, in these words.
    Refused(String),
    /// It was sent, and did not come back.
    Silent,
    /// The server let no session in that would have sent it, in these words: it took the connection and said no more.
    NotLetIn(String),
    /// It was not sent.
    NotSent,
}

/// What is known of the disk of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WritePath {
    flushed: Lsn,
    /// Since when that has stood still although something waits; none if nothing does.
    open_since: Option<Timestamp>,
    /// When a commit was tried for it; none if none was.
    tried_at: Option<Timestamp>,
    /// Not before this.
    next_at: Timestamp,
    refusal: Option<String>,
    /// Why the last session that would have tried one was not let in.
    not_let_in: Option<String>,
}

impl WritePath {
    /// Notes a look that began at `at`; none on a standby. Answers whether a commit should be tried now.
    pub fn note(&mut self, log: Option<LogEnds>, at: Timestamp) -> bool {
        let Some(log) = log.filter(|log| log.inserted > log.flushed) else {
            self.is_well();
            return false;
        };
        if log.flushed != self.flushed {
            self.is_well();
            self.flushed = log.flushed;
        }
        let since = *self.open_since.get_or_insert(at);
        self.tried_at.is_none() && at >= self.next_at && at.since(since) >= OPEN_FOR
    }

    /// Notes that a commit is tried.
    pub fn begun(&mut self, at: Timestamp) {
        self.tried_at = Some(at);
    }

    /// Notes how it ended. One that does not come back is not tried again before the log has moved: it lies in it, and a
    /// session that waits for a disk can be ended by nobody.
    pub fn ended(&mut self, tried: Tried, at: Timestamp) {
        if self.tried_at.is_none() {
            // The log has moved meanwhile.
            return;
        }
        match tried {
            Tried::Confirmed => self.is_well(),
            Tried::Silent => {}
            Tried::Refused(words) => {
                self.refusal = Some(words);
                self.later(at);
            }
            Tried::NotLetIn(words) => {
                self.not_let_in = Some(words);
                self.later(at);
            }
            Tried::NotSent => self.later(at),
        }
    }

    fn later(&mut self, at: Timestamp) {
        self.tried_at = None;
        self.next_at = at.after(AGAIN_AFTER);
    }

    fn is_well(&mut self) {
        (self.open_since, self.tried_at) = (None, None);
        (self.refusal, self.not_let_in) = (None, None);
    }

    /// Whether it stands still at `now`, and how that is known.
    pub fn stall(&self, now: Timestamp) -> Option<Stall> {
        let is_so_since = |at: Timestamp| now.since(at) >= DISK_FAILS_AFTER;
        let flushed = self.flushed;
        // Whoever is let in has something read from the disk.
        let not_let_in = self.not_let_in.as_ref().map(|why| {
            format!("WAL is confirmed up to {flushed} and no further, and no new session is let in: {why}")
        });
        let not_let_in = not_let_in.filter(|_| self.open_since.is_some_and(is_so_since));
        let refusal = self.refusal.clone().or(not_let_in);
        let is_silent = self.tried_at.is_some_and(is_so_since);
        (is_silent || refusal.is_some()).then_some(Stall { flushed, refusal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(inserted: u64, flushed: u64) -> Option<LogEnds> {
        Some(LogEnds {
            inserted: Lsn(inserted),
            flushed: Lsn(flushed),
        })
    }

    /// Looks every half second for a minute; when commits were to be tried, in milliseconds.
    fn tried(look: impl Fn(u64) -> Option<LogEnds>, ends: &Tried) -> Vec<u64> {
        let mut path = WritePath::default();
        let mut tried = vec![];
        for at in (0..60_000).step_by(500) {
            if path.note(look(at), Timestamp(at)) {
                tried.push(at);
                path.begun(Timestamp(at));
                path.ended(ends.clone(), Timestamp(at));
            }
        }
        tried
    }

    #[test]
    fn nobody_is_written_to_who_does_not_write_or_whose_log_moves() {
        let never: [u64; 0] = [];
        assert_eq!(tried(|_| log(100, 100), &Tried::Confirmed), never, "idle");
        assert_eq!(tried(|_| None, &Tried::Confirmed), never, "a standby");
        let busy = |at| log(at + 50, at);
        assert_eq!(tried(busy, &Tried::Confirmed), never, "busy");
    }

    #[test]
    fn a_log_that_stands_still_is_tried_once_and_one_that_cannot_be_tried_again_later() {
        let open = |_| log(200, 100);
        assert_eq!(tried(open, &Tried::Silent), [1_000]);
        let again: Vec<u64> = (1_000..60_000).step_by(10_000).collect();
        assert_eq!(tried(open, &Tried::NotSent), again);
        let refused = Tried::Refused("no space".to_owned());
        assert_eq!(tried(open, &refused), again);
    }

    #[test]
    fn a_commit_that_does_not_come_back_is_told_until_the_log_moves() {
        let mut path = WritePath::default();
        for at in [0, 500, 1_000] {
            path.note(log(200, 100), Timestamp(at));
        }
        path.begun(Timestamp(1_000));
        assert_eq!(path.stall(Timestamp(5_999)), None, "it may be busy");
        let stall = Stall {
            flushed: Lsn(100),
            refusal: None,
        };
        assert_eq!(path.stall(Timestamp(6_000)), Some(stall.clone()));
        path.ended(Tried::Silent, Timestamp(11_000));
        assert!(!path.note(log(300, 100), Timestamp(11_500)));
        assert_eq!(path.stall(Timestamp(11_500)), Some(stall));
        path.note(log(300, 101), Timestamp(12_000));
        assert_eq!(path.stall(Timestamp(12_000)), None);
    }

    #[test]
    fn a_disk_that_lets_no_session_in_is_told_until_the_log_moves() {
        let mut path = WritePath::default();
        path.note(log(200, 100), Timestamp(0));
        path.begun(Timestamp(1_000));
        let late = Tried::NotLetIn("no answer".to_owned());
        path.ended(late.clone(), Timestamp(3_000));
        assert_eq!(path.stall(Timestamp(4_999)), None, "it may be busy");
        for at in [5_000, 12_999] {
            assert!(!path.note(log(200, 100), Timestamp(at)));
            let refusal = path.stall(Timestamp(at)).unwrap().refusal.unwrap();
            assert_eq!(
                refusal,
                "WAL is confirmed up to 0/64 and no further, and no new session is let in: no answer"
            );
        }
        assert!(path.note(log(200, 100), Timestamp(13_000)), "tried again");
        path.begun(Timestamp(13_000));
        assert!(path.stall(Timestamp(13_500)).is_some());
        path.note(log(200, 150), Timestamp(14_000));
        assert_eq!(path.stall(Timestamp(14_000)), None);
        // What was tried before says nothing of a log that moves.
        path.ended(late, Timestamp(15_000));
        assert_eq!(path.stall(Timestamp(30_000)), None);
    }

    #[test]
    fn a_refusal_is_told_at_once_and_a_session_that_cannot_be_had_never() {
        let mut path = WritePath::default();
        path.note(log(200, 100), Timestamp(0));
        path.begun(Timestamp(0));
        path.ended(Tried::NotSent, Timestamp(100));
        assert_eq!(path.stall(Timestamp(9_000)), None);
        path.begun(Timestamp(10_000));
        path.ended(Tried::Refused("no space".to_owned()), Timestamp(10_100));
        let refusal = path.stall(Timestamp(10_200)).unwrap().refusal;
        assert_eq!(refusal.as_deref(), Some("no space"));
        path.begun(Timestamp(20_000));
        path.ended(Tried::Confirmed, Timestamp(20_100));
        assert_eq!(path.stall(Timestamp(30_000)), None);
    }
}
