//! The duty under way: one act at a time, each decided on a look that began after the last one.

use std::sync::Arc;

use tokio::task::block_in_place;

use super::{Acting, BUSY_LOOK, Done, PATIENT_LOOK, Worker};
use crate::agent::chain;
use crate::agent::perform::perform;
use crate::agent::running::Failed;
use crate::clock;
use crate::duty::{Act, How, Local, Outcome};
use crate::model::Stopped;
use crate::recovery::{Action, Evidence};

impl Worker {
    pub(super) async fn continue_duty(&mut self, local: Local) {
        let now = clock::boottime();
        let Some(running) = &mut self.running else {
            return;
        };
        let act = running.duty.next(&local);
        if running.must_pause(&act, now) {
            running.look_at = now.after(PATIENT_LOOK);
            return;
        }
        match act {
            Act::Look => {
                let fences = matches!(running.action, Action::Fence);
                let promotes = local.promotion_asked && local.session.is_some();
                let pause = if fences || promotes {
                    BUSY_LOOK
                } else {
                    PATIENT_LOOK
                };
                running.look_at = now.after(pause);
            }
            Act::Renew => {
                running.look_at = now.after(PATIENT_LOOK);
                self.renew(now);
            }
            Act::Finish(outcome) => self.finish(outcome),
            act => {
                running.progressed(now);
                tracing::debug!(?act, order = %running.admission.order(), "act");
                if act == Act::AskPromotion
                    && let Err(error) = self.promise.note_promotion(true).await
                {
                    self.finish(Outcome::Failed(chain(&error)));
                    return;
                }
                // Without a promise of before it is not known that no agent asked for one. None ever worked on these data.
                if let Act::TakeIn(How::Standby { .. }) = &act
                    && let Err(error) = self.promise.note_promotion(false).await
                {
                    self.finish(Outcome::Failed(chain(&error)));
                    return;
                }
                self.begin_act(act, local);
            }
        }
    }

    pub(super) fn begin_act(&mut self, act: Act, local: Local) {
        let Some(running) = &self.running else { return };
        let (tools, within) = (self.tools.clone(), running.patience());
        if act == Act::ShutDown {
            self.known.is_going_down = true;
        }
        let by = Arc::clone(&running.admission);
        let done = act.clone();
        let handle = self
            .tasks
            .spawn(async move { Done::Acted(perform(&tools, by, &done, &local, within).await) });
        let command = self.commands;
        self.acting = Some(Acting {
            command,
            act,
            handle,
        });
    }

    pub(super) async fn on_acted(&mut self, result: Result<Option<Outcome>, String>) {
        let Some(acting) = self.acting.take() else {
            return;
        };
        let ran = self.known.processes.is_running;
        if acting.act == Act::ShutDown && result.is_err() {
            self.known.is_going_down = false;
        }
        if acting.act == Act::StopAll && result.is_ok() {
            let reason = ran.then_some(Stopped::Ordered);
            self.all_stopped(reason).await;
        }
        self.trust_from_now();
        let Some(running) = &mut self.running else {
            return;
        };
        let now = clock::boottime();
        running.look_at = now;
        running.progressed(now);
        let failure = running.note(&acting.act, result.as_ref().err());
        if acting.command != self.commands {
            // What an older command brought is no answer to this one, which looks for itself.
            return;
        }
        match result {
            Ok(None) => {}
            Ok(Some(outcome)) => self.finish(outcome),
            Err(why) => {
                match failure {
                    Some(Failed::AsBefore) => tracing::debug!(why, "an act failed again"),
                    _ => tracing::warn!(act = ?acting.act, why, "an act failed"),
                }
                match running.duty.failed(&acting.act, &why) {
                    Some(outcome) => self.finish(outcome),
                    None if matches!(failure, Some(Failed::Again | Failed::AsBefore)) => {
                        self.say_why(why);
                    }
                    None => {}
                }
            }
        }
    }

    /// What fails again and again is tried for as long as it takes. Whoever waits learns why, and joins when it asks
    /// again.
    fn say_why(&mut self, why: String) {
        let Some(running) = &mut self.running else {
            return;
        };
        for waiter in std::mem::take(&mut running.waiters) {
            self.send(waiter, Outcome::Failed(why.clone()));
        }
    }

    /// What was kept of data that was replaced is told with that.
    fn with_what_was_kept(&self, outcome: Outcome) -> Outcome {
        let Outcome::Evidence(Evidence::Rebuilt {
            instance,
            incarnation,
        }) = outcome
        else {
            return outcome;
        };
        let kept = block_in_place(|| self.tools.hands.take_kept());
        Outcome::Evidence(match kept {
            None => Evidence::Rebuilt {
                instance,
                incarnation,
            },
            Some(kept) => Evidence::RebuiltKeeping {
                instance,
                incarnation,
                kept: kept.words.join("; "),
                apart: kept.apart,
            },
        })
    }

    pub(super) fn finish(&mut self, outcome: Outcome) {
        let Some(running) = self.running.take() else {
            return;
        };
        let outcome = self.with_what_was_kept(outcome);
        let took_ms = clock::boottime().since(running.began).as_millis() as u64;
        tracing::info!(
            instance = %self.tools.hands.instance(),
            action = running.action.name(),
            order = %running.admission.order(),
            took_ms,
            ?outcome,
            "the command ended"
        );
        for waiter in running.waiters {
            self.send(waiter, outcome.clone());
        }
        self.publish();
        self.look_anew();
    }
}
