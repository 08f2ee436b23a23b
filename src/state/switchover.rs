//! The record of a switchover: asked for, begun, and how it ended. It is a wish and no proof: who is elected is decided
//! as in every other handover.

use crate::broken;
use crate::model::switchover::{LONGEST_WAIT, Progress};
use crate::model::{Epoch, InForce, InstanceId, Order, PromotionRule, Switchover, WalPosition};
use crate::recovery::{FenceProof, Handover, Rejection};

use super::directives::check_words;
use super::history::Kind;
use super::{ClusterState, NewSwitchover, Reply};

/// Why one began, in the words of a history. Errors: one of them is empty or too long.
pub fn asked_for(owner: &str, reason: &str) -> Result<String, Rejection> {
    check_words(owner, ("reason", reason))?;
    Ok(format!("asked for by {owner}: {reason}"))
}

impl ClusterState {
    /// Somebody asks for it. What may change until it begins is looked at again by whoever begins it.
    pub(super) fn plan_switchover(&mut self, new: NewSwitchover, said: &InForce, at: u64) -> Reply {
        let NewSwitchover {
            seen,
            to,
            length,
            owner,
            reason,
        } = new;
        if seen != self.cluster.epoch {
            return Err(Rejection::Stale);
        }
        let from = self.cluster.primary.clone();
        let from = from.filter(|_| self.handover.is_none());
        let from = from.ok_or(Rejection::WrongPhase)?;
        let invalid = |why: String| Err(Rejection::Invalid(why));
        let cause = asked_for(&owner, &reason)?;
        if length.is_zero() || length > LONGEST_WAIT {
            let longest = LONGEST_WAIT.as_secs();
            return invalid(format!("seconds: it waits from 1 to {longest} seconds"));
        }
        if let Some(asked) = &self.cluster.switchover {
            return Err(Rejection::Exists(format!("a switchover to {}", asked.to)));
        }
        match self.cluster.members.get(&to) {
            None => return Err(Rejection::Unknown(format!("instance {to}"))),
            Some(_) if to == from => return invalid(format!("to: {to} is the primary already")),
            Some(_) => {}
        }
        if said.rule(&to) == PromotionRule::MustNot && !broken!(PromotionRule) {
            let why = format!("to: by its promotion rule {to} must not be promoted");
            return invalid(why);
        }
        let held = said.holds(Some(&from)).or_else(|| said.holds(Some(&to)));
        if let Some(held) = held {
            return invalid(held.to_string());
        }
        self.number += 1;
        let epoch = self.cluster.epoch;
        let (before, after) = (Some(from.clone()), Some(to.clone()));
        self.history
            .begin(at, Kind::Switchover, epoch, before, after, &cause);
        self.cluster.switchover = Some(Switchover {
            to,
            from,
            owner,
            reason,
            until: at.saturating_add(length.as_millis() as u64),
            progress: Progress::Waiting,
        });
        Ok(self.order())
    }

    /// The primary is about to be told to shut down. From here on the record does not say whether it has.
    pub(super) fn begin_shut_down(&mut self, epoch: Epoch, at: u64) -> Reply {
        let is_early = self.handover.is_some() || epoch != self.cluster.epoch;
        let asked = self.cluster.switchover.as_mut();
        let Some(asked) = asked.filter(|it| !is_early && it.progress == Progress::Waiting) else {
            return Err(Rejection::Stale);
        };
        asked.progress = Progress::ShuttingDown;
        let from = asked.from.to_string();
        self.number += 1;
        if let Some(record) = self.history.switchover() {
            record.note(at, "shutting_down", &from);
        }
        Ok(self.order())
    }

    /// The primary is down; its agent says where its WAL ends.
    pub(super) fn record_shut_down(
        &mut self,
        instance: &InstanceId,
        end: WalPosition,
        at: u64,
    ) -> Reply {
        let is_early = self.handover.is_some();
        let asked = self.cluster.switchover.as_mut();
        let is_told = |it: &&mut Switchover| {
            let may_be = match it.progress {
                // Nor is it given up any more: it went down before its agent knew.
                Progress::ShuttingDown | Progress::CalledOff { .. } => true,
                Progress::Waiting | Progress::Down { .. } => false,
            };
            !is_early && it.from == *instance && may_be
        };
        let asked = asked.filter(is_told).ok_or(Rejection::WrongPhase)?;
        asked.progress = Progress::Down { end };
        self.number += 1;
        if let Some(record) = self.history.switchover() {
            record.note(at, "shut_down", &format!("{instance}, WAL ends at {end}"));
        }
        Ok(self.order())
    }

