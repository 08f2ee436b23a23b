//! What happened: a look or an act ended, the postmaster died, the lease or the first commit came.

use std::sync::Arc;

use tokio::task::JoinError;

use super::{Done, FOLDER_WITHIN, Question, Worker};
use crate::agent::chain;
use crate::agent::hands::Processes;
use crate::agent::observe::Seen;
use crate::agent::perform::runs_processes;
use crate::clock;
use crate::duty::{Act, watch};
use crate::host::Death;
use crate::model::{Lsn, Stopped, Timeline};
use crate::recovery::Action;

impl Worker {
    pub(super) fn on_death(&mut self) {
        let pid = self.death.take().map(|(pid, _)| pid);
        let stops_it = matches!(&self.acting, Some(acting) if acting.act == Act::StopAll);
        if self.stopping.is_none() && !stops_it {
            let lapsed = self.lease.has_lapsed(clock::boottime());
            let is_told =
                matches!(&self.running, Some(running) if running.action == Action::ShutDown);
            let reason = match (lapsed, is_told) {
                (true, _) => Stopped::LeaseEnded,
                (false, true) => Stopped::Ordered,
                (false, false) => Stopped::Died,
            };
            tracing::warn!(pid, ?reason, "the postmaster ended");
            // Told at once, whether the rest of it can be killed or not.
            self.known.postmaster_ended(reason);
            self.look_anew();
            self.publish();
            self.stop(reason, "its postmaster ended");
        }
    }

    /// Stops everything at once, whatever else is under way.
    pub(super) fn stop(&mut self, reason: Stopped, why: &str) {
        if self.stopping.is_some() {
            return;
        }
        tracing::warn!(instance = %self.tools.hands.instance(), why, "every process is being stopped");
        self.stopping = Some(reason);
        let hands = Arc::clone(&self.tools.hands);
        self.tasks.spawn(async move {
            let stopped = hands.stop_all().await;
            Done::Stopped(stopped.map_err(|error| chain(&error)))
        });
    }

