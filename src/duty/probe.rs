//! Does a disk of the data take writes? What an agent concludes from small writes of its own.
//!
//! The writes themselves are the shell's. At most one is under way: a disk that hangs is not asked again before
//! it has answered.

use std::time::Duration;

use crate::model::{DiskTrouble, Timestamp};

/// How often a write is tried: often enough beside the seconds for which a disk may be busy
/// ([`DISK_FAILS_AFTER`](crate::model::report::DISK_FAILS_AFTER)), seldom enough to cost an idle host next to nothing:
/// each takes 0.3 ms of a processor.
const EVERY: Duration = Duration::from_secs(2);
/// A write that took no longer came back in time. A disk that is shared with others takes as long now and then.
const LATE: Duration = Duration::from_secs(1);
/// A disk that takes writes again, or is not known yet, is still no disk to move a primary to for as long: when what it shares with the
/// primary's comes back, the primary's agent finds out a probe and a report later.
const WARY_FOR: Duration = Duration::from_secs(5);

/// The write probe of one instance.
#[derive(Debug, Clone, Default)]
pub struct WriteProbe {
    due: Timestamp,
    /// When the write under way began.
    under_way: Option<Timestamp>,
    /// When the first of those began that were refused in a row, and the words of the last refusal.
    refused: Option<(Timestamp, String)>,
    /// The end of the time after a trouble or a restart, and the words of the last refusal.
    wary: Option<(Timestamp, Option<String>)>,
}

impl WriteProbe {
    /// When the next write is due; none while one is under way.
    pub fn due(&self) -> Option<Timestamp> {
        self.under_way.is_none().then_some(self.due)
    }

    /// Whether a write is to begin now. If so it counts as begun.
    pub fn begins(&mut self, now: Timestamp) -> bool {
        let begins = self.due().is_some_and(|due| now >= due);
        if begins {
            self.under_way = Some(now);
            self.due = now.after(EVERY);
        }
        begins
    }

    /// The write under way came back at `now`: done, or refused in these words.
    pub fn ended(&mut self, result: Result<(), String>, now: Timestamp) {
        let Some(began) = self.under_way.take() else {
            return;
        };
        if self.refused.is_some() || now.since(began) > LATE {
            let words = self.refused.as_ref().map(|(_, words)| words.clone());
            self.wary = Some((now.after(WARY_FOR), words));
        }
        self.refused = result.err().map(|words| {
            let since = self.refused.take().map_or(began, |(since, _)| since);
            (since, words)
        });
    }

    /// The agent has only just begun, or got no processor until now: what it did not see counts against nobody,
    /// and for nobody.
    pub fn restart(&mut self, now: Timestamp) {
        self.wary = Some((now.after(WARY_FOR), None));
        if let Some(began) = &mut self.under_way {
            *began = now;
        }
        if let Some((since, _)) = &mut self.refused {
            *since = now;
        }
    }

    /// What is wrong at `now`, if PostgreSQL was last seen to flush further WAL at `flushed_at`.
    pub fn trouble(&self, now: Timestamp, flushed_at: Timestamp) -> Option<DiskTrouble> {
        let late = self.under_way.filter(|began| now.since(*began) > LATE);
        let (since, refusal) = match (&self.refused, late, &self.wary) {
            (Some((since, words)), _, _) => (*since, Some(words.clone())),
            (None, Some(began), _) => (began, None),
            (None, None, Some((until, words))) if now < *until => (now, words.clone()),
            (None, None, _) => return None,
        };
        Some(DiskTrouble {
            lasts: now.since(since),
            still_for: now.since(flushed_at),
            refusal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Timestamp = Timestamp(0);

    fn lasts(probe: &WriteProbe, now: u64) -> Option<u64> {
        let trouble = probe.trouble(Timestamp(now), NEVER)?;
        Some(trouble.lasts.as_millis() as u64)
    }

    #[test]
    fn a_write_that_hangs_is_not_followed_by_another() {
        let mut probe = WriteProbe::default();
        assert!(probe.begins(Timestamp(10_000)));
        assert_eq!(probe.due(), None);
        assert!(!probe.begins(Timestamp(60_000)));
        assert_eq!(lasts(&probe, 11_000), None, "busy");
        assert_eq!(lasts(&probe, 16_000), Some(6_000));
        probe.ended(Ok(()), Timestamp(16_000));
        assert_eq!(lasts(&probe, 20_900), Some(0), "it has only just come back");
        assert_eq!(lasts(&probe, 21_000), None);
        assert!(probe.begins(Timestamp(21_000)));
    }

    #[test]
    fn refusals_count_from_the_first_in_a_row() {
        let mut probe = WriteProbe::default();
        for second in [2, 4, 6] {
            assert!(probe.begins(Timestamp(second * 1_000)));
            probe.ended(Err("no space".to_owned()), Timestamp(second * 1_000));
        }
        assert_eq!(lasts(&probe, 7_000), Some(5_000));
        let trouble = probe.trouble(Timestamp(7_000), Timestamp(6_500)).unwrap();
        assert_eq!(trouble.still_for, Duration::from_millis(500));
        assert_eq!(trouble.refusal.as_deref(), Some("no space"));
        assert!(probe.begins(Timestamp(8_000)));
        probe.ended(Ok(()), Timestamp(8_000));
        assert_eq!(lasts(&probe, 9_000), Some(0));
        assert_eq!(lasts(&probe, 13_000), None);
    }

    #[test]
    fn an_agent_that_was_frozen_blames_nobody() {
        let mut probe = WriteProbe::default();
        assert!(probe.begins(Timestamp(1_000)));
        probe.restart(Timestamp(60_000));
        assert_eq!(lasts(&probe, 60_500), Some(0), "it does not know");
        assert_eq!(lasts(&probe, 66_000), Some(6_000));
    }
}
