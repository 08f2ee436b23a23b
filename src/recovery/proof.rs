//! Why no older primary can acknowledge a commit any more, and who may take its place.
//!
//! One test, R + W + 1 > N, proves two things at once: of the voters that did not promise too few are
//! left to acknowledge anything, and every acknowledged commit is on one of those that did. The promise
//! of the last primary over all of its data proves both by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::broken;
use crate::model::switchover::Progress;
use crate::model::{Cluster, Durability, InstanceId, PromotionRule, Standing, View, WalPosition};

use super::evidence::{Promise, Rejection};
use super::reason::Reason;

/// Why no older primary can acknowledge a commit any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceProof {
    /// R + W + 1 > N over these promises; the candidate is the best of them.
    Quorum {
        /// The voters counted in R.
        counted: BTreeSet<InstanceId>,
    },
    /// Everybody who may hold a lease promised. In a quorum cluster that proves something only of the
    /// last primary itself, with all its data: nobody else acknowledged anything since its election.
    OldPrimaryPromised,
    /// Async: every lease that may have been granted has ended on the leader's clock.
    LeaseLapsed,
    /// The cluster was just created: there is no older primary.
    Created,
    /// Quorum: every lease has ended on the leader's clock, and an operator said that what nobody of these holds may be
    /// lost.
    Forced {
        /// Who promised, and counts.
        counted: BTreeSet<InstanceId>,
    },
}

/// The least R with R + W + 1 > N.
pub fn promises_needed(cluster: &Cluster) -> usize {
    let needed = cluster.voters() - cluster.durability.standby_acks().min(cluster.voters() - 1);
    if broken!(QuorumTest) {
        needed - 1
    } else {
        needed
    }
}

/// Why a promise does not count in R; `Ok` with its position if it does.
fn counts(
    cluster: &Cluster,
    instance: &InstanceId,
    promise: &Promise,
) -> Result<WalPosition, &'static str> {
    let member = cluster.members.get(instance).ok_or("is not a member")?;
    if broken!(DataIncarnation) {
        return Ok(promise.position.unwrap_or_default());
    }
    if member.standing != Standing::Voter {
        return Err("its data is being replaced");
    }
    if promise.incarnation != Some(member.incarnation) {
        return Err("its data is not the filling that was admitted");
    }

    promise
        .position
        .ok_or("the end of its WAL could not be found")
}

type Counted<'a> = BTreeMap<&'a InstanceId, (WalPosition, bool)>;

fn counted<'a>(cluster: &Cluster, promises: &'a BTreeMap<InstanceId, Promise>) -> Counted<'a> {
    promises
        .iter()
        .filter_map(|(id, promise)| {
            let position = counts(cluster, id, promise).ok()?;
            Some((id, (cluster.rank(position), promise.running)))
        })
        .collect()
}

/// The last instance that was elected, if its promise counts and its WAL still holds all with which it
/// was elected: that was everything acknowledged before, and what it acknowledged since it flushed.
/// Without this, a cluster whose standbys are not admitted yet would be lost with every restart of its
/// primary.
fn last_primary(cluster: &Cluster, counted: &Counted<'_>) -> Option<InstanceId> {
    let holder = cluster.last_holder()?;
    let (position, _) = counted.get(holder)?;
    let is_whole = cluster.lineage.is_reached_by(*position);
    is_whole.then(|| holder.clone())
}

/// Those who may hold a lease, but for whom gave it up: an agent that promised over the recorded data has stopped the
/// server of that data. One that has other data stopped nothing: the server may run on another host.
fn may_hold(cluster: &Cluster, promises: &BTreeMap<InstanceId, Promise>) -> Vec<InstanceId> {
    let gave_it_up = |id: &InstanceId| {
        let recorded = cluster.members.get(id).map(|member| member.incarnation);
        promises
            .get(id)
            .is_some_and(|promise| recorded.is_some() && promise.incarnation == recorded)
    };
    let holders = cluster.holders.iter();
    holders.filter(|id| !gave_it_up(id)).cloned().collect()
}

/// Whether the instance may be promoted at all, as far as operators say.
pub fn may_be_chosen(id: &InstanceId, view: &View) -> bool {
    view.directives.rule(id) != PromotionRule::MustNot || broken!(PromotionRule)
}

/// Whether one that holds less than others may be elected: only where a rule is broken on purpose.
fn may_hold_less() -> bool {
    [broken!(BestCandidate), broken!(NamedHoldsAll)].contains(&true)
}

/// Whom a switchover names, if it promised and holds all that the old primary wrote.
fn named<'a>(cluster: &'a Cluster, counted: &Counted<'_>) -> Option<&'a InstanceId> {
    let asked = cluster.switchover.as_ref()?;
    let (position, _) = counted.get(&asked.to)?;
    let holds_all = match &asked.progress {
        Progress::Down { end } => position >= end,
        // Where the old primary ends is not known before it has promised.
        Progress::Waiting | Progress::ShuttingDown | Progress::CalledOff { .. } => false,
    };
    (holds_all || broken!(NamedHoldsAll)).then_some(&asked.to)
}

