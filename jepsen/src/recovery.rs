//! The recorded course of a recovery, as the API tells it.

use serde::Deserialize;

/// One recovery.
#[derive(Debug, Clone, Deserialize)]
pub struct Recovery {
    /// `creation`, `handover` or `rejoin`.
    pub kind: String,
    /// The primary before, or the instance that rejoins.
    pub from: Option<String>,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

/// One moment of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// One word.
    pub event: String,
    /// In words.
    pub detail: String,
}

/// A line of a time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the fault.
    pub after_ms: u64,
    /// What happened.
    pub event: String,
    /// In words.
    pub detail: String,
}

/// What was recorded after `fault_ms` (since 1970), oldest first.
pub fn time_line(recoveries: &[Recovery], fault_ms: u64) -> Vec<Line> {
    let mut lines: Vec<Line> = recoveries
        .iter()
        .flat_map(|recovery| recovery.entries.iter().map(move |entry| (recovery, entry)))
        .filter(|(_, entry)| entry.at_ms >= fault_ms)
        .filter_map(|(recovery, entry)| {
            Some(Line {
                after_ms: entry.at_ms - fault_ms,
                event: word(&recovery.kind, &entry.event)?.to_owned(),
                detail: match (recovery.kind.as_str(), &recovery.from) {
                    ("rejoin", Some(instance)) => format!("{instance} {}", entry.detail),
                    _ => entry.detail.clone(),
                },
            })
        })
        .collect();
    lines.sort_by_key(|line| line.after_ms);
    lines
}

/// The word for people; none for what would only fill the page.
fn word<'a>(kind: &str, event: &'a str) -> Option<&'a str> {
    match (kind, event) {
        ("handover", "began") => Some("detected"),
        ("handover", "done") => None,
        ("rejoin", "began") => Some("rejoin begins"),
        ("rejoin", "done") => Some("rejoined"),
        ("handover" | "rejoin", other) => Some(other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_line_counts_from_the_fault_and_leaves_the_past_out() {
        let entry = |at_ms, event: &str| Entry {
            at_ms,
            event: event.to_owned(),
            detail: String::new(),
        };
        let recovery = |kind: &str, entries| Recovery {
            kind: kind.to_owned(),
            from: Some("a".to_owned()),
            entries,
        };
        let recoveries = [
            recovery("rejoin", vec![entry(1300, "began"), entry(1400, "done")]),
            recovery(
                "handover",
                vec![entry(1010, "began"), entry(1090, "promoted")],
            ),
            recovery("handover", vec![entry(10, "began")]),
        ];
        let lines = time_line(&recoveries, 1000);
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.after_ms, line.event.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (10, "detected"),
                (90, "promoted"),
                (300, "rejoin begins"),
                (400, "rejoined")
            ]
        );
    }
}
