//! Does one node at a time acknowledge writes?
//!
//! A primary writes on the timeline that belongs to its epoch, and says so in each answer. On one timeline
//! only one node may acknowledge, and once a write on a timeline is acknowledged, no write that begins
//! later may be acknowledged on a lower one: that would be the old primary. Where the setup says so, one that was frozen
//! with its whole host may for the moments until its leash has killed it (`resumed`).

use std::collections::BTreeMap;

use crate::history::{Answerer, Call, Completion, Setup};

use super::resumed::Resumed;
use super::{Evidence, Verdict};

/// Judges acknowledged writes that say who acknowledged them, and on which timeline.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let writes: Vec<Write<'_>> = calls.iter().filter_map(write).collect();
    if writes.is_empty() {
        return None;
    }
    let mut evidence = vec![];
    evidence.extend(shared_timeline(&writes));
    evidence.extend(went_back(&writes, &Resumed::of(calls, setup)));
    Some(Verdict::of(evidence))
}

#[derive(Clone, Copy)]
struct Write<'a> {
    node: &'a str,
    timeline: u32,
    invoked: u64,
    completed: u64,
    answerer: &'a Answerer,
    end: Completion,
}

fn write(call: &Call) -> Option<Write<'_>> {
    let end = call.acknowledged()?;
    let answerer = call.answerer.as_ref()?;
    call.operation.is_write().then_some(Write {
        node: &answerer.node,
        timeline: answerer.timeline?,
        invoked: call.invoked,
        completed: end.index,
        answerer,
        end,
    })
}

fn shared_timeline(writes: &[Write<'_>]) -> Vec<Evidence> {
    let mut first: BTreeMap<(u32, &str), &Write<'_>> = BTreeMap::new();
    for write in writes {
        first.entry((write.timeline, write.node)).or_insert(write);
    }
    let seen: Vec<_> = first.into_values().collect();
    seen.windows(2)
        .filter(|pair| pair[0].timeline == pair[1].timeline)
        .map(|pair| Evidence {
            anomaly: "two-primaries",
            detail: format!(
                "{} and {} acknowledged on timeline {}",
                pair[0].node, pair[1].node, pair[0].timeline
            ),
            events: vec![pair[0].completed, pair[1].completed],
        })
        .collect()
}

/// The first and the number of writes that began on an old timeline after a newer one was acknowledged.
fn went_back(writes: &[Write<'_>], resumed: &Resumed<'_>) -> Option<Evidence> {
    let mut by_invocation = writes.to_vec();
    by_invocation.sort_by_key(|write| write.invoked);
    let mut by_completion = writes.to_vec();
    by_completion.sort_by_key(|write| write.completed);
    let mut ended = by_completion.into_iter().peekable();
    let mut newest: Option<Write<'_>> = None;
    let mut stale: Vec<(Write<'_>, Write<'_>)> = vec![];
    for write in by_invocation {
        while let Some(before) = ended.next_if(|it| it.completed < write.invoked) {
            if newest.is_none_or(|newest| newest.timeline < before.timeline) {
                newest = Some(before);
            }
        }
        if let Some(newest) = newest
            && write.timeline < newest.timeline
            && !resumed.excuses(write.answerer, write.end)
        {
            stale.push((newest, write));
        }
    }
    let (newer, old) = stale.first()?;
    Some(Evidence {
        anomaly: if newer.node == old.node {
            "timeline-fell"
        } else {
            "old-primary"
        },
        detail: format!(
            "{} writes were acknowledged on an old timeline, first on {} by {} after {} by {}",
            stale.len(),
            old.timeline,
            old.node,
            newer.timeline,
            newer.node
        ),
        events: vec![newer.completed, old.invoked, old.completed],
    })
}
