//! When to look at the host, and how.

use std::time::Duration;

use tokio::task::AbortHandle;

use super::{Done, QUESTIONS, Question, Worker};
use crate::agent::observe::{Ask, look};
use crate::agent::session::SessionId;
use crate::clock;
use crate::model::Timestamp;
use crate::recovery::Action;

/// How often to look while nothing is to be done.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// A look that failed is tried again after this, and after twice the time whenever it fails again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// But after no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
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
            // A server whose disk hangs may never be done with a new session, so none is opened for a question as
            // long as looks fail.
            new_session: is_for_duty || (asked && self.trouble.is_none()),
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

    /// Has a question answered from a look that begins now, or when the next one is due if the last one failed.
    pub(super) fn wait_for_look(&mut self, question: Question) {
        if self.trouble.is_none() {
            self.look_anew();
        }
        let peers = &self.peers;
        let stands = |id: SessionId| peers.get(&id.peer).is_some_and(|peer| peer.session == id);
        self.questions.retain(|earlier| stands(earlier.session()));
        let of = question.session();
        let is_its = |earlier: &Question| earlier.session() == of;
        if self.questions.iter().filter(|it| is_its(it)).count() >= QUESTIONS
            && let Some(oldest) = self.questions.iter().position(is_its)
        {
            self.questions.remove(oldest);
        }
        self.questions.push(question);
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
        self.look_pause = match self.trouble {
            None => LOOK_AGAIN,
            Some(_) => (self.look_pause * 2).min(LONGEST_PAUSE),
        };
        let again = clock::boottime().after(self.look_pause);
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
