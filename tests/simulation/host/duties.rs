//! The duty under way: one act at a time, each decided on a look that began after the last one ended.

use super::looks::Seen;
use super::*;
use primacy::duty::confirm::COMMITTED_WITHIN;

impl Host {
    /// Decides on what a look saw.
    pub(super) fn on_seen(
        &mut self,
        seen: Seen,
        tick: u64,
        random: &mut Random,
        effects: &mut Vec<Effect>,
    ) {
        let Seen {
            number,
            is_for_duty,
            mut local,
        } = seen;
        let agent = self.agent.as_ref().expect("it works");
        let owns_processes = matches!(
            agent.acting,
            Some((
                _,
                Act::Clone { .. }
                    | Act::Rewind { .. }
                    | Act::Initialise { .. }
                    | Act::Settle { .. }
                    | Act::StartStandby { .. }
            ))
        );
        let trusted =
            number >= agent.looks.first_trusted && !owns_processes && agent.stopping.is_none();
        let is_open = |local: &Local| local.session.as_ref().is_some_and(|s| !s.in_recovery);
        let undone = !local.is_running && trusted;
        if local.promotion_asked && undone && self.postgres.is_some() {
            // The look missed somebody: whoever runs is stopped before the promotion counts as undone.
            self.kill_postgres(tick, random);
            return;
        }
        if local.promotion_asked && (undone || is_open(&local)) {
            self.note_promotion(false);
            local.promotion_asked = false;
        }
        if trusted && watch::must_stop(&local).is_some() {
            let agent = self.agent.as_ref().expect("it works");
            let lapsed = agent.lease.has_lapsed(self.now(tick));
            let reason = match (local.has_postmaster, agent.lease.ends_at()) {
                (false, _) => Stopped::Died,
                (true, Some(_)) if !lapsed => Stopped::Ordered,
                (true, _) => Stopped::LeaseEnded,
            };
            self.stop(reason, tick, random);
            return;
        }
        let agent = self.agent.as_ref().expect("it works");
        let wanted = agent
            .running
            .as_ref()
            .is_some_and(|running| number >= running.first_look);
        if is_for_duty && wanted && agent.acting.is_none() && agent.stopping.is_none() {
            self.continue_duty(&local, tick, random, effects);
        }
    }

    fn continue_duty(
        &mut self,
        local: &Local,
        tick: u64,
        random: &mut Random,
        effects: &mut Vec<Effect>,
    ) {
        let agent = self.agent.as_mut().expect("it works");
        let Some(running) = &mut agent.running else {
            return;
        };
        let act = running.duty.next(local);
        match act {
            Act::Look => {}
            Act::Renew => self.renew(tick, effects),
            Act::Finish(outcome) => self.finish(outcome, tick, effects),
            act => {
                if act == Act::AskPromotion {
                    self.note_promotion(true);
                }
                let takes = self.begin(&act, tick, random);
                let agent = self.agent.as_mut().expect("it works");
                agent.acting = Some((tick + takes, act));
                self.continue_act(tick, random, effects);
            }
        }
    }

    /// Ends the act under way if it is done; gives up a duty that got nowhere.
    pub(super) fn continue_act(
        &mut self,
        tick: u64,
        random: &mut Random,
        effects: &mut Vec<Effect>,
    ) {
        if self.waits_for_commit(tick, effects) {
            return;
        }
        let agent = self.agent.as_mut().expect("it works");
        let is_done = |(at, act): &mut (u64, Act)| {
            // A stop lasts until nothing is left.
            *at <= tick && !(*act == Act::StopAll && self.postgres.is_some())
        };
        if let Some((_, act)) = agent.acting.take_if(is_done) {
            let result = self.perform(&act, tick, random, effects);
            let agent = self.agent.as_mut().expect("it works");
            agent.trust_from_now(tick);
            self.acted(&act, result, tick, effects);
            return;
        }
        let is_late = |running: &Running| agent.acting.is_none() && tick > running.deadline;
        if agent.running.as_ref().is_some_and(is_late) {
            let why = Outcome::Failed("it took too long".to_owned());
            self.finish(why, tick, effects);
        }
    }

    /// Begins the commit with which a durability is confirmed, and gives it up after its time. Whether it is not acknowledged
    /// yet.
    fn waits_for_commit(&mut self, tick: u64, effects: &mut Vec<Effect>) -> bool {
        let agent = self.agent.as_mut().expect("it works");
        let Some((at, Act::Commit)) = &agent.acting else {
            agent.commit = None;
            return false;
        };
        if tick < *at || agent.commit == Some(Commit::Acknowledged) {
            return false;
        }
        let is_late = tick > *at + COMMITTED_WITHIN.as_millis() as u64 / TICK;
        if agent.commit.is_none() {
            agent.commit = Some(Commit::Asked);
            effects.push(Effect::Commit);
        } else if is_late {
            agent.acting = None;
            agent.trust_from_now(tick);
            let why = Err("the standbys do not acknowledge a commit");
            self.acted(&Act::Commit, why, tick, effects);
        }
        true
    }

    /// What an act came to. It ends the command that runs now, whichever wanted it.
    pub fn acted(
        &mut self,
        act: &Act,
        result: Result<Option<Outcome>, &str>,
        tick: u64,
        effects: &mut Vec<Effect>,
    ) {
        let agent = self.agent.as_mut().expect("it works");
        let Some(running) = &mut agent.running else {
            return;
        };
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(why) => running.duty.failed(act, why),
        };
        if let Some(outcome) = outcome {
            self.finish(outcome, tick, effects);
        }
    }
}
