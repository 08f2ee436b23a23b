//! Invocations together with what became of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Moment;

use super::{Answerer, EdnError, Event, Operation, Phase, Process, SessionAge};

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Ok,
    /// It took none and never will.
    Failed,
    /// Not known.
    Unknown,
}

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// The index of its event.
    pub index: u64,
    /// When.
    pub time: Moment,
}

/// One operation from its invocation to its end. A remark begins and ends in one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Who.
    pub process: Process,
    /// The index of the invocation.
    pub invoked: u64,
    /// When it was invoked.
    pub invoked_at: Moment,
    /// Its end; none while it is not known to have ended, `info` included.
    pub completed: Option<Completion>,
    /// What became of it.
    pub outcome: Outcome,
    /// What was asked for; with what was read if it is ok.
    pub operation: Operation,
    /// Who answered.
    pub answerer: Option<Answerer>,
    /// Over which session.
    pub session: Option<SessionAge>,
}

impl Call {
    /// Whether it ended before `other` began.
    pub fn precedes(&self, other: &Call) -> bool {
        self.completed
            .is_some_and(|completed| completed.index < other.invoked)
    }

    /// The end of a call that took effect for sure.
    pub fn acknowledged(&self) -> Option<Completion> {
        match self.outcome {
            Outcome::Ok => self.completed,
            Outcome::Failed | Outcome::Unknown => None,
        }
    }

    /// The index to show: of the end if there is one.
    pub fn shown(&self) -> u64 {
        self.completed.map_or(self.invoked, |it| it.index)
    }
}

/// Why something is no history.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Indices must rise.
    #[error("index {index} does not rise")]
    Index {
        /// The index.
        index: u64,
    },
    /// Nothing was invoked.
    #[error("event {index} completes nothing")]
    Unexpected {
        /// The index of the event.
        index: u64,
    },
    /// A process does one thing at a time, and nothing after an `info`.
    #[error("event {index}: its process is busy or gone")]
    Busy {
        /// The index of the event.
        index: u64,
    },
    /// A line is no event.
    #[error("line {number} is no event")]
    Line {
        /// Counts from 1.
        number: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The text is no EDN.
    #[error("the text is no history in EDN")]
    Edn(#[source] EdnError),
}

/// Pairs events, in the order of invocation.
pub(super) fn pair(events: &[Event]) -> Result<Vec<Call>, Malformed> {
    let mut calls: Vec<Call> = vec![];
    let mut open: BTreeMap<&Process, usize> = BTreeMap::new();
    let mut gone: BTreeSet<&Process> = BTreeSet::new();
    for event in events {
        let process = &event.process;
        let busy = || Malformed::Busy { index: event.index };
        if gone.contains(process) {
            return Err(busy());
        }
        match (event.phase, open.remove(process), process) {
            (Phase::Invoke, None, _) => {
                open.insert(process, calls.len());
                calls.push(call(event));
            }
            (Phase::Invoke, Some(_), _) => return Err(busy()),
            (phase, Some(at), _) => {
                complete(&mut calls[at], event);
                if phase == Phase::Info {
                    gone.insert(process);
                }
            }
            (_, None, Process::Named(_)) => {
                let mut remark = call(event);
                complete(&mut remark, event);
                calls.push(remark);
            }
            (_, None, Process::Client(_)) => {
                return Err(Malformed::Unexpected { index: event.index });
            }
        }
    }
    Ok(calls)
}

fn call(event: &Event) -> Call {
    Call {
        process: event.process.clone(),
        invoked: event.index,
        invoked_at: event.time,
        completed: None,
        outcome: Outcome::Unknown,
        operation: event.operation.clone(),
        answerer: event.answerer.clone(),
        session: event.session,
    }
}

fn complete(call: &mut Call, event: &Event) {
    let completion = Completion {
        index: event.index,
        time: event.time,
    };
    (call.outcome, call.completed) = match event.phase {
        Phase::Ok => (Outcome::Ok, Some(completion)),
        Phase::Fail => (Outcome::Failed, Some(completion)),
        Phase::Info | Phase::Invoke => (Outcome::Unknown, None),
    };
    if event.phase == Phase::Ok {
        call.operation = event.operation.clone();
    }
    call.answerer = event.answerer.clone().or(call.answerer.take());
    call.session = event.session.or(call.session);
}
