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

/// Admits a lease of this order. A lease is renewed under the order of its election while commands of
/// later orders come in between, so within the promised epoch it is not compared by number.
pub fn admit_lease(record: Option<&PromiseRecord>, order: Order) -> Result<PromiseRecord, Refusal> {
    let record = record.ok_or(Refusal::NotAdopted)?;
    if order.epoch < record.order.epoch && !broken!(Gate) {
        return Err(Refusal::Stale {
            promised: record.order,
        });
    }
    Ok(PromiseRecord {
        order: order.max(record.order),
        ..record.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::order;

    #[test]
    fn commands_are_obeyed_in_order() {
        let record = PromiseRecord {
            group: "g".to_owned(),
            order: order(4, 3),
            promotion_asked: false,
        };
        for (given, admitted) in [
            ((4, 3), true),
            ((4, 4), true),
            ((5, 0), true),
            ((4, 2), false),
            ((3, 9), false),
        ] {
            let given = order(given.0, given.1);
            let answer = admit(Some(&record), given);
            assert_eq!(
                answer.map(|record| record.order).ok(),
                admitted.then_some(given),
                "{given}"
            );
        }
        assert_eq!(admit(None, order(9, 9)), Err(Refusal::NotAdopted));
    }

    #[test]
    fn a_lease_is_renewed_under_the_order_of_its_election() {
        let record = PromiseRecord {
            group: "g".to_owned(),
            order: order(4, 9),
            promotion_asked: false,
        };
        assert_eq!(
            admit_lease(Some(&record), order(4, 3)).unwrap().order,
            order(4, 9)
        );
        assert!(admit_lease(Some(&record), order(3, 12)).is_err());
        assert_eq!(admit_lease(None, order(4, 3)), Err(Refusal::NotAdopted));
    }
}
