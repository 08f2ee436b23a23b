//! Places in the write-ahead log. A position is a timeline *and* an LSN; numbers, never text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A byte position in the write-ahead log (PostgreSQL's `pg_lsn`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Text that is not a PostgreSQL LSN such as `3A/9F0017C8`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a log sequence number such as 3A/9F0017C8")]
pub struct InvalidLsn(pub String);

impl FromStr for Lsn {
    type Err = InvalidLsn;
    fn from_str(text: &str) -> Result<Self, InvalidLsn> {
        let parse = || {
            let (high, low) = text.split_once('/')?;
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some(Lsn(u64::from(high) << 32 | u64::from(low)))
        };
        parse().ok_or_else(|| InvalidLsn(text.to_owned()))
    }
}

/// A branch of the WAL. Raft allocates the numbers together with epochs and never uses one twice,
/// so of two timelines the higher one is the younger.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timeline(pub u32);

impl Timeline {
    /// The timeline after this one.
    pub fn next(self) -> Timeline {
        Timeline(self.0 + 1)
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A place in the history of a cluster. Ordered by timeline first: a longer log on an older
/// timeline is behind. That order is sound only because timeline numbers are never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct WalPosition {
    /// The branch.
    pub timeline: Timeline,
    /// The end of the WAL on that branch.
    pub lsn: Lsn,
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.timeline, self.lsn)
    }
}

/// Text that is not a position such as `7:3A/9F0017C8`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a timeline and a log sequence number such as 7:3A/9F0017C8")]
pub struct InvalidPosition(pub String);

impl FromStr for WalPosition {
    type Err = InvalidPosition;
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let parse = || {
            let (timeline, lsn) = text.split_once(':')?;
            Some(WalPosition {
                timeline: Timeline(timeline.parse().ok()?),
                lsn: lsn.parse().ok()?,
            })
        };
        parse().ok_or_else(|| InvalidPosition(text.to_owned()))
    }
}

/// The branches that led to the present timeline, each with the LSN at which it was left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// The branch on which the primary writes.
    pub current: Timeline,
    /// Every ancestor of `current` and where its successor forked off.
    pub left_at: BTreeMap<Timeline, Lsn>,
}

impl Lineage {
    /// What is known of an instance that was elected at `position` and has not reported its promotion:
    /// the branch it leaves, and nothing current.
    pub fn before_promotion(position: WalPosition) -> Lineage {
        Lineage {
            current: Timeline::default(),
            left_at: BTreeMap::from([(position.timeline, position.lsn)]),
        }
    }

    /// Whether WAL of the elected instance that ends at `position` still holds all with which it was
    /// elected. False while nobody was ever elected.
    pub fn is_reached_by(&self, position: WalPosition) -> bool {
        if self.current != Timeline::default() {
            return position.timeline == self.current;
        }
        let elected = self.left_at.last_key_value();
        elected.is_some_and(|(&timeline, &lsn)| position >= WalPosition { timeline, lsn })
    }

    /// Every branch but the first, with the one that it left and where.
    fn forks(&self) -> impl Iterator<Item = (Timeline, (Timeline, Lsn))> {
        let children = self.left_at.keys().skip(1).copied();
        let children = children.chain([self.current]);
        let left = self.left_at.iter().map(|(&timeline, &lsn)| (timeline, lsn));
        children.zip(left)
    }

    /// Whether both have a branch of one number that left elsewhere: two promotions chose that number, and the WAL on
    /// it is not the same.
    pub fn contradicts(&self, other: &Lineage) -> bool {
        let others: BTreeMap<_, _> = other.forks().collect();
        let mut forks = self.forks();
        forks.any(|(timeline, left)| others.get(&timeline).is_some_and(|other| *other != left))
    }

