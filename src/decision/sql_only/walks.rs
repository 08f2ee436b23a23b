//! When it is worth a walk that somebody receives who is not known: soon for one who is new, and ever later for one whom no
//! walk finds. A program that archives WAL, or copies it elsewhere, is no standby and never will be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Timestamp;

/// From the first walk for somebody to the second.
const FIRST: Duration = Duration::from_secs(2);
/// From one walk to the next at most: a person who has made a standby's port known, or let a peer in, looks for it again
/// after so long.
const MOST: Duration = Duration::from_secs(300);

/// Those who receive from one place under one name, and are not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stranger {
    /// How they call themselves.
    pub application_name: String,
    /// The host that they connect from; none over a Unix socket.
    pub host: Option<String>,
    /// How many there are: one more is somebody new.
    pub count: usize,
}

/// When somebody was looked for.
#[derive(Debug, Clone, Copy)]
struct Sought {
    next_at: Timestamp,
    pause: Duration,
}

/// Whom walks looked for.
#[derive(Debug, Default)]
pub struct Walks {
    sought: BTreeMap<Stranger, Sought>,
}

impl Walks {
    /// Whether there should be a walk for one of these now; then it counts as begun.
    pub fn begin(&mut self, strangers: &BTreeSet<Stranger>, now: Timestamp) -> bool {
        let is_due = |it: &&Stranger| self.sought.get(it).is_none_or(|it| it.next_at <= now);
        let due: Vec<_> = strangers.iter().filter(is_due).collect();
        if due.is_empty() {
            return false;
        }
        // One that comes and goes is remembered meanwhile.
        let is_kept = |it: &Sought| now.since(it.next_at) < MOST;
        self.sought.retain(|_, it| is_kept(it));
        for stranger in due {
            let before = self.sought.get(stranger).map(|it| it.pause);
            let pause = before.map_or(FIRST, |it| (it * 2).min(MOST));
            let next_at = now.after(pause);
            let sought = Sought { next_at, pause };
            self.sought.insert(stranger.clone(), sought);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strangers(names: &[(&str, usize)]) -> BTreeSet<Stranger> {
        let stranger = |(name, count): &(&str, usize)| Stranger {
            application_name: (*name).to_owned(),
            host: Some("h".to_owned()),
            count: *count,
        };
        names.iter().map(stranger).collect()
    }

    /// When there are walks in this many seconds, with looks every second.
    fn walks(seconds: u64, there: impl Fn(u64) -> BTreeSet<Stranger>) -> Vec<u64> {
        let mut walks = Walks::default();
        let at = |second: u64| Timestamp(1_000_000 + second * 1_000);
        (0..seconds)
            .filter(|second| walks.begin(&there(*second), at(*second)))
            .collect()
    }

    #[test]
    fn one_whom_no_walk_finds_is_looked_for_ever_later() {
        let one = |_| strangers(&[("pg_receivewal", 1)]);
        let began = walks(3_600, one);
        assert_eq!(began[..6], [0, 2, 6, 14, 30, 62]);
        assert!(began.len() < 22, "{began:?}");
        assert_eq!(walks(60, |_| strangers(&[])), Vec::<u64>::new());
    }

    #[test]
    fn somebody_new_beside_one_is_looked_for_at_once() {
        let came = |second| match second {
            0..1_000 => strangers(&[("pg_receivewal", 1)]),
            1_000..2_000 => strangers(&[("pg_receivewal", 1), ("s9", 1)]),
            _ => strangers(&[("pg_receivewal", 2)]),
        };
        let began = walks(2_001, came);
        assert!(
            began.contains(&1_000) && began.contains(&2_000),
            "{began:?}"
        );
    }

    #[test]
    fn one_that_comes_and_goes_is_nobody_new() {
        let often = |second: u64| match second % 10 {
            0..5 => strangers(&[("pg_receivewal", 1)]),
            _ => strangers(&[]),
        };
        assert!(walks(3_600, often).len() < 22);
    }
}
