//! The gate: commands are obeyed in order, and the highest order is on disk before anything is done.

use std::fmt;
use std::time::Duration;

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
    /// Whether it ever gave its word to back the primary of this epoch: it may have done so a moment before a restart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backs: bool,
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
    /// It has given its word to back the primary, whom its peers do not reach.
    Backing {
        /// For so many milliseconds.
        for_ms: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Stale { promised } => write!(f, "order {promised} was admitted before"),
            Refusal::NotAdopted => f.write_str(
                "there is no readable promise, and the present epoch is not adopted yet",
            ),
            Refusal::Backing { for_ms } => write!(
                f,
                "it backs the primary, which asked for that because its peers were out of reach, for {for_ms} ms more"
            ),
        }
    }
}

/// Admits a command of this order, or says why not. The record that comes back must be on disk before
/// anything is done. A fence comes before every promotion, lease and follow of its epoch by its number,
/// so it is refused once one of those was admitted. Nothing newer is promised while a word to back the primary lasts, which
/// it does for `word`.
pub fn admit(
    record: Option<&PromiseRecord>,
    order: Order,
    word: Duration,
) -> Result<PromiseRecord, Refusal> {
    let record = record.ok_or(Refusal::NotAdopted)?;
    keeps_word(record, order, word)?;
    let within_epoch = broken!(GateOrder) && order.epoch == record.order.epoch;
    let stale = order < record.order && !within_epoch && !broken!(Gate);
    if stale {
        return Err(Refusal::Stale {
            promised: record.order,
        });
    }
    Ok(raised(record, order))
}

fn keeps_word(record: &PromiseRecord, order: Order, word: Duration) -> Result<(), Refusal> {
    if order.epoch > record.order.epoch && !word.is_zero() {
        let for_ms = word.as_millis() as u64;
        return Err(Refusal::Backing { for_ms });
    }
    Ok(())
}

fn raised(record: &PromiseRecord, order: Order) -> PromiseRecord {
    PromiseRecord {
        order: order.max(record.order),
        // The mark is of one epoch.
        backs: record.backs && order.epoch <= record.order.epoch,
        ..record.clone()
    }
}

/// Whether the agent would promise this epoch if it were asked to.
pub fn would_promise(record: Option<&PromiseRecord>, epoch: Epoch, word: Duration) -> bool {
    record.is_some_and(|record| record.order.epoch < epoch) && word.is_zero()
}

/// Admits a lease of this order. A lease is renewed under the order of its election while commands of
/// later orders come in between, so within the promised epoch it is not compared by number.
pub fn admit_lease(
    record: Option<&PromiseRecord>,
    order: Order,
    word: Duration,
) -> Result<PromiseRecord, Refusal> {
    let record = record.ok_or(Refusal::NotAdopted)?;
    keeps_word(record, order, word)?;
    if order.epoch < record.order.epoch && !broken!(Gate) {
        return Err(Refusal::Stale {
            promised: record.order,
        });
    }
    Ok(raised(record, order))
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
            backs: false,
        };
        for (given, admitted) in [
            ((4, 3), true),
            ((4, 4), true),
            ((5, 0), true),
            ((4, 2), false),
            ((3, 9), false),
        ] {
            let given = order(given.0, given.1);
            let answer = admit(Some(&record), given, Duration::ZERO);
            assert_eq!(
                answer.map(|record| record.order).ok(),
                admitted.then_some(given),
                "{given}"
            );
        }
        assert_eq!(
            admit(None, order(9, 9), Duration::ZERO),
            Err(Refusal::NotAdopted)
        );
    }

    #[test]
    fn a_lease_is_renewed_under_the_order_of_its_election() {
        let record = PromiseRecord {
            group: "g".to_owned(),
            order: order(4, 9),
            promotion_asked: false,
            backs: false,
        };
        assert_eq!(
            admit_lease(Some(&record), order(4, 3), Duration::ZERO)
                .unwrap()
                .order,
            order(4, 9)
        );
        assert!(admit_lease(Some(&record), order(3, 12), Duration::ZERO).is_err());
        assert_eq!(
            admit_lease(None, order(4, 3), Duration::ZERO),
            Err(Refusal::NotAdopted)
        );
    }

    #[test]
    fn while_a_word_lasts_nothing_newer_is_promised() {
        let record = PromiseRecord {
            group: "g".to_owned(),
            order: order(4, 3),
            promotion_asked: false,
            backs: true,
        };
        let word = Duration::from_millis(1_500);
        let refused = Err(Refusal::Backing { for_ms: 1_500 });
        assert_eq!(admit(Some(&record), order(5, 0), word), refused);
        assert_eq!(admit_lease(Some(&record), order(5, 1), word), refused);
        assert!(!would_promise(Some(&record), Epoch(5), word));
        assert!(would_promise(Some(&record), Epoch(5), Duration::ZERO));
        // Its own epoch goes on, and keeps the mark; the next one has none.
        assert!(admit(Some(&record), order(4, 9), word).unwrap().backs);
        let next = admit(Some(&record), order(5, 0), Duration::ZERO).unwrap();
        assert!(!next.backs);
    }
}