    /// Where an instance with this history and WAL up to `end` left the branches of `other`; none if they have none in
    /// common.
    pub fn leaves(&self, end: WalPosition, other: &Lineage) -> Option<WalPosition> {
        let (mine, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (self.forks().collect(), other.forks().collect());
        // One number is one branch only if it left its parent at one place.
        let is_one = |timeline: &Timeline| match (mine.get(timeline), others.get(timeline)) {
            (Some(mine), Some(other)) => mine == other,
            (Some(_), None) | (None, _) => true,
        };
        let own = |timeline: &Timeline| match *timeline == end.timeline {
            true => Some(end.lsn),
            false => self.left_at.get(timeline).copied(),
        };
        let known = other.left_at.iter().rev();
        let common = known.map(|(&timeline, &lsn)| (timeline, Some(lsn)));
        let mut common = [(other.current, None)].into_iter().chain(common);
        common.find_map(|(timeline, left)| {
            let lsn = own(&timeline).filter(|_| timeline <= end.timeline && is_one(&timeline))?;
            let lsn = left.map_or(lsn, |left| left.min(lsn));
            Some(WalPosition { timeline, lsn })
        })
    }

    /// Whether WAL that ends at `position` is a prefix of this history, so that its instance can
    /// follow without losing anything.
    pub fn contains(&self, position: WalPosition) -> bool {
        position.timeline == self.current
            || self
                .left_at
                .get(&position.timeline)
                .is_some_and(|&end| position.lsn <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_text() {
        for text in ["0/0", "3A/9F0017C8", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        for bad in ["", "1", "x/1", "1/", "1/100000000"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
        assert!("0/9000000".parse::<Lsn>().unwrap() < "0/10000000".parse::<Lsn>().unwrap());
    }

    #[test]
    fn what_was_elected_is_still_there_or_not() {
        let at = |timeline, lsn| WalPosition {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
        };
        assert!(!Lineage::default().is_reached_by(at(1, 1)));
        let elected = Lineage::before_promotion(at(2, 20));
        for (position, reached) in [(at(2, 20), true), (at(3, 1), true), (at(2, 19), false)] {
            assert_eq!(elected.is_reached_by(position), reached, "{position}");
        }
        let promoted = Lineage {
            current: Timeline(4),
            left_at: BTreeMap::from([(Timeline(2), Lsn(20))]),
        };
        assert!(promoted.is_reached_by(at(4, 21)));
        assert!(!promoted.is_reached_by(at(2, 20)));
    }

    #[test]
    fn two_branches_of_one_number_are_told_apart() {
        let lineage = |current, left_at: &[(u32, u64)]| Lineage {
            current: Timeline(current),
            left_at: left_at
                .iter()
                .map(|&(timeline, lsn)| (Timeline(timeline), Lsn(lsn)))
                .collect(),
        };
        let ours = lineage(3, &[(1, 10), (2, 20)]);
        for (other, contradicts) in [
            (lineage(3, &[(1, 10), (2, 20)]), false),
            (lineage(4, &[(1, 10), (2, 20), (3, 30)]), false),
            (lineage(4, &[(1, 10), (2, 25)]), false),
            (lineage(1, &[]), false),
            (lineage(3, &[(1, 10), (2, 21)]), true),
            (lineage(3, &[(1, 10)]), true),
            (lineage(5, &[(1, 10), (2, 21), (3, 40)]), true),
        ] {
            assert_eq!(ours.contradicts(&other), contradicts, "{other:?}");
            assert_eq!(other.contradicts(&ours), contradicts, "{other:?}");
        }
        let at = |timeline, lsn| WalPosition {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
        };
        let source = lineage(4, &[(1, 10), (2, 25)]);
        for (own, end, leaves) in [
            (lineage(2, &[(1, 10)]), at(2, 40), Some(at(2, 25))),
            (lineage(2, &[(1, 10)]), at(2, 24), Some(at(2, 24))),
            (lineage(3, &[(1, 10), (2, 20)]), at(3, 50), Some(at(2, 20))),
            (lineage(3, &[(1, 10), (2, 30)]), at(3, 50), Some(at(2, 25))),
            (lineage(7, &[]), at(7, 1), None),
        ] {
            assert_eq!(own.leaves(end, &source), leaves, "{own:?}");
        }
        // Its number is the source's, and its branch is not.
        let (own, source) = (lineage(5, &[(2, 21)]), lineage(6, &[(2, 20), (5, 40)]));
        assert_eq!(own.leaves(at(5, 30), &source), Some(at(2, 20)));
    }

    #[test]
    fn a_lineage_contains_its_own_prefixes_only() {
        let at = |timeline, lsn| WalPosition {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
        };
        let lineage = Lineage {
            current: Timeline(4),
            left_at: BTreeMap::from([(Timeline(1), Lsn(10)), (Timeline(2), Lsn(20))]),
        };
        for inside in [at(1, 10), at(2, 15), at(4, 99)] {
            assert!(lineage.contains(inside), "{inside}");
        }
        for outside in [at(1, 11), at(2, 21), at(3, 1)] {
            assert!(!lineage.contains(outside), "{outside}");
        }
    }
}
