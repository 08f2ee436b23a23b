//! When the user's programs run, and what waits for them, as a function of what is recorded of them.

pub(super) mod switchovers;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{Epoch, Held, HookRun, HookStage, Incident, InstanceId};

/// Programs that failed are tried again after this, and after twice as long each time up to the second, in milliseconds, as
/// long as the primary is gone.
const AGAIN_AFTER: u64 = 30_000;
const AGAIN_AFTER_AT_MOST: u64 = 300_000;
/// What a guard said counts for so long, in milliseconds.
const PASSED_FOR: u64 = 300_000;
/// A primary that seems well for so long has come back.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// What is found for less may be the first look of a new leader.
const SURE_AFTER: Duration = Duration::from_secs(1);

/// What a leader does next about the user's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookStep {
    /// Record that a primary failed.
    Open {
        /// The epoch that the decision saw.
        seen: Epoch,
        /// What was found.
        trouble: Trouble,
    },
    /// Run the programs of a stage.
    Run {
        /// When the incident was recorded.
        incident: u64,
        /// Which.
        stage: HookStage,
        /// How many times they began, this one included.
        attempt: u32,
    },
    /// Record that the incident is over.
    Close {
        /// When it was recorded.
        incident: u64,
    },
}

/// A primary that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The code of the finding.
    pub code: &'static str,
    /// In words.
    pub text: String,
    /// The primary, if one is recorded.
    pub failed: Option<InstanceId>,
}

/// What is recorded and found of a cluster, as far as programs are concerned.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The recorded epoch.
    pub epoch: Epoch,
    /// Whether there was a promotion since the primary of the incident failed.
    pub is_replaced: bool,
    /// Whether the primary is being changed.
    pub is_changing: bool,
    /// How the primary is.
    pub condition: Condition,
    /// What calls for a failover.
    pub trouble: Option<Trouble>,
    /// Whether one would begin now.
    pub begins: bool,
}

/// How a primary is seen to be; neither is possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition {
    /// It calls for a failover.
    pub is_troubled: bool,
    /// It is seen to serve.
    pub is_well: bool,
}

/// What is known of the programs.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// The stages that have any.
    pub configured: BTreeSet<HookStage>,
    /// The incident that is open.
    pub incident: Option<Incident>,
    /// The term in which this peer leads; none if it does not.
    pub term: Option<u64>,
    /// The stage that this peer runs, and which attempt it is.
    pub under_way: Option<(HookStage, u32)>,
    /// How long this leader has seen nothing but trouble.
    pub troubled_for: Duration,
    /// How long it has seen the primary serve.
    pub well_for: Duration,
    /// The wall clock, in milliseconds since 1970.
    pub wall: u64,
}

/// What follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub step: Option<HookStep>,
    /// Why a failover does not begin.
    pub held: Option<Held>,
}

/// How the programs of a stage stand.
enum Stand {
    NotRun,
    Running,
    /// Nobody knows what became of them: their leader died, or what it had recorded was lost.
    Lost,
    Passed {
        at: u64,
    },
    /// Whether they are to be tried again.
    Failed {
        is_due: bool,
    },
}

impl Programs {
    /// Whether an incident is open that began before this epoch.
    pub fn is_before(&self, epoch: Epoch) -> bool {
        self.incident.as_ref().is_some_and(|it| it.seen < epoch)
    }

    /// Whose trouble is open.
    pub(super) fn failed(&self) -> Option<&InstanceId> {
        self.incident.as_ref()?.failed.as_ref()
    }

    /// The stages with programs that a failover waits for.
    pub fn guards(&self) -> impl Iterator<Item = HookStage> {
        let guards = [HookStage::Detection, HookStage::PreFailover];
        guards.into_iter().filter(|it| self.configured.contains(it))
    }

