//! Did two nodes ever acknowledge writes in the same time?

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::history::acknowledgement::Acknowledgement;

/// Acknowledgements of one node that are not further apart form one interval.
const JOINED: Duration = Duration::from_millis(250);

/// A node that was stopped and went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze<'a> {
    /// Which.
    pub node: &'a str,
    /// When all of it stood still for sure.
    pub frozen: Moment,
    /// When the first of it may have gone on.
    pub thawed: Moment,
}

/// What the nodes acknowledged side by side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TwoWriters {
    /// How long the intervals of two nodes overlap.
    pub overlap: Duration,
    /// Acknowledgements in intervals that began while another node's interval lasted.
    pub stale: usize,
    /// Statements that a freeze caught under way and whose acknowledgement came after it: the commit was
    /// confirmed before. They count neither as stale nor in the overlap; whether they are lost is
    /// another check.
    pub confirmed_at_freeze: usize,
}

/// One unbroken period of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval<'a> {
    node: &'a str,
    from: Moment,
    to: Moment,
    count: usize,
}

/// Judges the acknowledgements of all writers, given in the order of arrival.
pub fn check(history: &[Acknowledgement], freeze: Option<Freeze<'_>>) -> TwoWriters {
    let is_caught = |it: &&Acknowledgement| {
        freeze.is_some_and(|freeze| {
            *it.node == *freeze.node && it.sent <= freeze.frozen && it.at >= freeze.thawed
        })
    };
    let (caught, counted): (Vec<_>, Vec<_>) = history.iter().partition(is_caught);
    let intervals = intervals(&counted);
    let mut overlap = Duration::ZERO;
    for (at, one) in intervals.iter().enumerate() {
        for other in &intervals[at + 1..] {
            if one.node != other.node {
                overlap += one.to.min(other.to).since(one.from.max(other.from));
            }
        }
    }
    TwoWriters {
        overlap,
        stale: stale(&intervals),
        confirmed_at_freeze: caught.len(),
    }
}

/// Sorted by their beginning.
fn intervals<'a>(counted: &[&'a Acknowledgement]) -> Vec<Interval<'a>> {
    let mut open: BTreeMap<&str, Interval<'a>> = BTreeMap::new();
    let mut found = vec![];
    for it in counted {
        let fresh = Interval {
            node: &it.node,
            from: it.at,
            to: it.at,
            count: 1,
        };
        let current = open
            .entry(&it.node)
            .or_insert(Interval { count: 0, ..fresh });
        if it.at.since(current.to) <= JOINED {
            current.to = it.at;
            current.count += 1;
        } else {
            found.push(std::mem::replace(current, fresh));
        }
    }
    found.extend(open.into_values());
    found.sort_by_key(|interval| interval.from);
    found
}

fn stale(intervals: &[Interval<'_>]) -> usize {
    let is_inside = |inner: &Interval<'_>| {
        intervals.iter().any(|outer| {
            outer.node != inner.node && outer.from < inner.from && inner.from <= outer.to
        })
    };
    intervals
        .iter()
        .filter(|interval| is_inside(interval))
        .map(|interval| interval.count)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::acknowledgement::Writer;
    use crate::history::acknowledgement::testing::acknowledged;

    fn history(acknowledgements: &[(&str, u64)]) -> Vec<Acknowledgement> {
        (1..)
            .zip(acknowledgements)
            .map(|(id, (node, at))| acknowledged(Writer::Prober, node, id, *at))
            .collect()
    }

    #[test]
    fn one_after_the_other_is_no_overlap() {
        let history = history(&[("a", 10), ("a", 200), ("b", 210), ("b", 300), ("a", 900)]);
        assert_eq!(check(&history, None), TwoWriters::default());
    }

    #[test]
    fn intervals_join_up_to_250_ms_and_overlap_by_what_they_share() {
        let joined = history(&[("a", 100), ("b", 200), ("b", 210), ("a", 350), ("b", 400)]);
        let found = check(&joined, None);
        assert_eq!((found.overlap.as_millis(), found.stale), (150, 3));
        let apart = history(&[("a", 100), ("b", 200), ("b", 210), ("a", 351)]);
        assert_eq!(check(&apart, None), TwoWriters::default());
    }

    #[test]
    fn a_single_stale_acknowledgement_is_counted() {
        let found = check(
            &history(&[("a", 10), ("b", 400), ("b", 500), ("a", 550), ("b", 600)]),
            None,
        );
        assert_eq!((found.overlap, found.stale), (Duration::ZERO, 1));
    }

    #[test]
    fn what_was_under_way_at_the_freeze_is_counted_apart() {
        let mut history = history(&[("a", 10), ("b", 400), ("b", 500), ("a", 550), ("b", 600)]);
        history[3].sent = Moment(20_000_000);
        let freeze = Freeze {
            node: "a",
            frozen: Moment(21_000_000),
            thawed: Moment(540_000_000),
        };
        let found = check(&history, Some(freeze));
        assert_eq!((found.stale, found.confirmed_at_freeze), (0, 1));
        // Sent after the freeze, it was confirmed by nobody at that time.
        history[3].sent = Moment(22_000_000);
        let found = check(&history, Some(freeze));
        assert_eq!((found.stale, found.confirmed_at_freeze), (1, 0));
    }
}
