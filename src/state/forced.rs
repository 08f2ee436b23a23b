//! The record of a forced failover: an operator's word that what cannot be proven to be anywhere else may be lost. It
//! holds for one handover, and lets nobody be elected while a lease may still be held.

use std::time::Duration;

use crate::model::{Durability, Epoch, Forced};
use crate::recovery::{Handover, Rejection};

use super::directives::check_words;
use super::{ClusterState, ForceFailover, Reply};

/// So long a word counts: time for every lease to end, and for those who can be asked to answer.
const WORD_LASTS: Duration = Duration::from_secs(120);
/// So long those are waited for who are heard and have not promised: what they hold need not be lost. A fence takes a few
/// milliseconds, on a disk that answers slowly some seconds; one that takes longer may take for ever.
const PATIENCE: Duration = Duration::from_secs(30);

impl ClusterState {
    /// Begins the handover, or speaks for the one that waits for promises.
    pub(super) fn force_failover(&mut self, new: ForceFailover, at: u64) -> Reply {
        let ForceFailover {
            seen,
            owner,
            reason,
            loss,
            accepted,
            old_is_off,
        } = new;
        if seen != self.cluster.epoch {
            return Err(Rejection::Stale);
        }
        check_words(&owner, ("reason", &reason))?;
        if self.cluster.durability == Durability::Async {
            let why = "an async cluster waits for no proof".to_owned();
            return Err(Rejection::Invalid(why));
        }
        let cause = format!("forced by {owner}: {reason}");
        let word = format!("what lies beyond {accepted} may be lost; {loss}");
        // A second word does not make anybody wait again.
        let before = self.cluster.forced.as_ref().map(|it| it.patient_until);
        let patient_until = before.unwrap_or(at.saturating_add(PATIENCE.as_millis() as u64));
        match &self.handover {
            None => {
                let seen: Epoch = self.cluster.epoch;
                self.begin(seen, &cause, at)?;
            }
            Some(Handover::Fencing { .. }) => {
                self.number += 1;
                if let Some(record) = self.history.handover() {
                    record.note(at, "forced", &cause);
                }
            }
            Some(
                Handover::Creating { .. }
                | Handover::Promoting { .. }
                | Handover::Repointing { .. }
                | Handover::Done,
            ) => return Err(Rejection::WrongPhase),
        }
        if let Some(record) = self.history.handover() {
            record.note(at, "accepted", &word);
        }
        self.cluster.forced = Some(Forced {
            owner,
            reason,
            until: at.saturating_add(WORD_LASTS.as_millis() as u64),
            accepted,
            patient_until,
            old_is_off,
        });
        Ok(self.order())
    }

    /// A word that is over counts no more: what was said to be lost was said of that moment.
    pub(super) fn end_word(&mut self, at: u64) {
        let is_promoting = matches!(self.handover, Some(Handover::Promoting { .. }));
        let is_over = |it: &mut Forced| !is_promoting && at > it.until;
        if self.cluster.forced.take_if(is_over).is_some()
            && let Some(record) = self.history.handover()
        {
            record.note(at, "word_ended", "nobody was elected by it in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::example::{at, cluster, id};
    use crate::model::{Incarnation, Lineage};
    use crate::recovery::{Evidence, FenceProof, Promise, Reason};
    use crate::state::example::at_rest;
    use crate::state::{Change, Command, FeatureLevel, State};

    fn state(durability: Durability) -> State {
        let before = at_rest(cluster(&["a", "b", "c"], durability));
        State {
            level: FeatureLevel::try_from(4).unwrap(),
            clusters: BTreeMap::from([(before.cluster.name.clone(), before)]),
            ..State::default()
        }
    }

    fn only(state: &State) -> &ClusterState {
        state.clusters.values().next().unwrap()
    }

    fn apply(state: &mut State, change: Change) -> Reply {
        let cluster = only(state).cluster.name.clone();
        state.apply(Command {
            cluster,
            at: 7,
            change,
        })
    }

    fn word(state: &State) -> Change {
        Change::ForceFailover(ForceFailover {
            seen: only(state).cluster.epoch,
            owner: "ana".to_owned(),
            reason: "r".repeat(240),
            loss: "how much others had is not known".to_owned(),
            accepted: at(2, 10),
            old_is_off: true,
        })
    }

    fn record(state: &mut State, evidence: Evidence) {
        let order = only(state).order();
        apply(state, Change::Record { order, evidence }).unwrap();
    }

    /// The word is kept whole, and where the one that was elected by it left off is known until somebody serves.
    #[test]
    fn an_election_by_a_word_that_comes_to_nothing_is_remembered() {
        let mut state = state(Durability::Quorum { standbys: 1 });
        let change = word(&state);
        apply(&mut state, change).unwrap();
        let history = format!("{:?}", only(&state).history);
        assert!(history.contains("what lies beyond 2:0/A may be lost; how much others had"));
        let promise = Promise {
            incarnation: Some(Incarnation(1)),
            position: Some(at(2, 10)),
            running: true,
        };
        let promised = Evidence::Promised {
            instance: id("c"),
            promise,
        };
        record(&mut state, promised);
        let counted = BTreeSet::from([id("c")]);
        let elected = Evidence::Elected {
            candidate: id("c"),
            proof: FenceProof::Forced { counted },
        };
        record(&mut state, elected);
        let mut serving = state.clone();
        let (epoch, timeline) = (only(&state).cluster.epoch, only(&state).cluster.timeline);
        let instance = id("c");
        let reason = Reason::Silent { instance };
        apply(&mut state, Change::Abandon { epoch, reason }).unwrap();
        let left = BTreeMap::from([(timeline, at(2, 10))]);
        assert_eq!(only(&state).cluster.forsaken, left);
        let written = bincode::serialize(&state).unwrap();
        let read: State = bincode::deserialize(&written).unwrap();
        assert_eq!(only(&read).cluster.forsaken, left);

        serving
            .clusters
            .values_mut()
            .next()
            .unwrap()
            .cluster
            .forsaken = left;
        let promoted = Evidence::Promoted {
            instance: id("c"),
            lineage: Lineage {
                current: timeline,
                left_at: [(at(2, 10).timeline, at(2, 10).lsn)].into(),
            },
        };
        record(&mut serving, promoted);
        assert!(only(&serving).cluster.forsaken.is_empty());
    }

    #[test]
    fn an_async_cluster_needs_no_word() {
        let mut state = state(Durability::Async);
        let change = word(&state);
        let refused = apply(&mut state, change).unwrap_err();
        assert!(matches!(refused, Rejection::Invalid(_)), "{refused}");
        assert_eq!(only(&state).handover, None);
    }
}