    fn stand(&self, stage: HookStage, run: Option<&HookRun>) -> Stand {
        let Some(run) = run else {
            return Stand::NotRun;
        };
        let is_mine = self.term.is_none_or(|term| term == run.term);
        match &run.ended {
            Some(end) if end.passed => Stand::Passed { at: end.at },
            Some(end) => {
                // What is recorded is any number: a clock that is years ahead wrote it, or another build.
                let wait = AGAIN_AFTER << run.attempt.saturating_sub(1).min(8);
                let until = end.at.saturating_add(wait.min(AGAIN_AFTER_AT_MOST));
                // The clock of another leader, or one that was set back, says nothing.
                let is_due = !is_mine || self.wall < end.at || self.wall >= until;
                Stand::Failed { is_due }
            }
            None if self.term.is_none() || self.under_way == Some((stage, run.attempt)) => {
                Stand::Running
            }
            None => Stand::Lost,
        }
    }

    /// Those before a failover, in order; a lost one runs again, and knows that.
    fn gate(&self, incident: &Incident, begins: bool) -> Verdict {
        for stage in self.guards() {
            let run = incident.runs.get(&stage);
            let attempt = run.map_or(0, |it| it.attempt).saturating_add(1);
            // What guards a failover runs when one would begin.
            let may_run = begins || stage == HookStage::Detection;
            let (is_due, failed) = match self.stand(stage, run) {
                Stand::Passed { at } => {
                    let is_fresh = self.wall.saturating_sub(at) <= PASSED_FOR;
                    if is_fresh || stage == HookStage::Detection {
                        continue;
                    }
                    (true, false)
                }
                Stand::Running => (false, false),
                Stand::NotRun | Stand::Lost => (true, false),
                Stand::Failed { is_due } => (is_due, !is_due),
            };
            let step = HookStep::Run {
                incident: incident.began_at,
                stage,
                attempt,
            };
            return Verdict {
                step: (is_due && may_run).then_some(step),
                held: (begins || run.is_some()).then_some(Held::Hook { stage, failed }),
            };
        }
        Verdict::default()
    }

    /// The first of these that has not run; what runs now, or ended anyhow, does not run again. None if none is left.
    fn next_of(&self, incident: &Incident, stages: &[HookStage]) -> Option<Option<HookStep>> {
        let configured = stages.iter().filter(|it| self.configured.contains(it));
        for stage in configured {
            match self.stand(*stage, incident.runs.get(stage)) {
                Stand::NotRun => {
                    return Some(Some(HookStep::Run {
                        incident: incident.began_at,
                        stage: *stage,
                        attempt: 1,
                    }));
                }
                Stand::Running => return Some(None),
                Stand::Lost | Stand::Passed { .. } | Stand::Failed { .. } => {}
            }
        }
        None
    }
}

/// What to do about the programs of a cluster, and whether a failover waits for them.
pub fn consider(scene: &Scene, programs: &Programs) -> Verdict {
    let detection = |begins: bool| {
        begins.then_some(Held::Hook {
            stage: HookStage::Detection,
            failed: false,
        })
    };
    let Some(incident) = &programs.incident else {
        let is_sure = scene.begins || programs.troubled_for >= SURE_AFTER;
        return match &scene.trouble {
            Some(trouble) if is_sure && !programs.configured.is_empty() => Verdict {
                step: Some(HookStep::Open {
                    seen: scene.epoch,
                    trouble: trouble.clone(),
                }),
                held: detection(scene.begins),
            },
            Some(_) | None => Verdict::default(),
        };
    };
    let only = |step| Verdict { step, held: None };
    let close = HookStep::Close {
        incident: incident.began_at,
    };
    if scene.is_replaced {
        let stages = [HookStage::PostPrimaryFailover, HookStage::PostFailover];
        return match scene.begins {
            // The next one does not wait for what is left of this one.
            true => Verdict {
                step: Some(close),
                held: detection(true),
            },
            false => only(programs.next_of(incident, &stages).unwrap_or(Some(close))),
        };
    }
    if scene.is_changing {
        return Verdict::default();
    }
    let untold = match scene.epoch > incident.seen {
        true => programs.next_of(incident, &[HookStage::PostUnsuccessful]),
        false => None,
    };
    if scene.condition.is_well && !scene.begins {
        let is_settled = programs.well_for >= SETTLED_AFTER;
        return only(untold.unwrap_or(is_settled.then_some(close)));
    }
    let verdict = programs.gate(incident, scene.begins);
    match untold {
        Some(step) => Verdict { step, ..verdict },
        None => verdict,
    }
}

#[cfg(test)]
mod tests;
