//! How old the state of a follower may be: since when it has all that its leader had committed.

use std::sync::Mutex;

use crate::lease::Instant;

/// When this peer last had everything that its leader had told it was committed.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Times>);

#[derive(Debug, Default, Clone, Copy)]
struct Times {
    reached: Option<Instant>,
    /// The oldest call whose commit index is not applied yet, and that index.
    awaited: Option<(Instant, Option<u64>)>,
}

impl Times {
    fn advance(&mut self, applied: Option<u64>) {
        if let Some((arrived, committed)) = self.awaited
            && committed <= applied
        {
            self.reached = Some(arrived);
            self.awaited = None;
        }
    }
}

impl Heard {
    /// A call of the leader arrived then, said that all up to `committed` is, and was taken.
    pub(crate) fn note(&self, arrived: Instant, committed: Option<u64>, applied: Option<u64>) {
        let mut times = self.times();
        times.advance(applied);
        if times.awaited.is_none() {
            times.awaited = Some((arrived, committed));
            times.advance(applied);
        }
    }

    /// The time as of which the state is whole.
    pub(crate) fn at(&self, applied: Option<u64>) -> Option<Instant> {
        let mut times = self.times();
        times.advance(applied);
        times.reached
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.0.lock().expect("nothing that holds the times panics")
    }
}

#[cfg(test)]
mod tests {
    use openraft::Instant as _;

    use super::*;

    #[test]
    fn a_peer_that_lags_is_as_old_as_what_it_has() {
        let heard = Heard::default();
        let first = Instant::now();
        heard.note(first, Some(5), Some(5));
        assert_eq!(heard.at(Some(5)), Some(first));
        let second = Instant::now();
        heard.note(second, Some(9), Some(5));
        heard.note(Instant::now(), Some(12), Some(8));
        assert_eq!(heard.at(Some(8)), Some(first));
        assert_eq!(heard.at(Some(9)), Some(second));
    }

    #[test]
    fn a_peer_without_anything_is_as_old_as_nothing() {
        let heard = Heard::default();
        assert_eq!(heard.at(None), None);
        heard.note(Instant::now(), Some(3), None);
        assert_eq!(heard.at(None), None);
    }
}
