//! Replication slots: a primary keeps WAL for every other member, a standby for nobody. They follow the
//! command that made it one or the other, beside everything else: nothing waits for them.

use std::sync::Arc;
use std::time::Duration;

use super::{Done, Worker};
use crate::agent::chain;
use crate::gate::Admission;
use crate::model::Timestamp;
use crate::model::cluster::slot_name;
use crate::provider::LocalServer;
use crate::recovery::Action;

/// How often a primary looks for slots that were lost to `max_slot_wal_keep_size`.
const AGAIN: Duration = Duration::from_secs(30);
/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Which slots there should be.
#[derive(Debug)]
pub(super) struct Slots {
    by: Arc<Admission>,
    names: Vec<String>,
    due: Timestamp,
    is_under_way: bool,
}

impl Worker {
    /// Notes which slots follow from a command.
    pub(super) fn want_slots(&mut self, action: &Action, by: Arc<Admission>) {
        let members = match action {
            Action::Promote { members, .. }
            | Action::Configure { members, .. }
            | Action::Confirm { members, .. } => members.clone(),
            Action::Follow { .. } | Action::Rebuild { .. } => Default::default(),
            Action::Ask { .. }
            | Action::Initialise { .. }
            | Action::Fence
            | Action::Locate { .. }
            | Action::TakeOver
            | Action::ShutDown => return,
        };
        let others = members
            .iter()
            .filter(|member| *member != self.tools.hands.instance());
        self.slots = Some(Slots {
            by,
            names: others.map(slot_name).collect(),
            due: Timestamp::default(),
            is_under_way: false,
        });
    }

    /// Has the slots made or dropped, if that is due and the server answers.
    pub(super) fn keep_slots(&mut self, now: Timestamp) {
        let promotes = self.promise.promotion_asked();
        let Some(slots) = &mut self.slots else { return };
        let in_recovery = self
            .known
            .reading
            .as_ref()
            .map(|reading| reading.session.in_recovery);
        // A primary's may be made as soon as its promotion was asked for; a standby's are dropped at leisure.
        let ready = match in_recovery {
            None => false,
            Some(true) if slots.names.is_empty() => self.running.is_none(),
            Some(true) => promotes,
            Some(false) => !slots.names.is_empty(),
        };
        if !ready || slots.is_under_way || now < slots.due {
            return;
        }
        slots.is_under_way = true;
        let (by, names) = (Arc::clone(&slots.by), slots.names.clone());
        let provider = Arc::clone(&self.tools.provider);
        self.tasks.spawn(async move {
            let kept = provider.keep_slots(&by, &names, WITHIN).await;
            Done::Slots(names, kept.map_err(|error| chain(&error)))
        });
    }

    pub(super) fn on_slots(
        &mut self,
        names: &[String],
        result: Result<(), String>,
        now: Timestamp,
    ) {
        let Some(slots) = self.slots.as_mut().filter(|slots| slots.names == names) else {
            return;
        };
        slots.is_under_way = false;
        match result {
            Ok(()) if names.is_empty() => self.slots = None,
            Ok(()) => slots.due = now.after(AGAIN),
            Err(error) => {
                tracing::warn!(error, "WAL is not kept for the standbys as it should be");
                slots.due = now.after(RETRY);
            }
        }
    }
}
