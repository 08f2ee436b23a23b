//! Judgements of a history: functions of values.
//!
//! A checker answers nothing if the history has nothing for it. What it cannot decide is
//! [`Verdict::Unknown`], which fails a run as much as a violation does.
//! `loss`, `outage` and `two_writers` judge the small record of `bench` instead.

pub mod append;
pub mod bank;
pub mod epoch;
pub mod fence;
pub mod lease;
pub mod linearizability;
pub mod loss;
mod lost;
pub mod outage;
pub mod quiet;
pub mod raft;
pub mod recovery;
mod resumed;
pub mod set;
pub mod staleness;
pub mod two_writers;
pub mod wgl;

#[cfg(test)]
mod bars;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod second_opinion;

use std::fmt::{self, Display};

use crate::history::{Call, History, Malformed, Setup};

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No violation.
    Valid,
    /// Violations, each a proof.
    Invalid(Vec<Evidence>),
    /// It cannot be decided, for this reason.
    Unknown(String),
}

impl Verdict {
    /// Invalid if there is any evidence.
    pub fn of(evidence: Vec<Evidence>) -> Verdict {
        if evidence.is_empty() {
            Verdict::Valid
        } else {
            Verdict::Invalid(evidence)
        }
    }

    /// The names of the anomalies found.
    pub fn anomalies(&self) -> Vec<&'static str> {
        match self {
            Verdict::Valid | Verdict::Unknown(_) => vec![],
            Verdict::Invalid(evidence) => evidence.iter().map(|it| it.anomaly).collect(),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Valid => f.write_str("valid"),
            Verdict::Unknown(why) => write!(f, "unknown: {why}"),
            Verdict::Invalid(evidence) => {
                f.write_str("INVALID")?;
                evidence.iter().try_for_each(|it| write!(f, "\n    {it}"))
            }
        }
    }
}

/// A proof of a violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The name of the anomaly; stable.
    pub anomaly: &'static str,
    /// What happened, in words.
    pub detail: String,
    /// The indices of events that show it; the first few of many.
    pub events: Vec<u64>,
}

impl Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.anomaly, self.detail)?;
        if !self.events.is_empty() {
            write!(f, " (events {})", few(&self.events))?;
        }
        Ok(())
    }
}

/// Judges the calls of one history.
pub type Checker = fn(&[Call], &Setup) -> Option<Verdict>;

/// All checkers of a history, by name.
pub const CHECKERS: &[(&str, Checker)] = &[
    ("set", set::check),
    ("append", append::check),
    ("bank", bank::check),
    ("linearizability", linearizability::check),
    ("staleness", staleness::check),
    ("epoch", epoch::check),
    ("fence", fence::check),
    ("lease", lease::check),
    ("recovery", recovery::check),
    ("raft", raft::check),
    ("quiet", quiet::check),
];

/// The verdicts of all checkers that find something to judge.
///
/// # Errors
/// The history contradicts itself.
pub fn judge(history: &History) -> Result<Vec<(&'static str, Verdict)>, Malformed> {
    let calls = history.calls()?;
    let setup = history.setup();
    let judged = CHECKERS
        .iter()
        .filter_map(|(name, check)| Some((*name, check(&calls, &setup)?)));
    Ok(judged.collect())
}

/// How many of many are shown.
const SHOWN: usize = 8;

/// The first few, for people.
fn few<T: Display>(all: &[T]) -> String {
    let shown: Vec<_> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    let rest = all.len().saturating_sub(SHOWN);
    match rest {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// One piece of evidence for many cases of one anomaly: none if there are none.
fn many(
    anomaly: &'static str,
    what: &str,
    values: &[i64],
    events: impl IntoIterator<Item = u64>,
) -> Option<Evidence> {
    (!values.is_empty()).then(|| Evidence {
        anomaly,
        detail: format!("{} {what}: {}", values.len(), few(values)),
        events: events.into_iter().take(SHOWN).collect(),
    })
}
