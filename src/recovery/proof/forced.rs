//! What an operator's word for a failover does not cover.

use std::collections::BTreeMap;

use crate::broken;
use crate::model::{
    Cluster, Database, Durability, Forced, InstanceId, Member, Report, Standing, View, WalPosition,
};
use crate::recovery::evidence::Promise;
use crate::recovery::reason::Reason;

use super::counts;

/// Why an operator's word does not let this one be elected: somebody who may hold more can be asked, and is waited for a
/// while; or more would be lost than was accepted.
pub(super) fn forbids(
    cluster: &Cluster,
    promises: &BTreeMap<InstanceId, Promise>,
    view: &View,
    (candidate, at): (&InstanceId, WalPosition),
) -> Option<Reason> {
    let word = cluster.forced.as_ref()?;
    let may_count = |id: &InstanceId, report: &Report| {
        let filling = report.incarnation;
        filling.is_none_or(|it| it == cluster.members[id].incarnation)
            && report.database != Database::Absent
    };
    let is_slow = |(id, member): &(&InstanceId, &Member)| {
        let promise = promises.get(*id);
        member.standing == Standing::Voter
            && view.fresh(id).is_some_and(|it| may_count(id, it))
            && promise.is_none_or(|it| counts(cluster, id, it).is_err())
    };
    let slow = cluster.members.iter().filter(is_slow);
    let instances: Vec<_> = slow.map(|(id, _)| id.clone()).collect();
    if view.awaits_the_slow && !instances.is_empty() {
        return Some(Reason::SlowToPromise { instances });
    }
    if !word.old_is_off
        && let Some((instance, helpers)) = may_serve_on(cluster, promises, view)
    {
        return Some(Reason::MayServeOn { instance, helpers });
    }
    is_too_much(at, word).then(|| Reason::WouldLoseMore {
        instance: candidate.clone(),
        at,
        accepted: word.accepted,
    })
}

/// Who may go on as the primary, backed by whom: none of them is heard or has promised.
pub fn may_serve_on(
    cluster: &Cluster,
    promises: &BTreeMap<InstanceId, Promise>,
    view: &View,
) -> Option<(InstanceId, Vec<InstanceId>)> {
    let is_silent = |id: &InstanceId| view.fresh(id).is_none() && !promises.contains_key(id);
    let mut olds = cluster.primary.iter().chain(&cluster.holders);
    let old = olds.find(|id| is_silent(id))?;
    let others = cluster.members.keys().filter(|id| *id != old);
    let others: Vec<_> = others.cloned().collect();
    // The fewest that it may ever have been told.
    let needed = match cluster.durability {
        Durability::Async => others.len(),
        Durability::Quorum { .. } => cluster.durability.standby_acks(),
    };
    let silent: Vec<_> = others.into_iter().filter(is_silent).collect();
    (silent.len() >= needed).then(|| (old.clone(), silent))
}

/// Whether more is lost than was accepted if WAL goes on from here.
pub(super) fn is_too_much(at: WalPosition, word: &Forced) -> bool {
    at < word.accepted && !broken!(AcceptedLoss)
}
