//! `mutants.toml`: which rule is broken under which faults, and who must notice.

use anyhow::{Context, ensure};
use serde::Deserialize;

use jepsen::checker::{CHECKERS, Verdict};

use crate::expectations::Network;
use crate::hosts::verbs::parse;
use crate::nemesis::plan::Strike;

const TABLE: &str = include_str!("../../mutants.toml");

/// One broken rule.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// As the binary knows it.
    pub name: String,
    /// What is wrong then, in words.
    pub says: String,
    /// `quorum:K` or `async`.
    pub durability: String,
    /// What is struck meanwhile.
    pub strikes: Vec<Strike>,
    /// Whether a client floods the first primary.
    pub flood: bool,
    /// The checker that must call the history invalid.
    pub checker: String,
    /// The anomaly that it must name.
    pub anomaly: String,
}

impl Mutant {
    /// Whether its checker found what it must find.
    pub fn is_noticed(&self, verdicts: &[(&str, Verdict)]) -> bool {
        verdicts.iter().any(|(name, verdict)| {
            *name == self.checker && verdict.anomalies().contains(&self.anomaly.as_str())
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    says: String,
    durability: String,
    strikes: Vec<Written>,
    #[serde(default)]
    flood: bool,
    checker: String,
    anomaly: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    fault: String,
    at: u64,
    lasts: u64,
}

/// Those of the table with these names, all without any.
///
/// # Errors
/// There is none of a name.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    let all = all()?;
    let known = |name: &&String| all.iter().any(|mutant| mutant.name == **name);
    if let Some(stranger) = names.iter().find(|name| !known(name)) {
        let known: Vec<_> = all.iter().map(|mutant| mutant.name.as_str()).collect();
        anyhow::bail!(
            "there is no mutant {stranger}; there are {}",
            known.join(", ")
        );
    }
    let is_chosen = |mutant: &Mutant| names.is_empty() || names.contains(&mutant.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

fn all() -> anyhow::Result<Vec<Mutant>> {
    let table: Table = toml::from_str(TABLE).context("read mutants.toml")?;
    table.mutant.into_iter().map(mutant).collect()
}

fn mutant(row: Row) -> anyhow::Result<Mutant> {
    let is_known = CHECKERS.iter().any(|(name, _)| *name == row.checker);
    ensure!(is_known, "there is no checker {}", row.checker);
    let strikes = row.strikes.iter().map(|written| {
        Ok(Strike {
            at_ms: written.at * 1_000,
            lasts_ms: written.lasts * 1_000,
            ..parse(&written.fault, &Network::Lan.expectations())?
        })
    });
    Ok(Mutant {
        strikes: strikes.collect::<anyhow::Result<_>>()?,
        name: row.name,
        says: row.says,
        durability: row.durability,
        flood: row.flood,
        checker: row.checker,
        anomaly: row.anomaly,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_and_each_mutant_comes_once() {
        let all = chosen(&[]).unwrap();
        let mut names: Vec<_> = all.iter().map(|mutant| mutant.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|mutant| !mutant.strikes.is_empty()));
        assert_eq!(chosen(&names[..2]).unwrap().len(), 2);
        assert!(chosen(&["nothing".to_owned()]).is_err());
    }
}
