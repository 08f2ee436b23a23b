//! Fencing the local instance: prove that it receives, feeds and acknowledges nothing of an older
//! epoch, and only then say where its WAL ends. Redone each time: a cached promise is no answer.

use std::time::Duration;

use crate::broken;
use crate::model::Timestamp;

use super::Act;
use super::local::{Local, Replay, Session};

/// A standby that has not proven within this time that it stopped receiving is stopped instead.
pub const PROOF_WITHIN: Duration = Duration::from_millis(100);

/// How far a fence got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fencing {
    began: Timestamp,
    progress: Progress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// Nothing was done yet.
    Begun,
    /// The sources were emptied by this duty; a confirmed pause from before proves nothing.
    Emptied { was_paused: bool },
    /// A pause was asked for after the sources were empty.
    Pausing,
    /// It cannot be proven while it runs.
    Stopping,
    /// Everything was stopped by this duty.
    Stopped,
}

impl Fencing {
    /// A fence that begins now.
    pub fn new(now: Timestamp) -> Self {
        Fencing {
            began: now,
            progress: Progress::Begun,
        }
    }

    pub(super) fn must_stop(&mut self) {
        self.progress = Progress::Stopping;
    }

    pub(super) fn next(&mut self, local: &Local) -> Act {
        if !local.is_running {
            // One look may miss a process whose parent is gone; a stop looks until two find nothing.
            return if self.progress == Progress::Stopped {
                Act::ScanThenPromise
            } else {
                self.stop()
            };
        }
        let promoting = (local.promotion_asked || local.is_armed) && !broken!(PromotionFence);
        let goes_on = |session: &&Session| session.in_recovery && !promoting;
        let Some(session) = local.session.as_ref().filter(goes_on) else {
            // A primary, a promotion that may complete by itself later, a candidate that the leash would
            // kill at the end of its lease, or something that does not answer.
            return self.stop();
        };
        let late = local.now.since(self.began) > PROOF_WITHIN;
        let empty = session.source.is_none() && !session.restores;
        if broken!(ProvenFence) {
            return if empty {
                Act::ScanThenPromise
            } else {
                Act::EmptySources
            };
        }
        match (&self.progress, session.replay) {
            (Progress::Stopping | Progress::Stopped, _) => self.stop(),
            (Progress::Begun, replay) => {
                self.progress = Progress::Emptied {
                    was_paused: replay != Replay::Running,
                };
                Act::EmptySources
            }
            _ if late && !self.is_proven(local) => self.stop(),
            _ if !empty => Act::Look,
            (Progress::Emptied { was_paused: true }, Replay::Paused | Replay::Requested) => {
                // Paused by somebody else before: only a pause confirmed after the reload proves that
                // the startup process has read the empty sources.
                self.progress = Progress::Emptied { was_paused: false };
                Act::ResumeReplay
            }
            (Progress::Emptied { .. }, _) => {
                self.progress = Progress::Pausing;
                Act::PauseReplay
            }
            (Progress::Pausing, Replay::Paused) if session.receivers > 0 => Act::TerminateReceivers,
            (Progress::Pausing, Replay::Paused) => Act::ScanThenPromise,
            (Progress::Pausing, Replay::Running | Replay::Requested) => Act::Look,
        }
    }

    fn stop(&mut self) -> Act {
        self.progress = Progress::Stopped;
        Act::StopAll
    }

    fn is_proven(&self, local: &Local) -> bool {
        self.progress == Progress::Pausing
            && local
                .session
                .as_ref()
                .is_some_and(|session| session.replay == Replay::Paused && session.receivers == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::local::example::{running_standby, standby_session};

    /// Carries the acts out on a well-behaved standby and lists them.
    fn acts(mut local: Local, stubborn: bool) -> Vec<Act> {
        let mut duty = Fencing::new(local.now);
        let mut acts = Vec::new();
        while acts.last() != Some(&Act::ScanThenPromise) && acts.len() < 40 {
            let act = duty.next(&local);
            local.now.0 += 10;
            if let Some(session) = &mut local.session {
                match &act {
                    Act::EmptySources => session.source = None,
                    Act::ResumeReplay => session.replay = Replay::Running,
                    Act::PauseReplay if stubborn => session.replay = Replay::Requested,
                    Act::PauseReplay => session.replay = Replay::Paused,
                    Act::TerminateReceivers => session.receivers = 0,
                    _ => {}
                }
            }
            if act == Act::StopAll {
                local.is_running = false;
                local.session = None;
            }
            acts.push(act);
        }
        acts.retain(|act| *act != Act::Look);
        acts
    }

    #[test]
    fn a_standby_proves_that_it_stopped_receiving() {
        use Act::*;
        assert_eq!(
            acts(running_standby(), false),
            [
                EmptySources,
                PauseReplay,
                TerminateReceivers,
                ScanThenPromise
            ]
        );
    }

    #[test]
    fn a_pause_from_before_proves_nothing() {
        use Act::*;
        let mut local = running_standby();
        local.session = Some(crate::duty::Session {
            replay: Replay::Paused,
            ..standby_session()
        });
        assert_eq!(
            acts(local, false),
            [
                EmptySources,
                ResumeReplay,
                PauseReplay,
                TerminateReceivers,
                ScanThenPromise
            ]
        );
    }

    #[test]
    fn what_is_not_proven_in_time_is_stopped() {
        use Act::*;
        assert_eq!(
            acts(running_standby(), true),
            [EmptySources, PauseReplay, StopAll, ScanThenPromise]
        );
    }

    #[test]
    fn what_cannot_be_proven_is_stopped_running_or_not() {
        use Act::*;
        let mut primary = running_standby();
        primary.session = Some(crate::duty::Session {
            in_recovery: false,
            ..standby_session()
        });
        let mut promoting = running_standby();
        promoting.promotion_asked = true;
        let mut silent = running_standby();
        silent.session = None;
        let mut leased = running_standby();
        leased.is_armed = true;
        let stopped = Local {
            is_running: false,
            session: None,
            ..running_standby()
        };
        for local in [primary, promoting, silent, leased, stopped] {
            assert_eq!(acts(local, false), [StopAll, ScanThenPromise]);
        }
    }
}
