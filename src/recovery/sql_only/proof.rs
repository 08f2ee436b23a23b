//! Who may take the place of a primary over SQL, and why nothing acknowledged is lost.
//!
//! R + W + 1 > N, as with agents, with two differences. Nobody promised anything, so a standby counts in R only while it is
//! *seen* to receive nothing. And numbers of timelines were chosen by the servers themselves, so that two of them may mean
//! two histories: only positions on the recorded timeline are compared, anything else is incomparable and not promoted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{SqlReason, copies};
use crate::broken;
use crate::model::sql_only::end_of;
use crate::model::{
    InstanceFacts, InstanceId, Lsn, Position, Role, SqlCluster, SqlView, SyncRule, WalPosition,
};
use crate::recovery::Rejection;

/// Writes wait until whoever is promoted has applied all that it has; so many bytes more of that weigh more than whether
/// commits wait for it.
const MUCH_TO_APPLY: u64 = 16 << 20;

/// Why a candidate may be promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqlProof {
    /// R + W + 1 > N over these revoked voters; the candidate has no less than any of them.
    Quorum {
        /// The voters counted in R.
        counted: BTreeSet<InstanceId>,
    },
    /// Nothing acknowledged was waited for; the candidate has no less than any other that was revoked.
    BestOf {
        /// Those who were compared.
        counted: BTreeSet<InstanceId>,
    },
}

impl SqlProof {
    /// Those that it rests on.
    pub fn counted(&self) -> &BTreeSet<InstanceId> {
        match self {
            SqlProof::Quorum { counted } | SqlProof::BestOf { counted } => counted,
        }
    }
}

/// Where revoked standbys were seen to end; none where that cannot be known.
pub type Ends = BTreeMap<InstanceId, Option<WalPosition>>;

/// The least R with R + W + 1 > N; none if no R would do.
pub fn needed(rule: &SyncRule) -> Option<usize> {
    match rule {
        SyncRule::Async => Some(0),
        SyncRule::Any {
            acks,
            voters,
            unknown,
        } => {
            let (acks, all) = (usize::from(*acks), voters.len() + *unknown as usize);
            (all + 1).checked_sub(acks).filter(|needed| *needed > 0)
        }
        SyncRule::Unclear { .. } => None,
    }
}

/// Whether it is in recovery and has nobody to receive from: it was taken away, or there never was one.
pub fn has_no_source(facts: &InstanceFacts) -> bool {
    match facts.role {
        Role::Detached => true,
        Role::Standby => facts.source.is_none(),
        Role::Primary => false,
    }
}

/// Whether it is seen to receive nothing and to end there.
pub fn is_revoked(facts: &InstanceFacts, at: WalPosition) -> bool {
    has_no_source(facts)
        && facts.status.receiver_silent_for_ms.is_none()
        && facts.status.apply_paused
        && end_of(facts) == Some(at)
}

/// V of R + W + 1 > N: the voters of the rule, and the primary of before, which is one of those who hold each acknowledged
/// commit. It counts like any other if it is a standby now, and its copy is still the one that served.
pub fn electors(cluster: &SqlCluster, from: Option<&InstanceId>) -> BTreeSet<InstanceId> {
    let is_recorded = |id: &&InstanceId| cluster.copies.contains_key(*id);
    let from = from.filter(is_recorded);
    let voters = cluster.rule.voters().into_iter();
    match &cluster.rule {
        SyncRule::Any { .. } => voters.chain(from.cloned()).collect(),
        SyncRule::Async | SyncRule::Unclear { .. } => BTreeSet::new(),
    }
}

/// Those of the revoked that can be compared.
fn comparable(cluster: &SqlCluster, ends: &Ends) -> BTreeMap<InstanceId, WalPosition> {
    let on_it = |at: &WalPosition| at.timeline == cluster.lineage.current;
    let known = ends
        .iter()
        .filter_map(|(id, at)| Some((id.clone(), (*at)?)));
    known
        .filter(|(id, at)| on_it(at) && copies::may_count(cluster, id))
        .collect()
}

