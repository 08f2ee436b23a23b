//! The programs around a switchover that somebody asked for: those before it may forbid it while nothing was done to the
//! primary, those after it run once another one serves.

use super::{HookStep, PASSED_FOR, Programs, Stand, Trouble, Verdict};
use crate::model::{Epoch, Held, HookStage, Incident, Switchover};

const BEFORE: HookStage = HookStage::PreSwitchover;
const AFTER: HookStage = HookStage::PostSwitchover;

/// What the programs before a switchover say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::decision) enum Word {
    /// It may begin.
    Go,
    /// They are waited for.
    Wait(Held),
    /// One of them failed: it is given up, for this reason.
    No(String),
}

/// How a cluster is beside the programs of a switchover.
#[derive(Debug, Clone, Copy)]
pub(in crate::decision) struct After {
    /// Whether one is recorded that is not over.
    pub is_asked_for: bool,
    /// Whether the primary is being changed.
    pub is_changing: bool,
    /// Whether another one than that of before serves.
    pub is_replaced: bool,
    /// Whether a failover would begin.
    pub begins: bool,
}

impl Programs {
    fn has_any_of_switchover(&self) -> bool {
        self.configured.contains(&BEFORE) || self.configured.contains(&AFTER)
    }

    /// Of a switchover that waits in this epoch, and would begin now if `may_begin`.
    pub(in crate::decision) fn before_switchover(
        &self,
        asked: &Switchover,
        epoch: Epoch,
        may_begin: bool,
    ) -> (Option<HookStep>, Word) {
        let waits = |failed| {
            Word::Wait(Held::Hook {
                stage: BEFORE,
                failed,
            })
        };
        let Some(incident) = &self.incident else {
            if !may_begin || !self.has_any_of_switchover() {
                return (None, Word::Go);
            }
            let open = HookStep::Open {
                seen: epoch,
                trouble: Trouble {
                    code: Incident::SWITCHOVER,
                    text: asked.to_string(),
                    failed: Some(asked.from.clone()),
                },
            };
            return (Some(open), waits(false));
        };
        if !self.has_any_of_switchover() {
            return (None, Word::Go);
        }
        let is_before = incident.seen < epoch;
        if !incident.is_of_switchover() && is_before {
            // What runs after a failover is not cut short.
            let stage = HookStage::PostFailover;
            let failed = false;
            return (None, Word::Wait(Held::Hook { stage, failed }));
        }
        if !incident.is_of_switchover() || is_before {
            // It would not begin if anything were left of an earlier trouble.
            let close = HookStep::Close {
                incident: incident.began_at,
            };
            return (may_begin.then_some(close), waits(false));
        }
        let run = incident.runs.get(&BEFORE);
        let again = HookStep::Run {
            incident: incident.began_at,
            stage: BEFORE,
            attempt: run.map_or(0, |it| it.attempt).saturating_add(1),
        };
        let is_due = || (may_begin.then_some(again.clone()), waits(false));
        if !self.configured.contains(&BEFORE) {
            return (None, Word::Go);
        }
        match self.stand(BEFORE, run) {
            Stand::Passed { at } if self.wall.saturating_sub(at) <= PASSED_FOR => (None, Word::Go),
            Stand::Passed { .. } | Stand::NotRun | Stand::Lost => is_due(),
            Stand::Running => (None, waits(false)),
            // Whoever asked is told, and may ask again: nothing is tried again behind their back.
            Stand::Failed { .. } => {
                let why = format!("one of {BEFORE} failed (primacy history has what it said)");
                (None, Word::No(why))
            }
        }
    }

    /// Of a switchover whose programs are recorded; none if none are.
    pub(in crate::decision) fn after_switchover(&self, after: After) -> Option<Verdict> {
        let incident = self.incident.as_ref().filter(|it| it.is_of_switchover())?;
        let close = Some(HookStep::Close {
            incident: incident.began_at,
        });
        let held = after.begins.then_some(Held::Hook {
            stage: HookStage::Detection,
            failed: false,
        });
        let step = match after {
            // A failure is something else, and has programs of its own.
            After { begins: true, .. } => close,
            After {
                is_asked_for: true, ..
            }
            | After {
                is_changing: true, ..
            } => None,
            After {
                is_replaced: true, ..
            } => self.next_of(incident, &[AFTER]).unwrap_or(close),
            // It was given up, or the primary of before was elected again.
            After {
                is_replaced: false, ..
            } => close,
        };
        Some(Verdict { step, held })
    }
}

#[cfg(test)]
mod tests;