    pub(super) fn on_cancelled(&mut self, error: JoinError) {
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic());
        }
        if self
            .acting
            .as_ref()
            .is_some_and(|acting| acting.handle.id() == error.id())
        {
            self.acting = None;
            self.trust_from_now();
        }
    }

    pub(super) fn trust_from_now(&mut self) {
        self.first_trusted = self.looks + 1;
        if let Some(running) = &mut self.running {
            running.first_look = self.looks + 1;
        }
        self.look_anew();
    }

    pub(super) async fn on_done(&mut self, done: Done) {
        match done {
            Done::Looked(number, looked) => {
                let Some(looking) = self.looking.take_if(|it| it.number == number) else {
                    return;
                };
                self.has_looked = true;
                match *looked {
                    Ok(seen) => {
                        self.on_seen(seen, looking.questions, looking.is_for_duty)
                            .await;
                    }
                    Err(why) => {
                        self.questions.extend(looking.questions);
                        self.look_failed(why);
                    }
                }
            }
            Done::Acted(result) => self.on_acted(result).await,
            Done::Probed(result) => self.probe.ended(result, clock::boottime()),
            Done::Slots(names, result) => self.on_slots(&names, result, clock::boottime()),
            Done::Stopped(result) => {
                let reason = self.stopping.take();
                match result {
                    Ok(()) => self.all_stopped(reason).await,
                    Err(error) => tracing::error!(error, "not every process could be stopped"),
                }
                self.trust_from_now();
            }
            Done::Disarmed(result) => {
                self.releasing = false;
                if let Err(error) = result {
                    tracing::debug!(error, "the leash stays armed");
                }
            }
            Done::Armed(releases, lease, result) => self.on_armed(releases, lease, result),
            Done::Barrier(epoch, result) => self.on_barrier(epoch, result),
            Done::Backed(by, epoch, sent, said) => self.on_backed(&by, epoch, sent, said),
        }
    }

    /// Nothing runs any more: no lease is needed, and no promotion is under way.
    pub(super) async fn all_stopped(&mut self, reason: Option<Stopped>) {
        self.known.processes = Processes::default();
        self.known.reading = None;
        self.known.has_answered = false;
        self.known.is_going_down = false;
        self.known.stopped = reason.or(self.known.stopped);
        self.timeline = Timeline::default();
        self.death = None;
        self.lease.drop_it();
        self.armed = None;
        self.arming.forget();
        self.releases += 1;
        self.releasing = true;
        let leash = self.tools.leash.clone();
        self.tasks
            .spawn(async move { Done::Disarmed(leash.disarm().await) });
        if !self.tools.hands.may_promote_itself()
            && let Err(error) = self.promise.note_promotion(false).await
        {
            tracing::error!(error = %chain(&error), "the promise could not be kept");
        }
        self.publish();
    }

    pub(super) async fn on_seen(
        &mut self,
        seen: Seen,
        questions: Vec<Question>,
        is_for_duty: bool,
    ) {
        let before = std::mem::discriminant(&self.known.report(seen.began).database);
        self.learn(&seen);
        let is_lasting = self.trouble.is_some();
        match &seen.data {
            Ok(_) => self.trouble = None,
            Err(why) => self.look_failed(why.clone()),
        }
        let asked = self.promise.promotion_asked();
        let opened = seen
            .reading
            .as_ref()
            .is_some_and(|it| !it.session.in_recovery);
        let owns = self
            .acting
            .as_ref()
            .is_some_and(|it| runs_processes(&it.act));
        let trusted = seen.number >= self.first_trusted && !owns && self.stopping.is_none();
        let undone = !seen.processes.is_running && trusted;
        if asked && undone {
            // Left behind, the file would promote it as soon as it runs.
            let hands = Arc::clone(&self.tools.hands);
            let stopped = tokio::time::timeout(FOLDER_WITHIN, hands.stop_all()).await;
            if !matches!(stopped, Ok(Ok(()))) || self.tools.hands.may_promote_itself() {
                self.questions.extend(questions);
                return;
            }
        }
        if asked
            && (opened || undone)
            && let Err(error) = self.promise.note_promotion(false).await
        {
            tracing::error!(error = %chain(&error), "the promise could not be kept");
        }
        let local = self.local(&seen);
        // What was read before is for reports and for stopping; nothing else is decided on it.
        let is_whole = seen.data.is_ok();
        if let Some(local) = local.as_ref().filter(|_| is_whole) {
            for question in questions {
                self.answer(question, local);
            }
        } else {
            for question in questions {
                match question {
                    Question::Ask(waiter, epoch) if is_lasting => {
                        self.would_not_promise(waiter, epoch, &seen);
                    }
                    Question::Ask(..) | Question::Locate(..) => self.questions.push(question),
                }
            }
        }
        if std::mem::discriminant(&self.known.report(seen.began).database) != before {
            self.publish();
        }
        let Some(local) = local else { return };
        if trusted && let Some(why) = watch::must_stop(&local) {
            let lapsed = self.lease.has_lapsed(clock::boottime());
            let reason = match (seen.processes.postmaster, self.lease.ends_at()) {
                (None, _) => Stopped::Died,
                // A live lease is void once a newer epoch was promised, which was an order.
                (Some(_), Some(_)) if !lapsed => Stopped::Ordered,
                (Some(_), _) => Stopped::LeaseEnded,
            };
            self.stop(reason, why);
            return;
        }
        let wanted = self
            .running
            .as_ref()
            .is_some_and(|running| seen.number >= running.first_look);
        let duty_waits = is_for_duty && wanted && self.acting.is_none() && self.stopping.is_none();
        if duty_waits && !is_whole {
            let fences = matches!(&self.running, Some(it) if matches!(it.action, Action::Fence));
            if fences && seen.processes.is_running {
                // A fence is proven at once or the instance is stopped; it never waits for the disk.
                self.stop(
                    Stopped::Ordered,
                    "its data folder cannot be read for a fence",
                );
            }
            return;
        }
        if duty_waits {
            self.continue_duty(local).await;
        }
    }

    pub(super) fn learn(&mut self, seen: &Seen) {
        let known = &mut self.known;
        known.processes_at = Some(seen.began);
        if seen.data.is_ok() {
            known.looked_at = seen.began;
        }
        if known.processes.postmaster != seen.processes.postmaster {
            known.has_answered = false;
            known.is_going_down = false;
            known.answered_at = seen.began;
            known.flushed = (Lsn::default(), seen.began);
            known.caught_up_at = seen.began;
            self.timeline = Timeline::default();
        }
        if seen.has_answered {
            known.answered_at = seen.began;
        }
        let had_one = known.processes.postmaster.is_some();
        let ended = had_one && seen.processes.postmaster.is_none();
        if ended && self.stopping.is_none() && self.acting.is_none() {
            known.stopped = Some(Stopped::Died);
        }
        known.processes = seen.processes;
        known.has_answered |= seen.reading.is_some();
        known.is_starting = seen.is_starting;
        known.reading = seen.reading.clone();
        if let Some(reading) = &seen.reading {
            self.timeline = self.timeline.max(reading.session.position.timeline);
            let flushed = reading.received.unwrap_or(reading.session.position).lsn;
            if flushed > known.flushed.0 {
                known.flushed = (flushed, seen.began);
            }
            if reading.has_applied_all {
                known.caught_up_at = seen.began;
            }
        }
        if let Ok(data) = &seen.data {
            known.data = Some(data.clone());
        }
        match (seen.processes.postmaster, &self.death) {
            (Some(pid), Some((watched, _))) if pid == *watched => {}
            (Some(pid), _) => match Death::watch(self.tools.hands.place(), pid) {
                Ok(death) => self.death = death.map(|death| (pid, death)),
                Err(error) => tracing::error!(%error, "the postmaster cannot be watched"),
            },
            (None, _) => self.death = None,
        }
    }
}
