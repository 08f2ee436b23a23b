//! How positions in the log stand to each other. Those of two timelines are not compared: over SQL the history of one cannot be
//! read.

use super::{ProviderError, Result};
use crate::model::{Position, PositionOrder, WalPosition};

/// Which of two is further.
pub(super) fn compare(a: &Position, b: &Position) -> PositionOrder {
    let (Position::Wal(a), Position::Wal(b)) = (a, b) else {
        return PositionOrder::Incomparable;
    };
    if a.timeline != b.timeline {
        return PositionOrder::Incomparable;
    }
    match a.lsn.cmp(&b.lsn) {
        std::cmp::Ordering::Equal => PositionOrder::Equal,
        std::cmp::Ordering::Greater => PositionOrder::Ahead,
        std::cmp::Ordering::Less => PositionOrder::Behind,
    }
}

/// How many bytes are missing, 0 if none; none if its timeline cannot be seen. One on an older timeline has all of it to
/// come. Errors: `Diverged` on a younger one, because over SQL its history cannot be read.
pub(super) fn is_behind(wanted: WalPosition, reached: Option<&Position>) -> Result<Option<u64>> {
    let Some(Position::Wal(reached)) = reached else {
        return Ok(None);
    };
    if reached.timeline > wanted.timeline {
        return Err(ProviderError::Diverged {
            found: reached.timeline,
            wanted,
        });
    }
    let missing = wanted.lsn.0.saturating_sub(reached.lsn.0);
    Ok(Some(match reached.timeline == wanted.timeline {
        true => missing,
        // It could be past the place where the timelines part.
        false => missing.max(1),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Lsn, Timeline};

    #[test]
    fn a_position_on_another_timeline_is_not_reached() {
        let at = |timeline, lsn| WalPosition {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
        };
        let check = |reached, expected| {
            let found = is_behind(at(2, 100), Some(&Position::Wal(reached)));
            assert_eq!(found.ok(), expected, "{reached}");
        };
        check(at(2, 100), Some(Some(0)));
        check(at(2, 99), Some(Some(1)));
        check(at(1, 200), Some(Some(1)));
        check(at(1, 10), Some(Some(90)));
        check(at(3, 200), None);
        assert_eq!(is_behind(at(2, 100), None).unwrap(), None);
    }
}
