//! The command under way: its duty, who waits for it, and how long it may take.

use std::sync::Arc;
use std::time::Duration;

use crate::duty::{Act, Duty};
use crate::gate::Admission;
use crate::model::{Order, Timestamp};
use crate::recovery::Action;

use super::perform::Patience;
use super::session::SessionId;

/// Who waits for the outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Over which session it came.
    pub session: SessionId,
    /// Its number there.
    pub id: u64,
}

/// A command under way.
#[derive(Debug)]
pub struct Running {
    /// What was ordered.
    pub action: Action,
    /// That it is on disk.
    pub admission: Arc<Admission>,
    /// How far it got.
    pub duty: Duty,
    /// Who waits.
    pub waiters: Vec<Waiter>,
    /// When it began.
    pub began: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
    /// Looks before this one are too old for it.
    pub first_look: u64,
    /// How long PostgreSQL's log was by then: only what comes later speaks of this command.
    pub log_from: u64,
    /// When to look next.
    pub look_at: Timestamp,
    /// What may have to pause, and when it was begun last.
    begun: Option<(std::mem::Discriminant<Act>, Timestamp)>,
    /// What failed last, and why, if nothing was done since.
    failed: Option<(std::mem::Discriminant<Act>, String)>,
}

/// An act that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// After something else.
    Newly,
    /// The same act as before, for another reason.
    Again,
    /// As it failed before.
    AsBefore,
}

/// A server that ends right after its start is not started again before this has passed, nor is a copy noted
/// again that could not be.
const BEFORE_THE_SAME: Duration = Duration::from_millis(500);

impl Running {
    /// A command that was just admitted; none for a question.
    pub fn new(
        action: Action,
        admission: Arc<Admission>,
        waiter: Waiter,
        now: Timestamp,
        first_look: u64,
        log_from: u64,
    ) -> Option<Running> {
        let duty = Duty::new(&action, admission.order(), now)?;
        Some(Running {
            deadline: now.after(patience(&action)),
            action,
            admission,
            duty,
            waiters: vec![waiter],
            began: now,
            first_look,
            log_from,
            look_at: now,
            begun: None,
            failed: None,
        })
    }

    /// Whether a command of this order asks for the same, so that it joins.
    pub fn is_same(&self, action: &Action, order: Order) -> bool {
        self.action == *action && self.admission.order().epoch == order.epoch
    }

    /// How long one act may wait: a fence must be proven or the instance stopped within 100 ms.
    pub fn patience(&self) -> Patience {
        let small = match self.action {
            Action::Fence => Duration::from_millis(150),
            _ => Duration::from_secs(1),
        };
        let files = match self.action {
            Action::Fence => small,
            // A few fsyncs on a disk that is busy with a checkpoint.
            _ => Duration::from_secs(10),
        };
        Patience {
            sql: small,
            files,
            // Some gigabytes; a fence that is ordered again meanwhile joins this one.
            scan: Duration::from_secs(60),
        }
    }

    /// Notes that something was done; long work gets new time by it.
    pub fn progressed(&mut self, now: Timestamp) {
        if matches!(
            self.action,
            Action::Rebuild { .. } | Action::Initialise { .. } | Action::TakeOver
        ) {
            self.deadline = now.after(patience(&self.action));
        }
    }

    /// Notes how an act ended: why it failed, or none.
    pub fn note(&mut self, act: &Act, failed: Option<&String>) -> Option<Failed> {
        let kind = std::mem::discriminant(act);
        let failed = failed.map(|why| (kind, why.clone()));
        let before = std::mem::replace(&mut self.failed, failed);
        let (_, why) = self.failed.as_ref()?;
        Some(match before {
            Some((same, before)) if same == kind && before == *why => Failed::AsBefore,
            Some((same, _)) if same == kind => Failed::Again,
            Some(_) | None => Failed::Newly,
        })
    }

    /// Whether an act must wait a moment because the same was done just before.
    pub fn must_pause(&mut self, act: &Act, now: Timestamp) -> bool {
        let repeats = matches!(
            act,
            Act::StartStandby { .. } | Act::Settle { .. } | Act::TakeIn(_)
        );
        if !repeats {
            return false;
        }
        let kind = std::mem::discriminant(act);
        let is_early = self
            .begun
            .is_some_and(|(same, at)| same == kind && now.since(at) < BEFORE_THE_SAME);
        if !is_early {
            self.begun = Some((kind, now));
        }
        is_early
    }
}

/// How long without progress until a command is given up; below the leader's patience.
fn patience(action: &Action) -> Duration {
    match action {
        Action::Follow { .. } => Duration::from_secs(8),
        Action::Rebuild { .. } | Action::Initialise { .. } | Action::TakeOver => {
            Duration::from_secs(60)
        }
        Action::Promote { .. } | Action::Confirm { .. } => Duration::from_secs(9),
        Action::ShutDown => Duration::from_secs(75),
        Action::Ask { .. } | Action::Fence | Action::Configure { .. } | Action::Locate { .. } => {
            action.timeout().mul_f32(0.9)
        }
    }
}
