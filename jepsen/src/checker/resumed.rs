//! The moments after a frozen primary is resumed: until its leash has killed it, it may acknowledge, if the setup says so.

use crate::clock::Moment;
use crate::history::{Call, Operation, Setup};

/// A fault is written down when it is healed everywhere: whoever was resumed first runs already.
const HEALING_NS: u64 = 1_000_000_000;

/// The times in which that is so.
pub(super) struct Resumed(Vec<(u64, u64)>);

impl Resumed {
    /// Around the end of every fault.
    pub(super) fn of(calls: &[Call], setup: &Setup) -> Resumed {
        if setup.resumed_ms == 0 {
            return Resumed(vec![]);
        }
        let healed = calls.iter().filter_map(|call| match &call.operation {
            Operation::Fault(fault) if fault.status == "healed" => Some(call.invoked_at.0),
            _ => None,
        });
        let times = healed.map(|healed| {
            let until = healed + setup.resumed_ms * 1_000_000;
            (healed.saturating_sub(HEALING_NS), until)
        });
        Resumed(times.collect())
    }

    /// Whether an acknowledgement at that moment is excused.
    pub(super) fn excuses(&self, moment: Moment) -> bool {
        let mut times = self.0.iter();
        times.any(|(from, until)| (*from..=*until).contains(&moment.0))
    }
}
