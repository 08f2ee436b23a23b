//! How far behind a standby is, in seconds. It does not rise because nothing happens.

use std::time::Duration;

use super::snapshot::Snapshot;

/// Without a limit of the server's own, its default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// What a ping and its answer may take.
const MARGIN: Duration = Duration::from_secs(1);

/// A receiver pings a source that has been silent for half of `wal_receiver_timeout`, so a live one is never silent for
/// much longer, however idle it is. With a receiver that never pings, silence for as long as by default says that nobody
/// knows.
pub(super) fn heard_within(receiver_timeout: Option<Duration>) -> Duration {
    receiver_timeout.unwrap_or(DEFAULT_TIMEOUT) / 2 + MARGIN
}

/// Seconds behind: 0 on a primary and on a standby that has applied all it was sent by a source that it hears; -1 if
/// the source is not heard, or nothing was ever applied. Otherwise the age of the last transaction that was applied, but
/// no more than since it was last seen to have applied everything: after an idle hour the first transaction that arrives
/// is not an hour late.
pub(super) fn seconds(seen: &Snapshot, caught_up_for: Option<Duration>) -> i64 {
    if !seen.in_recovery {
        return 0;
    }
    if !seen.hears_its_source() {
        return -1;
    }
    if seen.is_caught_up() {
        return 0;
    }
    let since_caught_up = caught_up_for.map(|it| it.as_secs() as i64);
    let bounds = [seen.replayed_age, since_caught_up];
    bounds
        .into_iter()
        .flatten()
        .min()
        .map_or(-1, |it| it.max(0))
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example::standby;
    use super::*;
    use crate::model::Lsn;

    #[test]
    fn a5_lag_is_of_what_is_not_applied() {
        let check = |expected: i64, caught_up_for: Option<u64>, change: &dyn Fn(&mut Snapshot)| {
            let mut seen = standby();
            change(&mut seen);
            let found = seconds(&seen, caught_up_for.map(Duration::from_secs));
            assert_eq!(found, expected, "{seen:?}");
        };
        let silent = |seen: &mut Snapshot, millis| {
            let receiver = seen.receiver.as_mut().unwrap();
            receiver.silent_for = Duration::from_millis(millis);
        };
        check(0, None, &|_| {});
        check(0, None, &|seen| silent(seen, 31_000));
        check(-1, None, &|seen| silent(seen, 31_001));
        check(-1, None, &|seen| {
            seen.receiver_timeout = Some(Duration::from_secs(1));
            silent(seen, 1_501);
        });
        check(0, None, &|seen| {
            seen.receiver_timeout = None;
            silent(seen, 31_000);
        });
        check(-1, None, &|seen| seen.receiver = None);
        check(-1, None, &|seen| {
            seen.receiver.as_mut().unwrap().status = "waiting".to_owned();
        });
        let behind = |seen: &mut Snapshot| seen.received = Some(Lsn(101));
        check(4, None, &behind);
        check(3, Some(3), &behind);
        // What is behind is the first part of a record.
        check(0, Some(3), &|seen| {
            behind(seen);
            seen.waits_for_wal = true;
        });
        check(4, Some(9), &behind);
        check(-1, None, &|seen| {
            behind(seen);
            seen.replayed_age = None;
        });
        check(0, None, &|seen| {
            behind(seen);
            seen.in_recovery = false;
        });
    }
}