/// How much a switchover speaks for this instance: for the one that it names, and else for the primary that there was.
fn wished(cluster: &Cluster, id: &InstanceId) -> u8 {
    match &cluster.switchover {
        Some(asked) if asked.to == *id => 2,
        Some(asked) if asked.from == *id => 1,
        Some(_) | None => 0,
    }
}

/// The best position; among equals one whose disk takes writes, for whom a switchover speaks, whom operators prefer, a
/// running instance, then the first name.
fn best(cluster: &Cluster, of: &Counted<'_>, view: &View) -> Option<InstanceId> {
    let rank = |(id, (position, running)): &(&&InstanceId, &(WalPosition, bool))| {
        let writes = view.disk_trouble(id).is_none();
        let wished = wished(cluster, id);
        (
            broken!(NamedHoldsAll) && wished == 2,
            *position,
            writes,
            wished,
            std::cmp::Reverse(view.directives.rule(id)),
            *running,
            std::cmp::Reverse((**id).clone()),
        )
    };
    let best = if broken!(BestCandidate) {
        of.iter().min_by_key(rank)
    } else {
        of.iter().max_by_key(rank)
    };
    best.map(|(id, _)| (*id).clone())
}

/// Chooses a candidate, or says what is missing. A quorum without earlier primaries is preferred: it
/// needs no restart and leaves aside what was never acknowledged.
pub fn elect(
    cluster: &Cluster,
    promises: &BTreeMap<InstanceId, Promise>,
    view: &View,
    everybody_had_a_chance: bool,
) -> Result<(InstanceId, FenceProof), Reason> {
    let all = counted(cluster, promises);
    let needed = promises_needed(cluster);
    let standbys: Counted<'_> = all
        .iter()
        .filter(|(id, _)| !cluster.holders.contains(**id))
        .map(|(id, p)| (*id, *p))
        .collect();
    let not_proven = || {
        let forbidden = all.keys().filter(|id| !may_be_chosen(id, view));
        let instances: Vec<_> = forbidden.map(|id| (*id).clone()).collect();
        let is_enough = all.len() >= needed || cluster.durability == Durability::Async;
        if is_enough && everybody_had_a_chance && !instances.is_empty() {
            return Reason::MustNot { instances };
        }
        Reason::NotProven {
            promised: all.len(),
            needed,
            missing: missing(cluster, promises),
        }
    };
    let may_hold = may_hold(cluster, promises);
    let leases_ended = may_hold.is_empty() || view.now > view.leases_lapse_at;
    let elected = if cluster.durability == Durability::Async {
        let proof = if may_hold.is_empty() {
            FenceProof::OldPrimaryPromised
        } else {
            FenceProof::LeaseLapsed
        };
        // What the last primary had not sent is left aside if its disk takes no writes.
        let fails = |id: &InstanceId| cluster.holders.contains(id) && view.disk_fails(id);
        let whole = all.iter().filter(|(id, _)| !fails(id));
        let whole: Counted<'_> = whole.map(|(id, p)| (*id, *p)).collect();
        let is_sent_more = |candidate: &InstanceId| {
            let mut others = all.iter().filter(|(id, _)| !cluster.holders.contains(**id));
            others.any(|(_, (position, _))| *position > all[candidate].0)
        };
        best(cluster, &open(&whole, view), view)
            .or_else(|| best(cluster, &open(&all, view), view))
            .filter(|it| everybody_had_a_chance && (!is_sent_more(it) || may_hold_less()))
            .map(|candidate| (candidate, proof))
    } else {
        // A switchover has stopped the old primary: it is left out only for the one that is named.
        let is_led = cluster.switchover.is_none() || named(cluster, &standbys).is_some();
        let is_early = is_led && standbys.len() >= needed;
        let early = is_early.then(|| quorum(cluster, needed, &standbys, view));
        let late = || {
            let is_enough = all.len() >= needed && everybody_had_a_chance;
            is_enough
                .then(|| quorum(cluster, needed, &all, view))
                .flatten()
        };
        let last = || {
            let last = last_primary(cluster, &all).filter(|candidate| {
                everybody_had_a_chance
                    && may_be_chosen(candidate, view)
                    && best(cluster, &all, view).as_ref() == Some(candidate)
            });
            last.map(|candidate| (candidate, FenceProof::OldPrimaryPromised))
        };
        let forced = || {
            let is_forced = cluster.forced.is_some() && everybody_had_a_chance;
            let candidate = best(cluster, &open(&all, view), view).filter(|_| is_forced)?;
            let holds_most = all.values().all(|(at, _)| *at <= all[&candidate].0);
            let counted = all.keys().map(|id| (*id).clone()).collect();
            holds_most.then_some((candidate, FenceProof::Forced { counted }))
        };
        early.flatten().or_else(late).or_else(last).or_else(forced)
    };
    if let Some((candidate, FenceProof::Forced { .. })) = &elected
        && let Some(reason) =
            forced::forbids(cluster, promises, view, (candidate, all[candidate].0))
    {
        return Err(reason);
    }
    match elected {
        Some((_, FenceProof::Forced { .. })) if !leases_ended && !broken!(ForcedLease) => {
            Err(Reason::LeaseMayBeHeld { by: may_hold })
        }
        Some(_)
            if (cluster.failover_waits_for_leases() || cluster.is_of_old_state())
                && !leases_ended =>
        {
            Err(Reason::LeaseMayBeHeld { by: may_hold })
        }
        elected => elected.ok_or_else(not_proven),
    }
}

