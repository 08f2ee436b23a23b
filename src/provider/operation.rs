//! Who changes an instance, for what, and until when.

use std::sync::Mutex;
use std::time::Duration;

use super::{ProviderError, Result};
use crate::model::Epoch;

/// What every change is made under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The epoch of the decision.
    pub epoch: Epoch,
    /// The recovery that it belongs to; for logs.
    pub recovery: String,
    /// The deadline of the whole call, connecting included. The server gets it too, so that no statement goes on after it.
    pub within: Duration,
    /// Whether everything is checked and nothing changed.
    pub dry_run: bool,
}

/// The newest epoch that has acted through one provider. It refuses a late step of a deposed leader in this process, and
/// in no other: over SQL alone no promise is durable.
#[derive(Debug, Default)]
pub(super) struct Epochs(Mutex<Epoch>);

impl Epochs {
    /// Lets an operation of this or a newer epoch pass. Errors: [`ProviderError::FencedOut`].
    pub fn admit(&self, operation: &Operation) -> Result<()> {
        let mut newest = self.0.lock().expect("no holder of the epoch panics");
        if operation.epoch < *newest {
            return Err(ProviderError::FencedOut { current: *newest });
        }
        if !operation.dry_run {
            *newest = operation.epoch;
        }
        Ok(())
    }
}
