//! What commits wait for, as a server has it configured.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What commits wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncPolicy {
    /// Nobody.
    Async,
    /// Any so many of these.
    Any {
        /// How many, at least one.
        n: u8,
        /// Names of standbys.
        of: BTreeSet<String>,
    },
    /// The first so many of these that are there.
    First {
        /// How many, at least one.
        n: u8,
        /// Names of standbys, the best first.
        of: Vec<String>,
    },
    /// MySQL's: so many, and after a time nobody.
    SemiSync {
        /// How many.
        wait_for: u8,
        /// Then it goes on without them.
        timeout: Duration,
    },
}

impl SyncPolicy {
    /// How many standbys a commit needs, and how many of these names count for it, compared without case; none where no
    /// standby is named.
    pub fn needs_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<(usize, usize)> {
        let (needed, of): (u8, Vec<&str>) = match self {
            SyncPolicy::Any { n, of } => (*n, of.iter().map(String::as_str).collect()),
            SyncPolicy::First { n, of } => (*n, of.iter().map(String::as_str).collect()),
            SyncPolicy::Async | SyncPolicy::SemiSync { .. } => return None,
        };
        let is_named = |name: &str| {
            of.iter()
                .any(|it| *it == "*" || it.eq_ignore_ascii_case(name))
        };
        let named = names.into_iter().filter(|name| is_named(name)).count();
        Some((usize::from(needed), named))
    }
}

/// What commits wait for, and whether they do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncState {
    /// As it is in force; none if it is written in a way that no policy is.
    pub policy: Option<SyncPolicy>,
    /// As the server has it.
    pub text: String,
    /// Whether sessions without a setting of their own wait until standbys have flushed.
    pub commits_wait: bool,
    /// Whose commits do not wait although standbys are named, each with the setting: roles, databases, and sessions without
    /// a setting of their own.
    pub weak: Vec<String>,
    /// How many sessions wait now.
    pub waiting: u32,
}

impl SyncState {
    /// Whether it tells the same but for how many wait now.
    pub(super) fn is_later_of(&self, before: &SyncState) -> bool {
        let SyncState {
            policy,
            text,
            commits_wait,
            weak,
            waiting: _,
        } = self;
        (policy, text, commits_wait, weak)
            == (
                &before.policy,
                &before.text,
                &before.commits_wait,
                &before.weak,
            )
    }
}
