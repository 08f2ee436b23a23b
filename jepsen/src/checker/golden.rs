//! The golden histories: every anomaly of every checker, and clean ones. They guard the checkers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::history::History;

use super::{Verdict, judge};

/// What a checker shall say.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Valid,
    Unknown,
    /// Exactly these anomalies.
    Invalid(BTreeSet<String>),
}

/// Which checkers apply, and what each shall say, by file.
type Table = BTreeMap<String, BTreeMap<String, Expected>>;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn table() -> Table {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A golden history and its text.
pub fn read(name: &str) -> (History, String) {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    let history = History::from_edn(&text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    (history, text)
}

fn said(verdict: &Verdict) -> Expected {
    match verdict {
        Verdict::Valid => Expected::Valid,
        Verdict::Unknown(_) => Expected::Unknown,
        Verdict::Invalid(_) => {
            let names = verdict.anomalies().into_iter().map(str::to_owned);
            Expected::Invalid(names.collect())
        }
    }
}

#[test]
fn every_golden_history_gets_its_verdicts() {
    let mut wrong = vec![];
    for (name, expected) in table() {
        let (history, _) = read(&name);
        let judged = judge(&history).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let found: BTreeMap<String, Expected> = judged
            .iter()
            .map(|(checker, verdict)| ((*checker).to_owned(), said(verdict)))
            .collect();
        if found != expected {
            wrong.push(format!("{name}: expected {expected:?}, found {judged:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_golden_file_is_in_the_table_and_written_as_we_write() {
    let table = table();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".edn") {
            assert!(table.contains_key(&name), "{name} has no verdict");
            let (history, text) = read(&name);
            assert_eq!(history.to_edn(), text, "{name}");
        }
    }
}

/// They say no anomaly of a history.
const OTHERS: [&str; 6] = [
    "golden.rs",
    "generated.rs",
    "second_opinion.rs",
    "loss.rs",
    "outage.rs",
    "two_writers.rs",
];

/// Every word that a checker can say stands in a golden history.
#[test]
fn every_anomaly_has_a_golden_history() {
    let mut shown = BTreeSet::new();
    for of_file in table().into_values() {
        for (checker, expected) in of_file {
            match expected {
                Expected::Valid => shown.extend([format!("{checker} valid")]),
                Expected::Unknown => shown.extend([format!("{checker} unknown")]),
                Expected::Invalid(anomalies) => shown.extend(anomalies),
            }
        }
    }
    let mut missing = vec![];
    for (name, _) in super::CHECKERS {
        let valid = format!("{name} valid");
        if !shown.contains(&valid) {
            missing.push(valid);
        }
    }
    let mut sources = vec![];
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checker");
    for folder in [place.join("append"), place] {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_file() && !OTHERS.contains(&name.as_str()) {
                sources.push(std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    for source in &sources {
        for mark in [
            "anomaly: \"",
            "name: \"",
            "with_real_time: \"",
            "many(\"",
            "gone(\"",
            "changed(\"",
            ".any(\"",
            "=> (\"",
            "then_some((\"",
            "        (\"",
        ] {
            for rest in source.split(mark).skip(1) {
                let word = rest.split('"').next().unwrap();
                let is_checker = super::CHECKERS.iter().any(|(name, _)| *name == word);
                if !is_checker && !shown.contains(word) {
                    missing.push(word.to_owned());
                }
            }
        }
    }
    assert!(missing.is_empty(), "without a golden history: {missing:?}");
}
