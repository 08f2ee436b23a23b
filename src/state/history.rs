//! What happened to a cluster and when, kept for the operator: bounded, replicated, never decided upon.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::model::{Epoch, InstanceId};

/// How many ended recoveries a cluster keeps: some months of a quiet cluster, a few hundred KiB at most.
const KEPT: usize = 200;
/// How many entries one recovery keeps, so that one that never ends cannot fill the snapshot.
const ENTRIES_KEPT: usize = 100;

/// What kind of recovery it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The cluster's first data was created.
    Creation,
    /// The primary changed.
    Handover,
    /// An instance came back.
    Rejoin,
}

/// One moment of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970, on the clock of the leader of that moment.
    pub at: u64,
    /// What happened, one word.
    pub event: String,
    /// In words.
    pub detail: String,
}

/// One recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// Counts up for ever within the cluster.
    pub id: u64,
    /// What kind.
    pub kind: Kind,
    /// The epoch it ran under.
    pub epoch: Epoch,
    /// The primary before a handover, or the instance that rejoins.
    pub from: Option<InstanceId>,
    /// The primary that a handover elected, or the first that a creation named.
    pub to: Option<InstanceId>,
    /// Why it began.
    pub cause: String,
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// How it ended; none while it runs.
    pub outcome: Option<String>,
}

/// The recoveries of a cluster, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    next: u64,
    records: VecDeque<RecoveryRecord>,
}

impl History {
    /// Oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &RecoveryRecord> {
        self.records.iter()
    }

    pub(super) fn begin(
        &mut self,
        at: u64,
        kind: Kind,
        epoch: Epoch,
        from: Option<InstanceId>,
        to: Option<InstanceId>,
        cause: &str,
    ) {
        self.next += 1;
        let began = Entry {
            at,
            event: "began".to_owned(),
            detail: cause.to_owned(),
        };
        self.records.push_back(RecoveryRecord {
            id: self.next,
            kind,
            epoch,
            from,
            to,
            cause: cause.to_owned(),
            entries: vec![began],
            outcome: None,
        });
        if self.records.len() > KEPT {
            self.records.pop_front();
        }
    }

    /// The newest recovery of this kind that still runs; of a rejoin, the one of `instance`.
    fn running(
        &mut self,
        kind: Kind,
        instance: Option<&InstanceId>,
    ) -> Option<&mut RecoveryRecord> {
        self.records.iter_mut().rev().find(|record| {
            record.outcome.is_none()
                && record.kind == kind
                && (instance.is_none() || record.from.as_ref() == instance)
        })
    }

    /// The handover or the creation that runs.
    pub(super) fn handover(&mut self) -> Option<&mut RecoveryRecord> {
        self.records
            .iter_mut()
            .rev()
            .find(|record| record.outcome.is_none() && record.kind != Kind::Rejoin)
    }

    pub(super) fn rejoin(&mut self, instance: &InstanceId) -> Option<&mut RecoveryRecord> {
        self.running(Kind::Rejoin, Some(instance))
    }

    pub(super) fn end_rejoins(&mut self, at: u64, why: &str) {
        for record in &mut self.records {
            if record.kind == Kind::Rejoin {
                record.end(at, "superseded", why);
            }
        }
    }

    /// Adds to the newest handover, running or not, what became known after it ended.
    pub(super) fn amend_handover(&mut self, at: u64, event: &str, detail: &str) {
        let newest = self
            .records
            .iter_mut()
            .rev()
            .find(|record| record.kind != Kind::Rejoin);
        if let Some(record) = newest {
            record.note(at, event, detail);
        }
    }
}

impl RecoveryRecord {
    pub(super) fn note(&mut self, at: u64, event: &str, detail: &str) {
        if self.entries.len() < ENTRIES_KEPT {
            self.entries.push(Entry {
                at,
                event: event.to_owned(),
                detail: detail.to_owned(),
            });
        }
    }

    pub(super) fn end(&mut self, at: u64, event: &str, outcome: &str) {
        if self.outcome.is_none() {
            self.note(at, event, outcome);
            self.outcome = Some(outcome.to_owned());
        }
    }
}
