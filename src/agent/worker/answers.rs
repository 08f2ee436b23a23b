//! Questions of a leader that are answered with what a look brought.

use super::{Question, Worker};
use crate::agent::observe::Seen;
use crate::agent::running::Waiter;
use crate::clock;
use crate::duty::{Data, Local, Outcome, Session, gate};
use crate::model::view::DEAF_AFTER;
use crate::model::{Answer, Epoch};

impl Worker {
    pub(super) fn local(&self, seen: &Seen) -> Option<Local> {
        let data: Data = seen.data.clone().ok().or_else(|| self.known.data.clone())?;
        let lease = self.lease.live(self.promise.epoch(), clock::boottime());
        let local = seen.local(
            &self.tools.hands,
            data,
            lease.map(|lease| lease.order.epoch),
            self.promise.promotion_asked(),
        );
        Some(Local {
            is_armed: self.armed.is_some(),
            ..local
        })
    }

    /// Who cannot read its data would bring no promise that counts. It says so, because others wait for its answer.
    pub(super) fn would_not_promise(&mut self, waiter: Waiter, epoch: Epoch, seen: &Seen) {
        let answer = Answer {
            epoch,
            would_promise: false,
            hears_primary: hears(seen.reading.as_ref().map(|reading| &reading.session)),
            incarnation: None,
        };
        self.send(waiter, Outcome::Answer(answer));
    }

    fn would_promise(&self, epoch: Epoch) -> bool {
        gate::would_promise(self.promise.record(), epoch, self.promise.word())
            && !self.backing.carries(clock::boottime())
    }

    pub(super) fn answer(&mut self, question: Question, local: &Local) {
        match question {
            Question::Ask(waiter, epoch) => {
                let answer = Answer {
                    epoch,
                    would_promise: self.would_promise(epoch),
                    hears_primary: hears(local.session.as_ref()),
                    incarnation: local.incarnation(),
                };
                self.send(waiter, Outcome::Answer(answer));
            }
            Question::Locate(waiter, order) => {
                let open = local.session.as_ref().filter(|it| !it.in_recovery);
                let outcome = match open {
                    Some(session) if local.lease == Some(order.epoch) => {
                        Outcome::At(session.position.lsn)
                    }
                    Some(_) => Outcome::Failed("it holds no lease of this epoch".to_owned()),
                    None => Outcome::Failed("it is not a primary that answers".to_owned()),
                };
                self.send(waiter, outcome);
            }
        }
    }
}

/// Whether a standby hears its source.
pub(super) fn hears(session: Option<&Session>) -> bool {
    let heard = session.and_then(|it| it.streams.as_ref());
    heard.is_some_and(|(_, silent)| *silent < DEAF_AFTER)
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::super::{Outlets, Peer};
    use super::*;
    use crate::agent::example::{order, promise, tools};
    use crate::agent::hands::Processes;
    use crate::agent::session::SessionId;
    use crate::control::AgentMessage;

    #[tokio::test]
    async fn who_cannot_read_its_data_promises_nothing_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        let tools = tools(root.path());
        let promise = promise(&tools).await;
        let outlets = Outlets {
            reports: watch::Sender::default(),
            health: watch::Sender::default(),
            group: watch::Sender::new(Some("g".to_owned())),
        };
        let mut worker = Worker::new(tools, promise, mpsc::channel(1).1, outlets);
        let session = SessionId { peer: 0, number: 0 };
        let (outbox, mut said) = mpsc::channel(4);
        let group = Some("g".to_owned());
        let peer = Peer {
            session,
            outbox,
            group,
        };
        worker.peers.insert(0, peer);
        let asks = || {
            let waiter = |id| Waiter { session, id };
            vec![
                Question::Ask(waiter(1), order(2, 0).epoch),
                Question::Locate(waiter(2), order(1, 0)),
            ]
        };
        let unread = |number| Seen {
            number,
            began: clock::boottime(),
            new_session: true,
            processes: Processes::default(),
            reading: None,
            is_starting: false,
            has_answered: false,
            data: Err("permission denied".to_owned()),
        };
        worker.on_seen(unread(1), asks(), false).await;
        assert!(said.try_recv().is_err(), "it may be a moment only");
        let questions = std::mem::take(&mut worker.questions);
        assert_eq!(questions.len(), 2);
        worker.on_seen(unread(2), questions, false).await;
        let Ok(AgentMessage::Outcome { id, outcome }) = said.try_recv() else {
            panic!("it says nothing")
        };
        let Outcome::Answer(answer) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((id, answer.would_promise), (1, false));
        assert_eq!(answer.incarnation, None);
        assert_eq!(worker.questions.len(), 1, "where its WAL ends must be read");
    }
}
