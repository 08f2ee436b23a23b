//! What an asynchronous cluster may lose: the tail of what a node acknowledged on its timeline, with a fault near.

use std::collections::BTreeMap;

use crate::history::{Call, Operation, Setup};

/// One unbroken log: who acknowledged, on which timeline.
type Log<'a> = (&'a str, Option<u32>);

fn log_of(call: &Call) -> Option<Log<'_>> {
    let answerer = call.answerer.as_ref()?;
    Some((answerer.node.as_str(), answerer.timeline))
}

/// What survived.
#[derive(Default)]
pub(super) struct Survivors<'a> {
    /// When the youngest of each log began, as an index.
    youngest: BTreeMap<Log<'a>, u64>,
}

impl<'a> Survivors<'a> {
    /// One more.
    pub(super) fn add(&mut self, call: &'a Call) {
        if let Some(log) = log_of(call) {
            let youngest = self.youngest.entry(log).or_insert(0);
            *youngest = call.invoked.max(*youngest);
        }
    }

    /// Whether something that began after this acknowledgement in the same log survived: then this was no tail.
    pub(super) fn outlive(&self, lost: &Call) -> bool {
        let youngest = log_of(lost).and_then(|log| self.youngest.get(&log));
        youngest.is_some_and(|youngest| lost.shown() < *youngest)
    }
}

/// When faults began.
pub(super) struct Faults {
    began: Vec<u64>,
    lag: u64,
}

impl Faults {
    pub(super) fn of(calls: &[Call], setup: &Setup) -> Faults {
        let began = calls.iter().filter_map(|call| match &call.operation {
            Operation::Fault(fault) if fault.status != "skipped" => Some(call.invoked_at.0),
            _ => None,
        });
        Faults {
            began: began.collect(),
            lag: setup.lag_ms * 1_000_000,
        }
    }

    /// Whether one began before this acknowledgement or soon after. The timeline ends with the fault that loses its
    /// tail: what was acknowledged later on it is tail too.
    pub(super) fn explain(&self, lost: &Call) -> bool {
        let at = lost.completed.map_or(0, |it| it.time.0);
        self.began.iter().any(|fault| at + self.lag >= *fault)
    }
}
