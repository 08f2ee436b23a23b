//! The gate: commands are obeyed in order, and the highest order is on disk before anything is done.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::broken;
use crate::model::{Epoch, Order};

/// What an agent keeps on disk, outside the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseRecord {
    /// The Raft group that it obeys; it obeys no other.
    pub group: String,
    /// The highest order admitted.
    pub order: Order,
    /// Whether a promotion was ever asked for and not yet seen done or undone by a stop.
    pub promotion_asked: bool,
}

/// Why a command was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A newer order was admitted before.
    Stale {
        /// The highest order admitted.
        promised: Order,
    },
    /// There is no readable promise: the agent must first adopt the present epoch.
    NotAdopted,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Stale { promised } => write!(f, "order {promised} was admitted before"),
            Refusal::NotAdopted => f.write_str(
                "there is no readable promise, and the present epoch is not adopted yet",
            ),
        }
    }
}

/// Admits a command of this order, or says why not. The record that comes back must be on disk before
/// anything is done. A fence comes before every promotion, lease and follow of its epoch by its number,
/// so it is refused once one of those was admitted.
pub fn admit(record: Option<&PromiseRecord>, order: Order) -> Result<PromiseRecord, Refusal> {
    let record = record.ok_or(Refusal::NotAdopted)?;
    let within_epoch = broken!(GateOrder) && order.epoch == record.order.epoch;
    let stale = order < record.order && !within_epoch && !broken!(Gate);
    if stale {
        return Err(Refusal::Stale {
            promised: record.order,
        });
    }
    Ok(PromiseRecord {
        order: order.max(record.order),
        ..record.clone()
    })
}

/// Whether the agent would promise this epoch if it were asked to.
pub fn would_promise(record: Option<&PromiseRecord>, epoch: Epoch) -> bool {
    record.is_some_and(|record| record.order.epoch < epoch)
}
