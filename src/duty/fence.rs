//! Fencing the local instance: prove that it receives, feeds and acknowledges nothing of an older
//! epoch, and only then say where its WAL ends. Redone each time: a cached promise is no answer.

use std::time::Duration;

use crate::broken;
use crate::model::Timestamp;

use super::Act;
use super::local::{Local, Replay};

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
    /// It cannot be proven.
    Stopping,
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
            return Act::ScanThenPromise;
        }
        let promoting = local.promotion_asked && !broken!(PromotionFence);
        let Some(session) = local
            .session
            .as_ref()
            .filter(|session| session.in_recovery && !promoting)
        else {
            // A primary, a promotion that may complete by itself later, or something that does not answer.
            return Act::StopAll;
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
            (Progress::Stopping, _) => Act::StopAll,
            (Progress::Begun, replay) => {
                self.progress = Progress::Emptied {
                    was_paused: replay != Replay::Running,
                };
                Act::EmptySources
            }
            _ if late && !self.is_proven(local) => {
                self.progress = Progress::Stopping;
                Act::StopAll
            }
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

    fn is_proven(&self, local: &Local) -> bool {
        self.progress == Progress::Pausing
            && local
                .session
                .as_ref()
                .is_some_and(|session| session.replay == Replay::Paused && session.receivers == 0)
    }
}
