//! What a run was, for people and for programs: values in, text out.
//!
//! `course` measures a round, `summary` gathers rounds, `markdown` and `plot` show them.

pub mod course;
pub mod markdown;
pub mod plot;
pub mod summary;
mod svg;

use serde::Serialize;

use course::Course;

/// The outcome of a round or a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Nothing is wrong, and enough happened to say so.
    Valid,
    /// It proves nothing: a checker cannot decide, too little happened, or the harness failed.
    Unknown,
    /// Something is wrong for sure.
    Violation,
}

impl Ruling {
    /// How a program ends.
    pub fn code(self) -> u8 {
        match self {
            Ruling::Valid => 0,
            Ruling::Violation => 1,
            Ruling::Unknown => 2,
        }
    }

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Ruling::Valid => "valid",
            Ruling::Unknown => "UNKNOWN",
            Ruling::Violation => "VIOLATION",
        }
    }
}

/// What one checker said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Its name.
    pub checker: String,
    /// `valid`, `invalid` or `unknown`.
    pub verdict: &'static str,
    /// All of it.
    pub text: String,
}

/// One round, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Round {
    /// Counts from 1.
    pub number: usize,
    /// Its seed.
    pub seed: u64,
    /// `quorum:K` or `async`.
    pub durability: String,
    /// How many nodes.
    pub nodes: usize,
    /// What was planned, by name.
    pub faults: Vec<String>,
    /// The line that repeats it.
    pub replay: String,
    /// What it came to.
    pub ruling: Ruling,
    /// By checker.
    pub verdicts: Vec<Said>,
    /// Why it proves too little.
    pub troubles: Vec<String>,
    /// Operations a second of `set`, `append` and `bank` before the first fault.
    pub rate_before: f64,
    /// How long it took, bringing hosts up and judging included, in seconds.
    pub seconds: f64,
    /// What happened; none if it did not take place.
    pub course: Option<Course>,
    /// Where its history is, if it was kept.
    pub evidence: Option<String>,
}

/// The smallest value that so many of a hundred do not exceed (nearest rank); none of none.
pub fn percentile(sorted: &[f64], of_hundred: usize) -> Option<f64> {
    let rank = (sorted.len() * of_hundred).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let all: Vec<f64> = (1..=20).map(f64::from).collect();
        let found = [50, 95, 100].map(|it| percentile(&all, it).unwrap());
        assert_eq!(found, [10.0, 19.0, 20.0]);
        assert_eq!(percentile(&[3.0], 50), Some(3.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
