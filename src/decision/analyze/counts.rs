//! The primary of a cluster and its standbys as five numbers, and what these alone say of them.
//!
//! They are the same whoever looked: agents, or peers over SQL. The codes are those that users of orchestrator know
//! (proxysql/orchestrator's analysis for PostgreSQL), with one change: as long as a single standby replicates, nobody is
//! promoted, because then the primary lives and acting would make two.

use serde::{Deserialize, Serialize};

use crate::model::{Cluster, InstanceId, View};

/// What came of asking the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrimaryAnswer {
    /// It serves.
    Serves,
    /// It lives and lets nobody in now: too many connections, still starting, a password that it does not take.
    Refuses,
    /// Nothing, to everybody whose word is needed.
    Nothing,
}

/// A primary and its standbys in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Of the primary.
    pub primary: PrimaryAnswer,
    /// Standbys that are recorded: n.
    pub known: usize,
    /// Those of them that can be reached: v, at most n.
    pub reachable: usize,
    /// Those of these that replicate from the primary: r, at most v.
    pub replicating: usize,
}

/// What [`Counts`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Nothing is wrong.
    Well,
    /// The primary does not answer, and there are no standbys.
    DeadPrimaryWithoutStandbys,
    /// The primary does not answer, and no standby that can be reached replicates.
    DeadPrimary,
    /// The primary does not answer, and of the standbys none can be reached, or only some replicate.
    DeadPrimaryAndSomeStandbys,
    /// The primary does not answer, and every standby replicates: it lives.
    UnreachablePrimary,
    /// The primary serves, and no standby replicates.
    AllStandbyNotReplicating,
    /// The primary serves, and some standbys do not replicate.
    StandbyNotReplicating,
}

impl Verdict {
    /// Whether a failover may follow. Never while a standby replicates, and never without one that can be reached.
    pub fn is_actionable(self) -> bool {
        match self {
            Verdict::DeadPrimary => true,
            Verdict::Well
            | Verdict::DeadPrimaryWithoutStandbys
            | Verdict::DeadPrimaryAndSomeStandbys
            | Verdict::UnreachablePrimary
            | Verdict::AllStandbyNotReplicating
            | Verdict::StandbyNotReplicating => false,
        }
    }
}

impl Counts {
    /// The numbers of a cluster as its agents tell them. Whether a standby replicates it says best when it was just asked;
    /// once every lease has ended no primary may feed anybody, and whatever still does counts for nothing.
    pub fn of(cluster: &Cluster, view: &View, primary: PrimaryAnswer) -> Counts {
        let replicates = |id: &InstanceId| match view.answer(id, cluster.epoch.next()) {
            Some(answer) => answer.hears_primary,
            None => view.streams(cluster, id),
        };
        let has_lapsed = view.now > view.leases_lapse_at;
        let is_standby = |id: &&InstanceId| cluster.primary.as_ref() != Some(*id);
        let standbys = || cluster.members.keys().filter(is_standby);
        let reachable = || standbys().filter(|id| view.fresh(id).is_some());
        Counts {
            primary,
            known: standbys().count(),
            reachable: reachable().count(),
            replicating: match has_lapsed {
                true => 0,
                false => reachable().filter(|id| replicates(id)).count(),
            },
        }
    }

    /// What they say.
    pub fn verdict(self) -> Verdict {
        let Counts {
            known,
            reachable,
            replicating,
            ..
        } = self;
        let all_replicate = replicating >= known;
        match self.primary {
            PrimaryAnswer::Serves | PrimaryAnswer::Refuses => match replicating {
                _ if all_replicate => Verdict::Well,
                0 => Verdict::AllStandbyNotReplicating,
                _ => Verdict::StandbyNotReplicating,
            },
            PrimaryAnswer::Nothing => match (replicating, reachable) {
                _ if known == 0 => Verdict::DeadPrimaryWithoutStandbys,
                _ if all_replicate => Verdict::UnreachablePrimary,
                (0, 1..) => Verdict::DeadPrimary,
                (0, 0) | (1.., _) => Verdict::DeadPrimaryAndSomeStandbys,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 4;

    fn every_row() -> impl Iterator<Item = Counts> {
        let answers = [
            PrimaryAnswer::Serves,
            PrimaryAnswer::Refuses,
            PrimaryAnswer::Nothing,
        ];
        let known = answers
            .into_iter()
            .flat_map(|primary| (0..=MOST).map(move |known| (primary, known)));
        let reachable =
            known.flat_map(|(primary, known)| (0..=known).map(move |it| (primary, known, it)));
        reachable.flat_map(|(primary, known, reachable)| {
            (0..=reachable).map(move |replicating| Counts {
                primary,
                known,
                reachable,
                replicating,
            })
        })
    }

    /// The rows as they stand in the table, each with the rule in its words.
    #[test]
    fn a10_every_row_has_its_code() {
        use Verdict as V;
        let mut seen = std::collections::BTreeSet::new();
        for counts in every_row() {
            let up = counts.primary != PrimaryAnswer::Nothing;
            let (n, v, r) = (counts.known, counts.reachable, counts.replicating);
            let rows = [
                (V::DeadPrimaryWithoutStandbys, !up && n == 0),
                (V::DeadPrimary, !up && v > 0 && r == 0),
                (
                    V::DeadPrimaryAndSomeStandbys,
                    !up && n > 0 && (v == 0 || 0 < r && r < n),
                ),
                (V::UnreachablePrimary, !up && n > 0 && r == n),
                (V::AllStandbyNotReplicating, up && n > 0 && r == 0),
                (V::StandbyNotReplicating, up && 0 < r && r < n),
                (V::Well, up && r == n),
            ];
            let expected: Vec<_> = rows.iter().filter(|(_, fits)| *fits).collect();
            assert_eq!(expected.len(), 1, "{counts:?}: {expected:?}");
            assert_eq!(counts.verdict(), expected[0].0, "{counts:?}");
            seen.insert(counts.verdict());
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
    }

    #[test]
    fn a10_who_replicates_forbids_a_failover() {
        for counts in every_row() {
            let may_act = counts.verdict().is_actionable();
            let (is_down, r) = (counts.primary == PrimaryAnswer::Nothing, counts.replicating);
            assert!(!may_act || is_down && r == 0, "{counts:?}");
            assert_eq!(
                may_act,
                is_down && r == 0 && counts.reachable > 0,
                "{counts:?}"
            );
        }
    }

    /// A refusal is an answer of a live server.
    #[test]
    fn a10_a_refusal_is_no_death() {
        let refuses = |counts: &Counts| counts.primary == PrimaryAnswer::Refuses;
        for counts in every_row().filter(refuses) {
            let as_served = Counts {
                primary: PrimaryAnswer::Serves,
                ..counts
            };
            assert_eq!(counts.verdict(), as_served.verdict());
            assert!(!counts.verdict().is_actionable());
        }
    }
}
