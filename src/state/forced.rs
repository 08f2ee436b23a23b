//! The record of a forced failover: an operator's word that what cannot be proven to be anywhere else may be lost. It
//! holds for one handover, and lets nobody be elected while a lease may still be held.

use std::time::Duration;

use crate::model::{Epoch, Forced};
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
        } = new;
        if seen != self.cluster.epoch {
            return Err(Rejection::Stale);
        }
        check_words(&owner, ("reason", &reason))?;
        // The last of it may be cut.
        let cause =
            format!("forced by {owner}: {reason}; what lies beyond {accepted} may be lost; {loss}");
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
        self.cluster.forced = Some(Forced {
            owner,
            reason,
            until: at.saturating_add(WORD_LASTS.as_millis() as u64),
            accepted,
            patient_until,
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