    /// The leader gives it up while the primary serves. Once the primary may have been told to shut down, that is not over
    /// before its agent knows: what an earlier leader said could come after it.
    pub(super) fn give_up_switchover(&mut self, epoch: Epoch, why: String, at: u64) -> Reply {
        let is_over = self.handover.is_some() || epoch != self.cluster.epoch;
        let asked = self.cluster.switchover.as_mut().filter(|_| !is_over);
        let asked = asked.ok_or(Rejection::Stale)?;
        match asked.progress {
            Progress::Waiting => self.end_switchover("gave_up", &why, at),
            Progress::ShuttingDown if broken!(Recall) => self.end_switchover("gave_up", &why, at),
            Progress::ShuttingDown => {
                let order = Order {
                    epoch,
                    number: self.number + 1,
                };
                if let Some(record) = self.history.switchover() {
                    record.note(at, "called_off", &why);
                }
                asked.progress = Progress::CalledOff { order, why };
            }
            Progress::Down { .. } | Progress::CalledOff { .. } => return Err(Rejection::Stale),
        }
        self.number += 1;
        Ok(self.order())
    }

    /// The agent of the primary obeys nothing that told it to shut down any more.
    pub(super) fn end_called_off(&mut self, admitted: Order, at: u64) -> Reply {
        let asked = self.cluster.switchover.as_ref();
        let asked = asked.filter(|_| self.handover.is_none());
        let Some(Progress::CalledOff { order, why }) = asked.map(|it| &it.progress) else {
            return Err(Rejection::Stale);
        };
        if admitted < *order || admitted.epoch != order.epoch {
            return Err(Rejection::Stale);
        }
        let why = why.clone();
        self.end_switchover("gave_up", &why, at);
        self.number += 1;
        Ok(self.order())
    }

    /// Somebody takes it back; only while nothing was done for it.
    pub(super) fn call_off(&mut self, seen: Epoch, at: u64) -> Reply {
        let asked = self.cluster.switchover.as_ref();
        let asked = asked.filter(|_| seen == self.cluster.epoch);
        let asked = asked.ok_or(Rejection::Stale)?;
        if asked.has_begun() {
            return Err(Rejection::WrongPhase);
        }
        self.end_switchover("called_off", "somebody called it off while it waited", at);
        self.number += 1;
        Ok(self.order())
    }

    /// A handover begins: for the switchover, or before it could begin.
    pub(super) fn switchover_meets_handover(&mut self, cause: &str, at: u64) {
        let asked = self.cluster.switchover.as_ref();
        if asked.is_some_and(|it| !it.has_begun()) {
            let why = format!("a handover began first: {cause}");
            self.end_switchover("superseded", &why, at);
        }
    }

    /// Whether the one that is being promoted may lack something that was acknowledged: its election rests on the end of
    /// leases alone, or on somebody's word, and the primary before was not seen to end.
    pub(super) fn may_have_lost(&self) -> bool {
        let Some(Handover::Promoting {
            position, proof, ..
        }) = &self.handover
        else {
            return false;
        };
        let asked = self.cluster.switchover.as_ref().map(|it| &it.progress);
        let holds_all = matches!(asked, Some(Progress::Down { end }) if position >= end);
        match proof {
            FenceProof::LeaseLapsed => !holds_all,
            FenceProof::Forced { .. } => true,
            FenceProof::Quorum { .. } | FenceProof::OldPrimaryPromised | FenceProof::Created => {
                false
            }
        }
    }

    /// A primary was promoted; `may_have_lost` if that was a failover after all.
    pub(super) fn switchover_meets_primary(
        &mut self,
        primary: &InstanceId,
        may_have_lost: bool,
        at: u64,
    ) {
        let Some(asked) = &self.cluster.switchover else {
            return;
        };
        if may_have_lost {
            let why = format!(
                "{primary} is the primary, by a failover: {} failed before it was down, and what was not replicated is lost",
                asked.from
            );
            self.end_switchover("gave_up", &why, at);
            return;
        }
        if asked.to == *primary {
            self.end_switchover("done", &format!("{primary} is the primary"), at);
            return;
        }
        let again = if asked.from == *primary { " again" } else { "" };
        let why = format!(
            "{primary} is the primary{again}: {} could not be shown to hold all that {} wrote",
            asked.to, asked.from
        );
        self.end_switchover("gave_up", &why, at);
    }

    pub(super) fn end_switchover(&mut self, event: &str, why: &str, at: u64) {
        if self.cluster.switchover.take().is_some()
            && let Some(record) = self.history.switchover()
        {
            record.end(at, event, why);
        }
    }
}

#[cfg(test)]
mod tests;