/// Chooses a candidate from those that are seen to be revoked still, or says what is missing.
pub fn elect(
    cluster: &SqlCluster,
    (named, from): (Option<&InstanceId>, Option<&InstanceId>),
    ends: &Ends,
    view: &SqlView,
) -> Result<(InstanceId, SqlProof), SqlReason> {
    let mut counted = comparable(cluster, ends);
    if broken!(SqlRevocation) {
        // Whoever answers as a standby is taken for one that was revoked.
        let end = |id: &InstanceId| view.fresh(id).filter(|it| it.role != Role::Primary);
        let all = cluster.members.keys();
        counted = all
            .filter_map(|id| Some((id.clone(), end_of(end(id)?)?)))
            .collect();
    } else {
        counted.retain(|id, at| view.fresh(id).is_some_and(|facts| is_revoked(facts, *at)));
    }
    counted.retain(|id, _| copies::why_not(cluster, id, view).is_none());
    let voters = electors(cluster, from);
    let in_r: BTreeSet<_> = counted.keys().filter(|id| voters.contains(*id)).collect();
    let not_proven = |needed| SqlReason::NotProven {
        counted: in_r.len(),
        needed,
        missing: missing(cluster, &voters, ends, &counted, view),
    };
    let needed = needed(&cluster.rule).ok_or_else(|| SqlReason::RuleUnclear {
        why: unclear(&cluster.rule),
    })?;
    if in_r.len() < needed || counted.is_empty() {
        return Err(not_proven(needed.max(1)));
    }
    let rank = |(id, at): &(&InstanceId, &WalPosition)| rank(&voters, named, view, (id, **at));
    let best = match broken!(SqlBestCandidate) {
        true => counted.iter().min_by_key(rank),
        false => counted.iter().max_by_key(rank),
    };
    let candidate = best
        .map(|(id, _)| id.clone())
        .ok_or_else(|| not_proven(1))?;
    if let Some(named) = named
        && *named != candidate
    {
        return Err(SqlReason::NotProven {
            counted: in_r.len(),
            needed,
            missing: vec![(named.clone(), format!("{candidate} has more"))],
        });
    }
    let all = counted.into_keys().collect();
    let proof = match &cluster.rule {
        SyncRule::Any { .. } => SqlProof::Quorum { counted: all },
        SyncRule::Async | SyncRule::Unclear { .. } => SqlProof::BestOf { counted: all },
    };
    Ok((candidate, proof))
}

/// How good a candidate one is that ends there, beside others that can be compared: who holds more, then who was asked for, then
/// who can serve soonest.
pub fn rank(
    voters: &BTreeSet<InstanceId>,
    named: Option<&InstanceId>,
    view: &SqlView,
    (id, at): (&InstanceId, WalPosition),
) -> impl Ord + use<> {
    let is_named = named == Some(id);
    let applied = view.fresh(id).and_then(applied).unwrap_or_default();
    let to_apply = at.lsn.0.saturating_sub(applied.0);
    (
        at,
        is_named,
        Reverse(to_apply / MUCH_TO_APPLY),
        voters.contains(id),
        applied,
        Reverse(id.clone()),
    )
}

/// Up to where it has applied.
fn applied(facts: &InstanceFacts) -> Option<Lsn> {
    match &facts.status.applied {
        Some(Position::Wal(at)) => Some(at.lsn),
        _ => None,
    }
}

/// Why nothing can be proven; empty if it can.
pub fn unclear(rule: &SyncRule) -> String {
    match rule {
        SyncRule::Unclear { why } => why.clone(),
        SyncRule::Any { acks, voters, .. } => format!(
            "synchronous_standby_names waits for {acks} of {} standbys that are known",
            voters.len()
        ),
        SyncRule::Async => String::new(),
    }
}

fn missing(
    cluster: &SqlCluster,
    voters: &BTreeSet<InstanceId>,
    ends: &Ends,
    counted: &BTreeMap<InstanceId, WalPosition>,
    view: &SqlView,
) -> Vec<(InstanceId, String)> {
    let asked = |id: &&InstanceId| {
        let is_voter = voters.contains(*id) || voters.is_empty();
        is_voter && cluster.primary.as_ref() != Some(*id) && !counted.contains_key(*id)
    };
    let why = |id: &InstanceId| match ends.get(id) {
        None => "is not revoked".to_owned(),
        Some(None) => "where its WAL ends cannot be known over SQL".to_owned(),
        Some(Some(at)) if at.timeline != cluster.lineage.current => format!(
            "is on timeline {}, incomparable with {}: not promoted",
            at.timeline, cluster.lineage.current
        ),
        Some(Some(_)) => copies::why_not(cluster, id, view)
            .unwrap_or("is not seen to be revoked any more")
            .to_owned(),
    };
    let members = cluster.members.keys().filter(asked);
    members.map(|id| (id.clone(), why(id))).collect()
}

