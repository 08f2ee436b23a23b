//! What happened to a cluster and when, kept for the operator: bounded, replicated, never decided upon.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::model::{Epoch, InstanceId};

/// How many ended recoveries a cluster keeps: some months of a quiet cluster, a few hundred KiB at most.
const KEPT: usize = 200;
/// How many entries one recovery keeps, so that one that never ends cannot fill the snapshot.
const ENTRIES_KEPT: usize = 100;
/// The most bytes of what was said once, such as the words of a host that refused.
const WORDS: usize = 240;
/// The most bytes that all histories take together in a snapshot, whose limit is 64 MiB: they may be cut, and nothing else
/// in it. One cluster alone never comes near; of a thousand each keeps its last dozens of recoveries.
pub const IN_TOTAL: usize = 32_000_000;

/// The event of an entry that says what was lost.
pub const VERDICT: &str = "verdict";

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
    /// A cluster that there was is looked after from now on.
    Adoption,
    /// Programs of the user's ran.
    Hook,
    /// Somebody asked for another primary.
    Switchover,
    /// Somebody asked for another durability.
    Durability,
}

impl Kind {
    /// Whether it elects a primary itself: a switchover has a handover do that.
    pub(super) fn changes_primary(self) -> bool {
        match self {
            Kind::Creation | Kind::Handover | Kind::Adoption => true,
            Kind::Rejoin | Kind::Hook | Kind::Switchover | Kind::Durability => false,
        }
    }
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

    /// Forgets the oldest records until no more than `room` bytes are left, or the newest alone.
    pub(super) fn keep_within(&mut self, room: usize) {
        let mut size: usize = self.records.iter().map(RecoveryRecord::size).sum();
        while size > room
            && self.records.len() > 1
            && let Some(oldest) = self.records.pop_front()
        {
            size -= oldest.size();
        }
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
            detail: clipped(cause),
        };
        self.records.push_back(RecoveryRecord {
            id: self.next,
            kind,
            epoch,
            from,
            to,
            cause: clipped(cause),
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
            .find(|record| record.outcome.is_none() && record.kind.changes_primary())
    }

    /// Programs that are not done with, by what they are for.
    pub(super) fn hook(&mut self, cause: &str) -> Option<&mut RecoveryRecord> {
        self.hooks().find(|it| it.cause == cause)
    }

    /// All of them, newest first.
    pub(super) fn hooks(&mut self) -> impl Iterator<Item = &mut RecoveryRecord> {
        let newest_first = self.records.iter_mut().rev();
        newest_first.filter(|it| it.kind == Kind::Hook && it.outcome.is_none())
    }

    pub(super) fn rejoin(&mut self, instance: &InstanceId) -> Option<&mut RecoveryRecord> {
        self.running(Kind::Rejoin, Some(instance))
    }

    /// The switchover that is not over.
    pub(super) fn switchover(&mut self) -> Option<&mut RecoveryRecord> {
        self.running(Kind::Switchover, None)
    }

    /// The change of durability that is not over.
    pub(super) fn durability(&mut self) -> Option<&mut RecoveryRecord> {
        self.running(Kind::Durability, None)
    }

    pub(super) fn end_rejoins(&mut self, at: u64, why: &str) {
        for record in &mut self.records {
            if record.kind == Kind::Rejoin {
                record.end(at, "superseded", why);
            }
        }
    }

    /// The newest handover or creation that runs, by number.
    pub(super) fn handover_id(&mut self) -> Option<u64> {
        self.handover().map(|record| record.id)
    }

    /// What a recovery is known by now to have lost, also once it ended: how it ended stays as it was told.
    pub(super) fn judge(&mut self, id: u64, at: u64, verdict: &str) {
        let known = self.records.iter_mut().find(|record| record.id == id);
        let Some(record) = known else { return };
        // The one word that is never left out for want of room: what came right after the beginning makes way.
        if record.entries.len() >= ENTRIES_KEPT {
            record.entries.remove(1);
        }
        record.note(at, VERDICT, verdict);
    }

    /// Adds to the newest handover, running or not, what became known after it ended.
    pub(super) fn amend_handover(&mut self, at: u64, event: &str, detail: &str) {
        let newest = self
            .records
            .iter_mut()
            .rev()
            .find(|record| record.kind.changes_primary());
        if let Some(record) = newest {
            record.note(at, event, detail);
        }
    }
}

/// As much of it as is kept.
fn clipped(text: &str) -> String {
    if text.len() <= WORDS {
        return text.to_owned();
    }
    const CUT: &str = " …";
    format!(
        "{}{CUT}",
        &text[..text.floor_char_boundary(WORDS - CUT.len())]
    )
}

/// The most bytes of a number, a length or a tag in a snapshot.
const NUMBER: usize = 10;

impl RecoveryRecord {
    /// The most bytes that it takes in a snapshot.
    fn size(&self) -> usize {
        let entry = |it: &Entry| 3 * NUMBER + it.event.len() + it.detail.len();
        let entries: usize = self.entries.iter().map(entry).sum();
        let id = |it: &Option<InstanceId>| it.as_ref().map_or(0, |id| id.as_str().len());
        let words = self.cause.len() + self.outcome.as_ref().map_or(0, String::len);
        9 * NUMBER + id(&self.from) + id(&self.to) + words + entries
    }

