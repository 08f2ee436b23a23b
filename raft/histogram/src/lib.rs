//! Stands in for the crate `base2histogram`, of which openraft uses the few names below.
//!
//! openraft keeps histograms of its batch sizes, which nothing here reads. The crate they come from builds tables for
//! all sixteen of its precisions when the first histogram is made: 26 MiB that stay resident in every peer, nine
//! tenths of what an idle peer takes. openraft has no switch for it, so `[patch.crates-io]` puts this crate in its
//! place. These histograms record nothing; never report a figure from openraft's `runtime_stats`.
//!
//! Wrong to keep when openraft makes its histograms optional or the crate builds its tables on demand.
#![forbid(unsafe_code)]

use std::{fmt, marker::PhantomData};

/// A histogram that stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty histogram.
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// Forgets `value`.
    pub const fn record(&mut self, value: u64) {
        let _ = value;
    }

    /// Forgets `value`, `count` times.
    pub const fn record_n(&mut self, value: u64, count: u64) {
        let _ = (value, count);
    }

    /// The figures of an empty histogram: all zero.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// What openraft shows of a histogram; here always zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the crate this stands in for")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not recorded")
    }
}

/// A chart of histograms; here always empty.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty chart.
    pub const fn new() -> Self {
        Self
    }

    /// Leaves the chart as it is.
    pub fn add(self, name: &str, histogram: Histogram) -> Self {
        let _ = (name, histogram);
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not recorded")
    }
}
