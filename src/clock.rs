//! The only place that reads clocks. Everything else is handed its `now`.
//!
//! Leases are counted on [`boottime`], which keeps running while the machine sleeps; the wall clock
//! is for people's eyes only and never takes part in a decision.

use rustix::time::{ClockId, clock_gettime};

use crate::model::Timestamp;

/// CLOCK_BOOTTIME in milliseconds: monotonic, counts through a suspend, and shared by every process
/// of this machine, so that an agent and its leash can name one deadline.
pub fn boottime() -> Timestamp {
    #[cfg(feature = "mutants")]
    if crate::broken!(LeaseClock) {
        return standard_wall();
    }
    read(ClockId::Boottime)
}

/// CLOCK_MONOTONIC in milliseconds: for measuring how long something took within one process.
pub fn monotonic() -> Timestamp {
    read(ClockId::Monotonic)
}

/// The wall clock as RFC 3339 text in UTC with milliseconds, such as `2026-04-14T09:30:00.250Z`.
/// For display and records; never compare it.
pub fn wall_text() -> String {
    let now = clock_gettime(ClockId::Realtime);
    rfc3339(now.tv_sec, (now.tv_nsec / 1_000_000) as u32)
}

/// The wall clock in milliseconds since 1970. For display and records; never compare it.
pub fn wall_millis() -> u64 {
    read(ClockId::Realtime).0
}

/// A [`wall_millis`] as RFC 3339 text in UTC.
pub fn text_of(millis: u64) -> String {
    rfc3339((millis / 1_000) as i64, (millis % 1_000) as u32)
}

/// The wall clock as text that is fit for a file name, such as `20260414T093000250Z`.
pub fn wall_stamp() -> String {
    wall_text().replace(['-', ':', '.'], "")
}

/// The wall clock as the standard library reads it, which libfaketime can set wrong.
#[cfg(feature = "mutants")]
#[expect(
    clippy::disallowed_methods,
    reason = "it is what the rule that is broken forbids"
)]
fn standard_wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_millis() as u64))
}

fn read(clock: ClockId) -> Timestamp {
    let now = clock_gettime(clock);
    Timestamp(now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000)
}

/// Days to a civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn rfc3339(seconds: i64, millis: u32) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_text() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_776_159_000, "2026-04-14T09:30:00.007Z"),
            (-1, "1969-12-31T23:59:59.007Z"),
        ] {
            assert_eq!(rfc3339(seconds, 7), text);
        }
    }

    #[test]
    fn clocks_do_not_run_backwards() {
        let (boot, monotone) = (boottime(), monotonic());
        assert!(boottime() >= boot && monotonic() >= monotone);
    }
}