/// Those of them that may be promoted.
fn open<'a>(of: &Counted<'a>, view: &View) -> Counted<'a> {
    let open = of.iter().filter(|(id, _)| may_be_chosen(id, view));
    open.map(|(id, p)| (*id, *p)).collect()
}

/// The best of them that may be promoted. One that must not be is left out of the count where the others are enough to
/// hold every acknowledged commit; where they are not, nobody takes its place who holds less.
fn quorum(
    cluster: &Cluster,
    needed: usize,
    of: &Counted<'_>,
    view: &View,
) -> Option<(InstanceId, FenceProof)> {
    let open = open(of, view);
    let counted = if open.len() >= needed { &open } else { of };
    let candidate = best(cluster, &open, view)?;
    let position = open[&candidate].0;
    let is_passed_over = counted.values().any(|(other, _)| *other > position);
    if is_passed_over && !may_hold_less() {
        return None;
    }
    let counted = counted.keys().map(|id| (*id).clone()).collect();
    Some((candidate, FenceProof::Quorum { counted }))
}

fn missing(
    cluster: &Cluster,
    promises: &BTreeMap<InstanceId, Promise>,
) -> Vec<(InstanceId, String)> {
    cluster
        .members
        .keys()
        .filter_map(|id| match promises.get(id) {
            None => Some((id.clone(), "has not promised".to_owned())),
            Some(promise) => counts(cluster, id, promise)
                .err()
                .map(|why| (id.clone(), why.to_owned())),
        })
        .collect()
}

/// Re-checks in the log what a leader claims: a buggy or deposed one is refused here. Answers with the
/// position that elects the candidate.
pub fn check(
    cluster: &Cluster,
    promises: &BTreeMap<InstanceId, Promise>,
    candidate: &InstanceId,
    proof: &FenceProof,
) -> Result<WalPosition, Rejection> {
    let unproven = |why: String| Err(Rejection::Unproven(why));
    let counted = counted(cluster, promises);
    let own = promises.get(candidate).and_then(|it| it.position);
    let (Some(&(position, _)), Some(own)) = (counted.get(candidate), own) else {
        return unproven(format!("the promise of {candidate} does not count"));
    };
    let voices: BTreeSet<&InstanceId> = match proof {
        FenceProof::Quorum { counted: claimed } => {
            if let Some(stranger) = claimed.iter().find(|id| !counted.contains_key(id)) {
                return unproven(format!("the promise of {stranger} does not count"));
            }
            if !claimed.contains(candidate) || claimed.len() < promises_needed(cluster) {
                return unproven(format!("{} promises are not enough", claimed.len()));
            }
            claimed.iter().collect()
        }
        FenceProof::LeaseLapsed if cluster.durability != Durability::Async => {
            return unproven("a lapsed lease proves nothing in a quorum cluster".to_owned());
        }
        FenceProof::OldPrimaryPromised
            if cluster.durability != Durability::Async
                && last_primary(cluster, &counted).as_ref() != Some(candidate) =>
        {
            return unproven(format!(
                "{candidate} is not the last primary, or not all of it"
            ));
        }
        FenceProof::OldPrimaryPromised if !may_hold(cluster, promises).is_empty() => {
            return unproven("somebody who may hold a lease has not promised".to_owned());
        }
        FenceProof::OldPrimaryPromised | FenceProof::LeaseLapsed => {
            // An async cluster may leave aside what its last primary had not sent, if that has no disk to serve
            // it from. Nobody who was sent more may be passed over.
            let may_be_left = |id: &InstanceId| {
                cluster.durability == Durability::Async && cluster.holders.contains(id)
            };
            let voices = counted.keys().copied();
            voices.filter(|id| !may_be_left(id)).collect()
        }
        FenceProof::Created => return unproven("the cluster exists already".to_owned()),
        FenceProof::Forced { .. } => match &cluster.forced {
            None => return unproven("nobody said that anything may be lost".to_owned()),
            Some(word) if forced::is_too_much(position, word) => {
                let accepted = word.accepted;
                return unproven(format!(
                    "{candidate} has all up to {position}, and losing what lies before {accepted} was not accepted"
                ));
            }
            Some(_) => counted.keys().copied().collect(),
        },
    };
    match voices.iter().find(|id| counted[**id].0 > position) {
        Some(better) if !may_hold_less() => {
            unproven(format!("{better} holds more than {candidate}"))
        }
        Some(_) | None => Ok(own),
    }
}

pub mod forced;
#[cfg(test)]
mod forced_tests;
#[cfg(test)]
mod switchover_tests;
#[cfg(test)]
mod tests;
