//! One call: its deadline, how far it got, and whether it may have changed something.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::timeout;

use super::failure::was_cancelled;
use crate::clock;
use crate::model::Timestamp;
use crate::provider::{Outcome, Phase, ProviderError, Result};

/// One call under way.
#[derive(Debug)]
pub(super) struct Call {
    operation: &'static str,
    within: Duration,
    ends: Timestamp,
    progress: Mutex<(Phase, Outcome)>,
}

impl Call {
    /// Begins now.
    pub fn begin(operation: &'static str, within: Duration) -> Call {
        Call {
            operation,
            within,
            ends: clock::monotonic().after(within),
            progress: Mutex::new((Phase::Tcp, Outcome::NotApplied)),
        }
    }

    /// What is done, for messages.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// How long it may take from its beginning.
    pub fn within(&self) -> Duration {
        self.within
    }

    /// What is left of its deadline.
    pub fn remaining(&self) -> Duration {
        self.ends.since(clock::monotonic())
    }

    /// Notes how far it got.
    pub fn reached(&self, phase: Phase) {
        self.note(|progress| progress.0 = phase);
    }

    /// Notes that from here on a lost answer may be that of a change.
    pub fn changes(&self) {
        self.note(|progress| *progress = (Phase::Query, Outcome::Unknown));
    }

    fn note(&self, change: impl FnOnce(&mut (Phase, Outcome))) {
        change(&mut self.progress.lock().expect("no holder of it panics"));
    }

    /// No answer in time.
    pub fn late(&self) -> ProviderError {
        let (phase, outcome) = *self.progress.lock().expect("no holder of it panics");
        ProviderError::Timeout {
            operation: self.operation,
            within: self.within,
            phase,
            outcome,
        }
    }

    /// An error as this call's: the server's own end of a statement is our deadline.
    pub fn judge(&self, error: ProviderError) -> ProviderError {
        match was_cancelled(&error) {
            true => self.late(),
            false => error,
        }
    }

    /// Runs it up to its deadline.
    pub async fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match timeout(self.within, work).await {
            Ok(done) => done,
            Err(_) => Err(self.late()),
        }
    }
}
