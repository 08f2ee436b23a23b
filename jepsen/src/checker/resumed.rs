//! The moments after a frozen primary is resumed: until its leash has killed it, it may acknowledge, if the setup says so.
//!
//! Excused is only who was primary when it was frozen with its whole host, on the timeline that it had then. A node that
//! was not frozen, or frozen while another was primary, has no excuse.

use crate::history::{Answerer, Call, Completion, Fault, Operation, Setup};

/// The faults that stop every process of their targets.
const FREEZING: [&str; 2] = ["freeze", "zone-loss"];
/// A fault is written down when it is healed everywhere: whoever was resumed first runs already.
const HEALING_NS: u64 = 1_000_000_000;

/// Who may acknowledge when.
pub(super) struct Resumed<'a>(Vec<Moments<'a>>);

/// Of one node, in ns.
struct Moments<'a> {
    node: &'a str,
    timeline: u32,
    from: u64,
    until: u64,
}

impl<'a> Resumed<'a> {
    /// Around the end of every freeze of a primary.
    pub(super) fn of(calls: &'a [Call], setup: &Setup) -> Resumed<'a> {
        if setup.resumed_ms == 0 {
            return Resumed(vec![]);
        }
        let mut frozen: Vec<(&Fault, Option<(&str, u32)>)> = vec![];
        let mut resumed = vec![];
        for call in calls {
            let Operation::Fault(fault) = &call.operation else {
                continue;
            };
            if !FREEZING.contains(&fault.name.as_str()) {
                continue;
            }
            if fault.status != "healed" {
                frozen.push((fault, primary_before(calls, call.invoked)));
                continue;
            }
            let same = |(it, _): &mut (&Fault, Option<(&str, u32)>)| {
                (&it.name, &it.target) == (&fault.name, &fault.target)
            };
            for (fault, primary) in frozen.extract_if(.., same) {
                if let Some((node, timeline)) = primary
                    && fault.targets().any(|target| target == node)
                {
                    let healed = call.invoked_at.0;
                    resumed.push(Moments {
                        node,
                        timeline,
                        from: healed.saturating_sub(HEALING_NS),
                        until: healed + setup.resumed_ms * 1_000_000,
                    });
                }
            }
        }
        Resumed(resumed)
    }

    /// Whether this acknowledgement is excused.
    pub(super) fn excuses(&self, answerer: &Answerer, end: Completion) -> bool {
        self.0.iter().any(|it| {
            it.node == answerer.node
                && Some(it.timeline) == answerer.timeline
                && (it.from..=it.until).contains(&end.time.0)
        })
    }
}

/// Who had acknowledged on the newest timeline before that index.
fn primary_before(calls: &[Call], index: u64) -> Option<(&str, u32)> {
    let acknowledged = calls.iter().filter_map(|call| {
        let answerer = call.answerer.as_ref()?;
        let is_before = call.acknowledged().is_some_and(|end| end.index < index);
        (is_before && call.operation.is_write())
            .then_some((answerer.node.as_str(), answerer.timeline?))
    });
    acknowledged.max_by_key(|(_, timeline)| *timeline)
}