/// Re-checks in the log what a leader claims. Answers with the position that elects the candidate.
pub fn check(
    cluster: &SqlCluster,
    from: Option<&InstanceId>,
    ends: &Ends,
    candidate: &InstanceId,
    proof: &SqlProof,
) -> Result<WalPosition, Rejection> {
    let unproven = |why: String| Err(Rejection::Unproven(why));
    let comparable = comparable(cluster, ends);
    if broken!(SqlRevocation) {
        let end = ends.get(candidate).copied().flatten();
        return Ok(end.unwrap_or_default());
    }
    let Some(&position) = comparable.get(candidate) else {
        return unproven(format!(
            "{candidate} was not revoked, or cannot be compared"
        ));
    };
    let counted = proof.counted();
    if let Some(stranger) = counted.iter().find(|id| !comparable.contains_key(*id)) {
        return unproven(format!("{stranger} was not revoked, or cannot be compared"));
    }
    let voters = electors(cluster, from);
    let in_r = counted.iter().filter(|id| voters.contains(*id)).count();
    match (proof, needed(&cluster.rule)) {
        (_, None) => return unproven(unclear(&cluster.rule)),
        (SqlProof::Quorum { .. }, Some(needed)) if in_r >= needed => {}
        (SqlProof::BestOf { .. }, Some(0)) => {}
        (SqlProof::Quorum { .. } | SqlProof::BestOf { .. }, Some(needed)) => {
            return unproven(format!("{in_r} revoked voters are not the {needed} needed"));
        }
    }
    match counted.iter().find(|id| comparable[*id] > position) {
        Some(better) if !broken!(SqlBestCandidate) => {
            unproven(format!("{better} holds more than {candidate}"))
        }
        Some(_) | None => Ok(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::model::example::{self, id};
    use crate::model::sql_only::{Look, Outcome};

    /// Who is elected of standbys that were revoked at `received`, each with what it has applied; of `s1` and `s2` commits wait
    /// for one.
    fn elected(standbys: &[(&str, u64, u64)]) -> String {
        let names: Vec<&str> = standbys.iter().map(|(name, ..)| *name).collect();
        let mut cluster = example::sql_cluster(&[&["p"], names.as_slice()].concat());
        let voters = ["s1", "s2"].map(id).into();
        cluster.rule = SyncRule::Any {
            acks: 1,
            voters,
            unknown: 0,
        };
        let mut view = SqlView::default();
        let mut ends = Ends::new();
        for (name, received, applied) in standbys {
            let mut facts = example::facts(name);
            facts.role = Role::Detached;
            facts.status.apply_paused = true;
            facts.status.received = Some(Position::Wal(example::at(1, *received)));
            facts.status.applied = Some(Position::Wal(example::at(1, *applied)));
            let seen = view.instances.entry(id(name)).or_default();
            seen.note(Look {
                at: Timestamp(0),
                outcome: Outcome::Facts(facts.into()),
            });
            ends.insert(id(name), Some(example::at(1, *received)));
        }
        let (candidate, _) = elect(&cluster, (None, None), &ends, &view).unwrap();
        candidate.to_string()
    }

    #[test]
    fn among_equals_it_is_who_can_serve_soonest() {
        let end = 10 * MUCH_TO_APPLY;
        let check = |standbys: &[(&str, u64, u64)], expected| {
            assert_eq!(elected(standbys), expected, "{standbys:?}");
        };
        check(&[("s1", end, end), ("s2", end, end)], "s1");
        check(&[("s1", end, end - 1), ("s2", end, end)], "s2");
        check(&[("s1", end, end), ("s2", end, end - 1)], "s1");
        // Who holds more is elected, however much it has to apply.
        check(&[("s1", end, 0), ("s2", end - 1, end - 1)], "s1");
        // Commits wait for s1 and s2, and a little is applied at once.
        let all = |late| [("a", end, end), ("s1", end, end - late), ("s2", end, 0)];
        check(&all(MUCH_TO_APPLY - 1), "s1");
        check(&all(MUCH_TO_APPLY), "a");
    }
}
