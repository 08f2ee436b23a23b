//! A command that gets nowhere: it is given up, or its data is replaced once more.

use std::sync::Arc;

use tokio::time::timeout;

use super::{FOLDER_WITHIN, Worker};
use crate::agent::hands::Hands;
use crate::agent::observe::blocking;
use crate::agent::running::Running;
use crate::duty::{Data, Duty, Outcome};
use crate::model::Timestamp;
use crate::recovery::{Action, Evidence};

impl Worker {
    /// Whether an act of the present command is under way, which has a deadline of its own.
    pub(super) fn acts_for_it(&self) -> bool {
        matches!(&self.acting, Some(acting) if acting.command == self.commands)
    }

    /// An act of an older command holds up whatever would be done for a newer one, and never its answer.
    pub(super) async fn give_up_late(&mut self, now: Timestamp) {
        let late = |running: &Running| !self.acts_for_it() && now >= running.deadline;
        let from = match self.running.as_ref().filter(|running| late(running)) {
            Some(running) => running.log_from,
            None => return,
        };
        let said = self.in_log(move |hands| (hands.last_words(from), hands.never_streams(from)));
        let (last_words, never_streams) = said.await;
        if self.begins_again(never_streams.as_deref(), now) {
            return;
        }
        if let Some(running) = &self.running {
            let took = now.since(running.began).as_secs_f32();
            let name = running.action.name();
            let why = match (&self.acting, &self.trouble) {
                (Some(_), _) => "what was begun for an older command has not ended".to_owned(),
                (None, Some(trouble)) => trouble.clone(),
                (None, None) => {
                    let words = last_words.unwrap_or_default();
                    format!("PostgreSQL's log ends with: {words}")
                }
            };
            let why = format!("{name} got nowhere for {took:.1} s; {why}");
            let instance = self.tools.hands.instance().clone();
            let outcome = match &running.action {
                // It serves as it did before, and would be stopped for another try.
                Action::Promote { .. } if self.serves_already() => Outcome::Failed(why),
                Action::Promote { .. } => {
                    Outcome::Evidence(Evidence::CannotPromote { instance, why })
                }
                Action::Follow { .. } => match never_streams {
                    Some(why) => Outcome::Evidence(Evidence::CannotFollow { instance, why }),
                    None => Outcome::Failed(why),
                },
                _ => Outcome::Failed(why),
            };
            self.finish(outcome);
        }
    }

    /// Whether the candidate is a server that runs, and is not taken in or not proven yet.
    fn serves_already(&self) -> bool {
        let is_offered = matches!(self.known.data, Some(Data::Offered(_)));
        let duty = self.running.as_ref().map(|running| &running.duty);
        is_offered || matches!(duty, Some(Duty::Promote(duty)) if duty.only_waits())
    }

    /// Whether a rebuild that cannot stream replaces the data once more, in which case it gets new time.
    pub(super) fn begins_again(&mut self, never_streams: Option<&str>, now: Timestamp) -> bool {
        let Some(running) = self.running.as_mut().filter(|_| self.acting.is_none()) else {
            return false;
        };
        let Duty::Rebuild(duty) = &mut running.duty else {
            return false;
        };
        let begins = never_streams.is_some_and(|why| duty.begin_again(why));
        if begins {
            running.progressed(now);
        }
        begins
    }

    /// Reads PostgreSQL's log. What cannot be read in time is as good as empty.
    pub(super) async fn in_log<T: Default + Send + 'static>(
        &self,
        read: impl FnOnce(&Hands) -> T + Send + 'static,
    ) -> T {
        let hands = Arc::clone(&self.tools.hands);
        let read = timeout(FOLDER_WITHIN, blocking(move || read(&hands)));
        read.await.unwrap_or_default()
    }
}
