//! The only place that reads clocks. Everything else is handed its `now`.
//!
//! Leases are counted on [`boottime`], which keeps running while the machine sleeps. The wall clock is for what people
//! say and see: when a token ends, or a pause. It never takes part in a lease, a fence or a proof.
//!
//! The wall clock is asked of the C library, which the fault suite can make lie (libfaketime). The monotonic clocks
//! are asked of the kernel: no kernel lets them jump, and libfaketime takes a timer on CLOCK_BOOTTIME for one on the
//! wall clock, so that with an hour's step back the leash's would never fire.

use std::time::{Duration, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::model::Timestamp;

/// CLOCK_BOOTTIME in milliseconds: monotonic, counts through a suspend, and shared by every process
/// of this machine, so that an agent and its leash can name one deadline.
pub fn boottime() -> Timestamp {
    #[cfg(feature = "mutants")]
    if crate::broken!(LeaseClock) {
        return Timestamp(wall_millis());
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
    text_of(wall_millis())
}

/// The wall clock in milliseconds since 1970. For display and records; never compare it.
pub fn wall_millis() -> u64 {
    wall().as_millis() as u64
}

/// A [`wall_millis`] as RFC 3339 text in UTC.
pub fn text_of(millis: u64) -> String {
    rfc3339((millis / 1_000) as i64, (millis % 1_000) as u32)
}

/// The wall clock as text that is fit for a file name, such as `20260414T093000250Z`.
pub fn wall_stamp() -> String {
    wall_text().replace(['-', ':', '.'], "")
}

/// Whether it has the form of a [`wall_stamp`].
pub fn is_stamp(text: &str) -> bool {
    let is_in_place = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        18 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 19 && text.bytes().enumerate().all(is_in_place)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that everybody else is sent to"
)]
fn wall() -> Duration {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    // A machine that believes itself before 1970 is shown as in 1970.
    since.unwrap_or_default()
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
    use std::path::PathBuf;
    use std::process::Command;

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

    /// Where Debian puts it.
    fn faketime() -> Option<PathBuf> {
        let places = std::fs::read_dir("/usr/lib").ok()?.flatten();
        let mut found = places.map(|place| place.path().join("faketime/libfaketime.so.1"));
        found.find(|library| library.exists())
    }

    /// For the test below, which runs it in a process of its own.
    #[test]
    #[ignore = "it only prints"]
    fn tell() {
        eprintln!(
            "clocks {} {} {}",
            wall_millis(),
            boottime().0,
            monotonic().0
        );
    }

    #[test]
    fn whoever_sets_the_wall_clock_wrong_sets_no_other() {
        let Some(library) = faketime() else {
            eprintln!("not tested: libfaketime is not installed");
            return;
        };
        let told = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "clock::tests::tell", "--ignored", "--nocapture"])
            .env("LD_PRELOAD", library)
            .env("FAKETIME", "-3600")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .output()
            .unwrap();
        let text = String::from_utf8(told.stderr).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("clocks "));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        let told: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let behind = |own: u64, other: u64| own as i64 - other as i64;
        // Ours are read later, by less than a minute.
        let later = 0..60_000;
        assert!(
            later.contains(&(behind(wall_millis(), told[0]) - 3_600_000)),
            "{line}"
        );
        assert!(later.contains(&behind(boottime().0, told[1])), "{line}");
        assert!(later.contains(&behind(monotonic().0, told[2])), "{line}");
    }
}