    pub(super) fn note(&mut self, at: u64, event: &str, detail: &str) {
        if self.entries.len() < ENTRIES_KEPT {
            self.entries.push(Entry {
                at,
                event: event.to_owned(),
                detail: clipped(detail),
            });
        }
    }

    pub(super) fn end(&mut self, at: u64, event: &str, outcome: &str) {
        if self.outcome.is_none() {
            self.note(at, event, outcome);
            self.outcome = Some(clipped(outcome));
        }
    }

    /// What it lost of what was acknowledged, as far as that is known; none if nobody was elected by it.
    pub fn verdict(&self) -> Option<&str> {
        let mut newest_first = self.entries.iter().rev();
        let said = newest_first.find(|entry| entry.event == VERDICT);
        said.map(|entry| &*entry.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talkative(recoveries: usize) -> History {
        let mut history = History::default();
        let name = InstanceId::new(&"i".repeat(32)).unwrap();
        let words = "ä".repeat(10_000);
        for _ in 0..recoveries {
            let (from, to) = (Some(name.clone()), Some(name.clone()));
            history.begin(7, Kind::Handover, Epoch(u64::MAX), from, to, &words);
            let record = history.handover().unwrap();
            for _ in 0..2 * ENTRIES_KEPT {
                record.note(u64::MAX, "a_long_word_for_it_all", &words);
            }
            record.end(u64::MAX, "gave_up", &words);
        }
        history
    }

    #[test]
    fn a_record_takes_no_more_than_is_reckoned_and_the_newest_fits_in_any_share() {
        let history = talkative(3);
        let sealed = raft::seal(&history).unwrap().len();
        let reckoned: usize = history.records().map(RecoveryRecord::size).sum();
        assert!(sealed <= reckoned + 100, "{sealed} of {reckoned}");
        assert!(reckoned / 3 <= IN_TOTAL / 1_000, "{reckoned}");
        let record = history.records().next().unwrap();
        assert!(record.cause.len() <= WORDS && record.cause.ends_with(" …"));
    }

    #[test]
    fn the_oldest_are_forgotten_where_there_is_no_room() {
        let mut history = talkative(5);
        let one = history.records().next().unwrap().size();
        history.keep_within(5 * one);
        assert_eq!(history.records().count(), 5);
        history.keep_within(3 * one - 1);
        let left: Vec<u64> = history.records().map(|record| record.id).collect();
        assert_eq!(left, [4, 5]);
        history.keep_within(0);
        assert_eq!(history.records().count(), 1);
    }
}
