//! Whom a handover asks to promise its epoch, and when the promises are enough.

use std::collections::BTreeMap;

use crate::model::{Cluster, Durability, InstanceId, Order, Standing, View};
use crate::recovery::evidence::{Evidence, Promise};
use crate::recovery::proof;
use crate::recovery::step::{Action, Step};
use crate::recovery::{Next, RETRY_AFTER};

/// The next step while voters are asked: fence whoever can be reached, elect, or wait.
pub(super) fn fencing(
    cluster: &Cluster,
    order: Order,
    promises: &BTreeMap<InstanceId, Promise>,
    view: &View,
) -> Next {
    let missing = || {
        cluster
            .members
            .keys()
            .filter(|id| !promises.contains_key(*id))
    };
    let failed_now = |id: &InstanceId| {
        view.failure(id, order)
            .is_some_and(|failure| view.now.since(failure.at) < RETRY_AFTER)
    };
    let fence = |id: &InstanceId| Step {
        instance: id.clone(),
        order,
        action: Action::Fence,
    };
    let to_fence: Vec<_> = missing()
        .filter(|id| view.fresh(id).is_some() && !failed_now(id))
        .collect();
    // Who keeps its word to back the primary of before promises in some seconds, and may hold more.
    let keeps_word = |id: &&InstanceId| {
        failed_now(id) && view.failure(id, order).is_some_and(|failure| failure.backs)
    };
    let is_bound = cluster.durability == Durability::Async && missing().any(|id| keeps_word(&id));
    match proof::elect(cluster, promises, view, to_fence.is_empty() && !is_bound) {
        Ok((candidate, proof)) => Next::Record(Evidence::Elected { candidate, proof }),
        Err(reason) if to_fence.is_empty() => {
            let again = promises.iter().filter(|(id, promise)| {
                may_count_now(cluster, id, promise, view) && !failed_now(id)
            });
            match again.map(|(id, _)| fence(id)).collect::<Vec<_>>() {
                steps if steps.is_empty() || !is_time_to_ask_again(view) => Next::Wait(reason),
                steps => Next::AskAgain(reason, steps),
            }
        }
        Err(_) => Next::Run(to_fence.into_iter().map(fence).collect()),
    }
}

/// Whether a voter that has promised should be fenced once more: its promise does not count, and its agent says
/// that it has the data that would. What could not be read in a bad moment would else be missing for good.
fn may_count_now(cluster: &Cluster, id: &InstanceId, promise: &Promise, view: &View) -> bool {
    let report = view.fresh(id);
    let (Some(member), Some(report)) = (cluster.members.get(id), report) else {
        return false;
    };
    let recorded = Some(member.incarnation);
    member.standing == Standing::Voter
        && report.incarnation == recorded
        && (promise.incarnation != recorded || promise.position.is_none())
}

/// When a promise came is not recorded, so it is asked for again in the first fifth of every [`RETRY_AFTER`] on this
/// peer's clock. A leader looks more often than that while it waits.
fn is_time_to_ask_again(view: &View) -> bool {
    let every = RETRY_AFTER.as_millis() as u64;
    view.now.0 % every < every / 5
}
