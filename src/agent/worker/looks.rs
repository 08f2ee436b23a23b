//! When to look at the host, and how.

use std::time::Duration;

use tokio::task::AbortHandle;

use super::{Done, Question, Worker};
use crate::agent::observe::{Ask, look};
use crate::clock;
use crate::model::Timestamp;
use crate::recovery::Action;

/// How often to look while nothing is to be done.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// A look that failed is tried again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the data folder is read while nothing is to be done.
const FOLDER_EVERY: Duration = Duration::from_secs(5);
/// How long SQL may take in a look for reports.
const IDLE_SQL: Duration = Duration::from_secs(1);

/// A look under way.
#[derive(Debug)]
pub(super) struct Looking {
    pub(super) number: u64,
    handle: AbortHandle,
    pub(super) questions: Vec<Question>,
    pub(super) is_for_duty: bool,
}

impl Worker {
    pub(super) fn look_due(&self) -> Timestamp {
        match (&self.looking, &self.running) {
            (Some(_), _) => Timestamp(u64::MAX),
            (None, _) if !self.questions.is_empty() && self.trouble.is_none() => {
                Timestamp::default()
            }
            (None, Some(running)) if self.acting.is_none() => running.look_at.min(self.look_at),
            (None, _) => self.look_at,
        }
    }

    pub(super) fn begin_look(&mut self, now: Timestamp) {
        self.looks += 1;
        let is_for_duty = self.running.is_some() && self.acting.is_none();
        let asked = !self.questions.is_empty();
        let folder_is_due = is_for_duty || asked || now.since(self.folder_read_at) >= FOLDER_EVERY;
        if folder_is_due {
            self.folder_read_at = now;
        }
        let ask = Ask {
            number: self.looks,
            new_session: is_for_duty || asked,
            sql_within: match &self.running {
                Some(running) if is_for_duty => running.patience().sql,
                _ if asked => Duration::from_millis(300),
                _ => IDLE_SQL,
            },
            counts_receivers: matches!(&self.running, Some(it) if it.action == Action::Fence),
            group: self.outlets.group.borrow().clone(),
            data: self.known.data.clone().filter(|_| !folder_is_due),
            timeline: self.timeline,
            postmaster: self.known.processes.postmaster,
        };
        let tools = self.tools.clone();
        let number = self.looks;
        let handle = self.tasks.spawn(async move {
            Done::Looked(
                number,
                Box::new(look(tools.hands, tools.provider, ask).await),
            )
        });
        self.looking = Some(Looking {
            number: self.looks,
            handle,
            questions: std::mem::take(&mut self.questions),
            is_for_duty,
        });
        self.look_at = now.after(IDLE_LOOK);
    }

    /// A look under way is of no use for what came meanwhile: begin another.
    pub(super) fn look_anew(&mut self) {
        if let Some(looking) = self.looking.take() {
            looking.handle.abort();
            self.questions.extend(looking.questions);
        }
        self.look_at = clock::boottime();
    }

    /// A look that failed says nothing: look again, and say so once.
    pub(super) fn look_failed(&mut self, why: String) {
        let again = clock::boottime().after(LOOK_AGAIN);
        self.look_at = again;
        if let Some(running) = &mut self.running {
            running.look_at = again;
        }
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!(why, "this host cannot be looked at");
        }
        self.trouble = Some(why);
    }
}
