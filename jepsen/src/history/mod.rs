//! What the clients did and saw, as values: the only evidence that the checkers accept.
//!
//! A history is of one cluster and one run. Each client writes a log of its own (`recorder`); they are
//! merged by time, because CLOCK_MONOTONIC is one clock for all namespaces of a machine, and indexed.
//! The shape is Jepsen's, in JSON lines and in EDN (`edn`), so that other checkers can read it.
//! Real-time order is the order of the indices: of events of the same nanosecond invocations come
//! first, so that nothing is called "before" that may have been concurrent.

pub mod acknowledgement;
mod call;
mod edn;
mod operation;
mod recorder;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Moment;

pub use call::{Call, Completion, Malformed, Outcome};
pub use edn::EdnError;
pub use operation::{
    Consistency, Durability, Fault, Fence, Lease, MicroOperation, Operation, PeerState, Recovery,
    Register, RegisterAction, Setup, Status, Transfer,
};
pub use recorder::{ClientLog, Log, Pending, Recorder};

/// What an event says about its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It begins.
    Invoke,
    /// It took effect.
    Ok,
    /// It took no effect, now or later.
    Fail,
    /// Whether it took effect, or will, is not known; or a remark that belongs to no invocation.
    Info,
}

/// Who acts: one thing at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Process {
    /// A client. After an `info` it is never used again: its operation may still be under way.
    Client(u64),
    /// `nemesis`, or another part of the harness that only remarks.
    Named(String),
}

impl Process {
    /// The one that injects faults and describes the run.
    pub fn nemesis() -> Process {
        Process::Named("nemesis".to_owned())
    }
}

/// Who answered, by its own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answerer {
    /// The instance's or peer's name, or its address if that has no name.
    pub node: String,
    /// The timeline that it wrote on; none if it is no database or only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
}

/// Over which session an operation ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionAge {
    /// One that had answered before.
    Kept,
    /// One opened for this operation.
    Fresh,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Event {
    /// Its position in the history.
    pub index: u64,
    /// What it says.
    pub phase: Phase,
    /// Who acts.
    pub process: Process,
    /// The operation: as asked for in an invocation, with what was read in an `ok`.
    pub operation: Operation,
    /// When, in nanoseconds of CLOCK_MONOTONIC.
    pub time: Moment,
    /// Who answered; none if nobody did.
    pub answerer: Option<Answerer>,
    /// Over which session; none where there are none.
    pub session: Option<SessionAge>,
    /// Why it is not `ok`.
    pub error: Option<String>,
}

/// An event as it is written: Jepsen's field names.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Written {
    index: u64,
    #[serde(rename = "type")]
    phase: Phase,
    process: Process,
    f: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    answerer: Option<Answerer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionAge>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<Event> for Written {
    fn from(event: Event) -> Written {
        let (f, value) = event.operation.into_written();
        Written {
            index: event.index,
            phase: event.phase,
            process: event.process,
            f,
            value,
            time: event.time.0,
            answerer: event.answerer,
            session: event.session,
            error: event.error,
        }
    }
}

impl TryFrom<Written> for Event {
    type Error = String;

    fn try_from(written: Written) -> Result<Event, String> {
        Ok(Event {
            index: written.index,
            phase: written.phase,
            process: written.process,
            operation: Operation::from_written(&written.f, written.value)?,
            time: Moment(written.time),
            answerer: written.answerer,
            session: written.session,
            error: written.error,
        })
    }
}

/// Events in the order of their indices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History(Vec<Event>);

impl History {
    /// Orders the events by time, invocations first among those of one moment, indexes them anew, and
    /// ends what was still under way with an `info`.
    pub fn merge(logs: impl IntoIterator<Item = Vec<Event>>) -> History {
        let mut events: Vec<Event> = logs.into_iter().flatten().collect();
        // Stable: the events of one client stay in their order.
        events.sort_by_key(|event| (event.time, event.phase != Phase::Invoke));
        let mut history = History(events);
        history.end_what_is_open();
        for (index, event) in (0..).zip(&mut history.0) {
            event.index = index;
        }
        history
    }

    /// Takes events that are ordered and indexed already.
    ///
    /// # Errors
    /// The indices do not rise.
    pub fn indexed(events: Vec<Event>) -> Result<History, Malformed> {
        match events
            .windows(2)
            .find(|pair| pair[0].index >= pair[1].index)
        {
            Some(pair) => Err(Malformed::Index {
                index: pair[1].index,
            }),
            None => Ok(History(events)),
        }
    }

    /// All events.
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// What the run says of itself; the default if it says nothing.
    pub fn setup(&self) -> Setup {
        let mut setups = self.0.iter().filter_map(|event| match &event.operation {
            Operation::Setup(setup) => Some(setup.clone()),
            _ => None,
        });
        setups.next_back().unwrap_or_default()
    }

    /// Every invocation with what became of it, and the remarks, in the order of invocation.
    ///
    /// # Errors
    /// A completion without an invocation, a process that does two things at once or goes on after
    /// an `info`.
    pub fn calls(&self) -> Result<Vec<Call>, Malformed> {
        call::pair(&self.0)
    }

    /// As JSON lines.
    pub fn to_json_lines(&self) -> String {
        let lines = self.0.iter().map(json_line);
        lines.collect()
    }

    /// Reads JSON lines, ordered and indexed already.
    ///
    /// # Errors
    /// A line that is no event, or indices that do not rise.
    pub fn from_json_lines(text: &str) -> Result<History, Malformed> {
        History::indexed(events_of(text)?)
    }

    /// As EDN, one map per line.
    pub fn to_edn(&self) -> String {
        self.0.iter().map(edn::write).collect()
    }

    /// Reads EDN.
    ///
    /// # Errors
    /// It is no EDN, a form is no event, or indices do not rise.
    pub fn from_edn(text: &str) -> Result<History, Malformed> {
        History::indexed(edn::read(text).map_err(Malformed::Edn)?)
    }

    fn end_what_is_open(&mut self) {
        let mut open: Vec<&Event> = vec![];
        for event in &self.0 {
            match event.phase {
                Phase::Invoke => open.push(event),
                Phase::Ok | Phase::Fail | Phase::Info => {
                    open.retain(|other| other.process != event.process);
                }
            }
        }
        let Some(last) = self.0.last() else { return };
        let ends: Vec<Event> = open
            .into_iter()
            .map(|event| Event {
                phase: Phase::Info,
                time: last.time,
                error: Some("the run ended".to_owned()),
                ..event.clone()
            })
            .collect();
        self.0.extend(ends);
    }
}

/// One event as a line of JSON.
fn json_line(event: &Event) -> String {
    let mut line = serde_json::to_string(event).expect("an event has no map with odd keys");
    line.push('\n');
    line
}

/// The events of a log in JSON lines, whatever their indices.
fn events_of(text: &str) -> Result<Vec<Event>, Malformed> {
    let lines = (1..).zip(text.lines());
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|source| Malformed::Line { number, source })
        })
        .collect()
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
