//! Why no older primary can acknowledge a commit any more, and who may take its place.
//!
//! One test, R + W + 1 > N, proves two things at once: of the voters that did not promise too few are
//! left to acknowledge anything, and every acknowledged commit is on one of those that did. The promise
//! of the last primary over all of its data proves both by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::broken;
use crate::model::{Cluster, Durability, InstanceId, Standing, View, WalPosition};

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
            Some((id, (counts(cluster, id, promise).ok()?, promise.running)))
        })
        .collect()
}

/// The last instance that was elected, if its promise counts and its WAL still holds all with which it
/// was elected: that was everything acknowledged before, and what it acknowledged since it flushed.
/// Without this, a cluster whose standbys are not admitted yet would be lost with every restart of its
/// primary.
fn last_primary(cluster: &Cluster, counted: &Counted<'_>) -> Option<InstanceId> {
    let is_alone = cluster.holders.len() == 1;
    let holder = cluster.holders.first().filter(|_| is_alone)?;
    let (position, _) = counted.get(holder)?;
    let is_whole = cluster.lineage.is_reached_by(*position);
    is_whole.then(|| holder.clone())
}

/// The best position; among equals a running instance, then the first name.
fn best(of: &Counted<'_>) -> Option<InstanceId> {
    let rank = |(id, (position, running)): &(&&InstanceId, &(WalPosition, bool))| {
        (*position, *running, std::cmp::Reverse((**id).clone()))
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
    let quorum = |of: &Counted<'_>| {
        let counted = of.keys().map(|id| (*id).clone()).collect();
        best(of).map(|candidate| (candidate, FenceProof::Quorum { counted }))
    };
    let not_proven = || Reason::NotProven {
        promised: all.len(),
        needed,
        missing: missing(cluster, promises),
    };
    if cluster.durability == Durability::Async {
        if !everybody_had_a_chance {
            return Err(not_proven());
        }
        let candidate = best(&all).ok_or_else(not_proven)?;
        let may_hold: Vec<_> = cluster
            .holders
            .iter()
            .filter(|id| !promises.contains_key(*id))
            .cloned()
            .collect();
        return if may_hold.is_empty() {
            Ok((candidate, FenceProof::OldPrimaryPromised))
        } else if view.now > view.leases_lapse_at {
            Ok((candidate, FenceProof::LeaseLapsed))
        } else {
            Err(Reason::LeaseMayBeHeld { by: may_hold })
        };
    }
    if standbys.len() >= needed {
        return quorum(&standbys).ok_or_else(not_proven);
    }
    if all.len() >= needed && everybody_had_a_chance {
        return quorum(&all).ok_or_else(not_proven);
    }
    match last_primary(cluster, &all) {
        Some(candidate) if everybody_had_a_chance && best(&all).as_ref() == Some(&candidate) => {
            Ok((candidate, FenceProof::OldPrimaryPromised))
        }
        _ => Err(not_proven()),
    }
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
    let Some(&(position, _)) = counted.get(candidate) else {
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
        FenceProof::OldPrimaryPromised
            if !cluster.holders.iter().all(|id| promises.contains_key(id)) =>
        {
            return unproven("somebody who may hold a lease has not promised".to_owned());
        }
        FenceProof::OldPrimaryPromised | FenceProof::LeaseLapsed => {
            counted.keys().copied().collect()
        }
        FenceProof::Created => return unproven("the cluster exists already".to_owned()),
    };
    match voices.iter().find(|id| counted[**id].0 > position) {
        Some(_) if broken!(BestCandidate) => Ok(position),
        Some(better) => unproven(format!("{better} holds more than {candidate}")),
        None => Ok(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, id, view};
    use crate::model::{Durability, Incarnation, Lineage, Timestamp};

    fn promise(position: WalPosition) -> Promise {
        Promise {
            incarnation: Some(Incarnation(1)),
            position: Some(position),
            running: true,
        }
    }

    fn promises(of: &[(&str, WalPosition)]) -> BTreeMap<InstanceId, Promise> {
        of.iter()
            .map(|(name, position)| (id(name), promise(*position)))
            .collect()
    }

    #[test]
    fn the_promises_meet_every_set_that_could_acknowledge() {
        let quorum = |standbys| Durability::Quorum { standbys };
        for (members, durability, needed) in [
            (3, quorum(1), 2),
            (3, quorum(2), 1),
            (5, quorum(1), 4),
            (5, quorum(2), 3),
            (2, quorum(1), 1),
            (3, Durability::Async, 3),
        ] {
            let names = &["a", "b", "c", "d", "e"][..members];
            let cluster = cluster(names, durability);
            assert_eq!(promises_needed(&cluster), needed, "{members} {durability}");
            let (n, w) = (members, durability.standby_acks());
            assert!(
                needed + w + 1 > n && needed + w <= n,
                "{members} {durability}"
            );
        }
    }

    #[test]
    fn a_quorum_of_standbys_is_preferred_over_an_old_primary_that_is_ahead() {
        let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        let all = promises(&[("a", at(2, 99)), ("b", at(2, 20)), ("c", at(2, 30))]);
        let (candidate, proof) = elect(&cluster, &all, &view([]), true).unwrap();
        assert_eq!(candidate, id("c"));
        assert!(check(&cluster, &all, &candidate, &proof).is_ok());
    }

    #[test]
    fn an_old_primary_is_elected_when_its_promise_is_needed() {
        let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        let two = promises(&[("a", at(2, 99)), ("b", at(2, 20))]);
        assert!(
            elect(&cluster, &two, &view([]), false).is_err(),
            "c may still promise"
        );
        let (candidate, _) = elect(&cluster, &two, &view([]), true).unwrap();
        assert_eq!(candidate, id("a"));
    }

    fn example_of_five() -> Cluster {
        let durability = Durability::Quorum { standbys: 1 };
        let mut five = cluster(&["a", "b", "c", "d", "e"], durability);
        five.lineage = Lineage::before_promotion(at(2, 40));
        five
    }

    #[test]
    fn the_last_primary_alone_is_enough_if_its_data_is_all_there() {
        let mut cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        for standby in ["b", "c"] {
            cluster.members.get_mut(&id(standby)).unwrap().standing = Standing::Recovering;
        }
        let alone = promises(&[("a", at(2, 99)), ("b", at(2, 20))]);
        let proof = FenceProof::OldPrimaryPromised;
        let elected = elect(&cluster, &alone, &view([]), true);
        assert_eq!(elected, Ok((id("a"), proof.clone())));
        assert_eq!(check(&cluster, &alone, &id("a"), &proof), Ok(at(2, 99)));
        assert!(elect(&cluster, &alone, &view([]), false).is_err());
        let five = example_of_five();
        let ahead = promises(&[("a", at(2, 50)), ("b", at(2, 60))]);
        let offered = elect(&five, &ahead, &view([]), true);
        assert!(offered.is_err(), "the log would refuse it: b holds more");
        let short = promises(&[("a", at(1, 5))]);
        assert!(elect(&cluster, &short, &view([]), true).is_err());
        assert!(check(&cluster, &short, &id("a"), &proof).is_err());
        let mut refilled = cluster.clone();
        refilled.members.get_mut(&id("a")).unwrap().incarnation = Incarnation(2);
        assert!(check(&refilled, &alone, &id("a"), &proof).is_err());
        let mut shortened = cluster;
        shortened.lineage = Lineage::before_promotion(at(2, 100));
        assert!(check(&shortened, &alone, &id("a"), &proof).is_err());
    }

    #[test]
    fn a_younger_timeline_beats_a_longer_log() {
        let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        let two = promises(&[("b", at(2, 900)), ("c", at(3, 20))]);
        assert_eq!(elect(&cluster, &two, &view([]), true).unwrap().0, id("c"));
    }

    #[test]
    fn what_does_not_count_proves_nothing() {
        let mut cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        let position = at(2, 20);
        let other_filling = Promise {
            incarnation: Some(Incarnation(7)),
            ..promise(position)
        };
        let unscanned = Promise {
            position: None,
            ..promise(position)
        };
        for bad in [other_filling, unscanned] {
            let mut two = promises(&[("b", position)]);
            two.insert(id("c"), bad);
            assert!(elect(&cluster, &two, &view([]), true).is_err());
        }
        let two = promises(&[("b", position), ("c", position)]);
        assert!(elect(&cluster, &two, &view([]), true).is_ok());
        cluster.members.get_mut(&id("c")).unwrap().standing = Standing::Recovering;
        assert!(elect(&cluster, &two, &view([]), true).is_err());
    }

    #[test]
    fn the_log_refuses_what_a_buggy_leader_claims() {
        let quorum = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        let two = promises(&[("b", at(2, 20)), ("c", at(2, 30))]);
        let counted = |names: &[&str]| FenceProof::Quorum {
            counted: names.iter().map(|name| id(name)).collect(),
        };
        for (candidate, proof) in [
            ("c", counted(&["c"])),
            ("c", counted(&["c", "a"])),
            ("a", counted(&["b", "c"])),
            ("b", counted(&["b", "c"])),
            ("c", FenceProof::LeaseLapsed),
            ("c", FenceProof::OldPrimaryPromised),
            ("c", FenceProof::Created),
        ] {
            assert!(
                check(&quorum, &two, &id(candidate), &proof).is_err(),
                "{candidate} {proof:?}"
            );
        }
        assert_eq!(
            check(&quorum, &two, &id("c"), &counted(&["b", "c"])),
            Ok(at(2, 30))
        );
    }

    #[test]
    fn an_async_cluster_waits_for_every_lease() {
        let cluster = cluster(&["a", "b", "c"], Durability::Async);
        let two = promises(&[("b", at(2, 20)), ("c", at(2, 30))]);
        let mut view = view([]);
        assert_eq!(
            elect(&cluster, &two, &view, true),
            Err(Reason::LeaseMayBeHeld { by: vec![id("a")] })
        );
        view.now = Timestamp(view.leases_lapse_at.0 + 1);
        assert_eq!(
            elect(&cluster, &two, &view, true),
            Ok((id("c"), FenceProof::LeaseLapsed))
        );
        let all = promises(&[("a", at(2, 40)), ("b", at(2, 20)), ("c", at(2, 30))]);
        assert_eq!(
            elect(&cluster, &all, &view, true),
            Ok((id("a"), FenceProof::OldPrimaryPromised))
        );
    }
}
