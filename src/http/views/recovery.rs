//! The recoveries of a cluster.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::state::history::VERDICT;
use crate::state::{Kind, RecoveryRecord};

/// One recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryView {
    /// Counts up within the cluster.
    pub id: u64,
    /// `creation`, `handover`, `rejoin`, `adoption`, `hook`, `switchover` or `durability`.
    pub kind: String,
    /// The epoch it ran under.
    pub epoch: u64,
    /// The primary before, or the instance that rejoins; none for a creation.
    pub from: Option<String>,
    /// The new primary; the first one of a creation.
    pub to: Option<String>,
    /// Why it began.
    pub cause: String,
    /// When it began, RFC 3339 in UTC.
    pub began_at: Option<String>,
    /// From its beginning to its promotion, or to its last entry if there was none, in ms.
    pub took_ms: Option<u64>,
    /// How it ended; none while it runs.
    pub outcome: Option<String>,
    /// What it lost of what was acknowledged: `rpo = 0, proven by …`, `at most N bytes, between A and B`, or that this is
    /// unknown, with agents until the old primary is back; none if it elected nobody, or was recorded by an older version.
    #[serde(default)]
    pub verdict: Option<String>,
    /// What happened.
    pub entries: Vec<EntryView>,
}

/// One moment of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Milliseconds since 1970 on the clock of the leader of that moment.
    pub at_ms: u64,
    /// The same as RFC 3339 in UTC.
    pub at: String,
    /// One word.
    pub event: String,
    /// In words.
    pub detail: String,
}

/// One word for a kind of recovery.
pub(in crate::http) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Creation => "creation",
        Kind::Handover => "handover",
        Kind::Rejoin => "rejoin",
        Kind::Adoption => "adoption",
        Kind::Hook => "hook",
        Kind::Switchover => "switchover",
        Kind::Durability => "durability",
    }
}

/// See [`RecoveryView::took_ms`].
pub(in crate::http) fn took_ms(record: &RecoveryRecord) -> Option<u64> {
    let began = record.entries.first()?.at;
    let mut entries = record.entries.iter();
    let promoted = entries.find(|entry| entry.event == "promoted");
    // What it lost may become known long afterwards.
    let mut newest_first = record.entries.iter().rev();
    let last = newest_first.find(|entry| entry.event != VERDICT);
    let end = promoted.or(last)?.at;
    Some(end.saturating_sub(began))
}

/// One recovery.
pub(in crate::http) fn recovery_view(record: &RecoveryRecord) -> RecoveryView {
    RecoveryView {
        id: record.id,
        kind: kind(record.kind).to_owned(),
        epoch: record.epoch.0,
        from: record.from.as_ref().map(ToString::to_string),
        to: record.to.as_ref().map(ToString::to_string),
        cause: record.cause.clone(),
        began_at: record.entries.first().map(|entry| clock::text_of(entry.at)),
        took_ms: took_ms(record),
        outcome: record.outcome.clone(),
        verdict: record.verdict().map(str::to_owned),
        entries: record
            .entries
            .iter()
            .map(|entry| EntryView {
                at_ms: entry.at,
                at: clock::text_of(entry.at),
                event: entry.event.clone(),
                detail: entry.detail.clone(),
            })
            .collect(),
    }
}
