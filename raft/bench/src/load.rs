//! Closed loops of writers, and what they saw.

use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;

use crate::{clock, put::Put};

/// What is written: as long as etcd's own benchmark uses by default, halved.
pub const VALUE: [u8; 128] = [b'v'; 128];
/// Keys repeat after so many writes, so that the state does not grow with the speed.
const KEYS: u64 = 10_000;

/// What writers saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of each write that was acknowledged.
    pub latencies: Vec<Duration>,
    /// Writes that were refused, or had no answer.
    pub refused: u64,
    /// The first words of a refusal.
    pub example: Option<String>,
}

impl Seen {
    /// Acknowledged writes per second.
    pub fn rate(&self, lasted: Duration) -> f64 {
        self.latencies.len() as f64 / lasted.as_secs_f64()
    }
}

/// Has each of `writers` write for `lasts`, one value after the other.
pub async fn drive(writers: Vec<Put>, lasts: Duration) -> anyhow::Result<Seen> {
    let end = clock::now() + lasts;
    let mut tasks = JoinSet::new();
    for (number, mut writer) in (0_u64..).zip(writers) {
        tasks.spawn(async move {
            let mut seen = Seen::default();
            let mut serial = number * 7919;
            while clock::now() < end {
                serial += 1;
                let key = format!("key-{:08}", serial % KEYS);
                let begin = clock::now();
                match writer.put(key.as_bytes(), &VALUE).await {
                    Ok(()) => seen.latencies.push(begin.elapsed()),
                    Err(error) => {
                        seen.refused += 1;
                        seen.example.get_or_insert(format!("{error:#}"));
                        // A connection that is gone refuses at once; a broken run must not spin.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
            seen
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = tasks.join_next().await {
        let seen = seen.context("a writer panicked")?;
        all.latencies.extend(seen.latencies);
        all.refused += seen.refused;
        all.example = all.example.or(seen.example);
    }
    Ok(all)
}

/// The value that `percent` of all are not above; zero of none.
pub fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    if values.is_empty() {
        return Duration::ZERO;
    }
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values[rank - 1]
}

/// The middle one; of an even number the greater.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// In milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
