//! The record of a durability that is changed: asked for, confirmed, and how that ended.
//!
//! It burns no epoch. A handover breaks the confirming off, whose late steps are refused by their epoch, and leaves what was
//! asked for: it is confirmed anew under the new primary, and until then the weaker rule counts.

use crate::broken;
use crate::model::{ChangePhase, Durability, DurabilityChange, InstanceId, Order, Standing};
use crate::recovery::{Reason, Rejection};

use super::directives::check_words;
use super::history::Kind;
use super::{ClusterState, NewDurability, Reply};

impl ClusterState {
    /// Somebody asks for it, once or again. A weaker one is recorded at once, and put in force then; but for `async`, for
    /// which leases have to end first. What is recorded already takes back what was asked for before, however far that is.
    pub(super) fn plan_durability(&mut self, new: NewDurability, at: u64) -> Reply {
        let NewDurability { to, owner, reason } = new;
        let asked = self.cluster.durability_change.as_ref().map(|it| it.to);
        if asked.unwrap_or(self.cluster.durability) == to {
            return Ok(self.order());
        }
        self.check_durability(to)?;
        check_words(&owner, ("reason", &reason))?;
        if !self.is_established() {
            return Err(Rejection::WrongPhase);
        }
        let recorded = self.cluster.durability;
        let why = format!("{to} was asked for by {owner}");
        self.end_durability("superseded", &why, at);
        self.number += 1;
        if to == recorded {
            return Ok(self.order());
        }
        let cause = format!("from {recorded} to {to}, asked for by {owner}: {reason}");
        let epoch = self.cluster.epoch;
        self.history
            .begin(at, Kind::Durability, epoch, None, None, &cause);
        let is_weaker = to.standby_acks() < recorded.standby_acks();
        // Nothing less is in force before that, and a lease or a word may last longer than such a failover would wait.
        let is_at_once = is_weaker && (to != Durability::Async || broken!(LongerLeases));
        self.cluster.durability_change = Some(DurabilityChange {
            to,
            owner,
            reason,
            since: self.number,
            phase: ChangePhase::Waiting,
        });
        if is_at_once && !broken!(WeakerFirst) {
            self.cluster.durability = to;
            let outcome = format!("{to} is recorded, and put in force by now");
            self.end_durability("done", &outcome, at);
        }
        Ok(self.order())
    }

    /// Whether it can be changed to this one at all.
    fn check_durability(&self, to: Durability) -> Result<(), Rejection> {
        let invalid = |why: String| Err(Rejection::Invalid(format!("durability: {why}")));
        let from = self.cluster.durability;
        let others = |(id, _): &(&InstanceId, _)| self.cluster.primary.as_ref() != Some(*id);
        let standbys = self.cluster.members.iter().filter(others);
        let counting = standbys.filter(|(_, member)| member.standing == Standing::Voter);
        let (counting, needed) = (counting.count(), to.standby_acks());
        if needed == 0 && to != Durability::Async {
            return invalid("a quorum needs at least 1 standby".to_owned());
        }
        if needed >= self.cluster.voters() {
            let members = self.cluster.voters();
            return invalid(format!(
                "{to} needs at least {} members, not {members}",
                needed + 1
            ));
        }
        if counting < needed && needed > from.standby_acks() {
            return invalid(format!(
                "{to} needs {needed} standbys, and {counting} count now; bring the others back first"
            ));
        }
        Ok(())
    }

    /// The phase of the change, if this order was given in it.
    fn change_of(&mut self, order: Order) -> Option<&mut DurabilityChange> {
        let is_of_epoch = order.epoch == self.cluster.epoch && order.number <= self.number;
        let change = self.cluster.durability_change.as_mut();
        let is_late = |it: &DurabilityChange| order.number < it.since && !broken!(LateConfirmation);
        change.filter(|it| is_of_epoch && !is_late(it))
    }

    /// From here on the names of the record are those of the stronger rule. Before `async` they stay, and no commit is
    /// needed: that there is none may be why it was asked for.
    pub(super) fn begin_confirming(&mut self, order: Order, at: u64) -> Reply {
        let is_open = self.cluster.first_commit.is_some() || self.cluster.becomes_async();
        if !self.is_established() || !is_open {
            return Err(Rejection::WrongPhase);
        }
        self.turn_to(ChangePhase::Confirming, order, "", at)
    }

    pub(super) fn stop_confirming(&mut self, order: Order, reason: &Reason, at: u64) -> Reply {
        self.turn_to(ChangePhase::Waiting, order, &reason.to_string(), at)
    }

    fn turn_to(&mut self, phase: ChangePhase, order: Order, why: &str, at: u64) -> Reply {
        let since = self.number + 1;
        let change = self.change_of(order).ok_or(Rejection::Stale)?;
        if change.phase == phase || change.phase == ChangePhase::Lapsing {
            return Err(Rejection::WrongPhase);
        }
        (change.phase, change.since) = (phase, since);
        self.number = since;
        if let Some(record) = self.history.durability() {
            record.note(at, phase.name(), why);
        }
        Ok(self.order())
    }

    /// Every walsender runs the stronger rule, and a commit was acknowledged after that: so everything that was acknowledged
    /// is held by as many as that asks for. What was proven of other names proves nothing of those that are recorded now.
    pub(super) fn record_confirmed(
        &mut self,
        order: Order,
        instance: &InstanceId,
        names: &str,
        at: u64,
    ) -> Reply {
        let is_primary = self.cluster.primary.as_ref() == Some(instance);
        let is_as_recorded = self.cluster.synchronous_standby_names(instance) == names;
        let established = self.is_established();
        let change = self.change_of(order).ok_or(Rejection::Stale)?;
        if !is_primary || !established || change.phase != ChangePhase::Confirming {
            return Err(Rejection::WrongPhase);
        }
        if !is_as_recorded {
            return Err(Rejection::Stale);
        }
        let to = change.to;
        if self.cluster.becomes_async() {
            return self.turn_to(ChangePhase::Lapsing, order, "", at);
        }
        self.cluster.durability = to;
        self.number += 1;
        let outcome = format!("{to}: every walsender runs it, and a commit was acknowledged");
        self.end_durability("done", &outcome, at);
        Ok(self.order())
    }

    /// No lease, and no word, lasts longer than a failover of an async cluster waits. The order must be of this phase: what
    /// was granted before another one may last still.
    pub(super) fn record_lapsed(&mut self, order: Order, at: u64) -> Reply {
        let established = self.is_established();
        let change = self.change_of(order).ok_or(Rejection::Stale)?;
        if !established || change.phase != ChangePhase::Lapsing {
            return Err(Rejection::WrongPhase);
        }
        let to = change.to;
        self.cluster.durability = to;
        self.number += 1;
        let outcome = format!("{to} is recorded, and put in force by now");
        self.end_durability("done", &outcome, at);
        Ok(self.order())
    }

    /// A handover begins, under the rule that is recorded.
    pub(super) fn durability_meets_handover(&mut self, at: u64) {
        let since = self.number;
        let Some(change) = &mut self.cluster.durability_change else {
            return;
        };
        change.since = since;
        if change.phase != ChangePhase::Waiting {
            change.phase = ChangePhase::Waiting;
            if let Some(record) = self.history.durability() {
                let why = "a handover began; it begins again under the new primary";
                record.note(at, change.phase.name(), why);
            }
        }
    }

    /// A group begins anew from a saved state, since when the durability may have been weakened. The weakest that it can be
    /// is recorded, and what was saved is asked for again, unless the group was too old then to keep such a wish.
    pub(super) fn weaken_for_old_state(&mut self, at: u64, keeps_wish: bool) {
        let weakest = Durability::Quorum { standbys: 1 };
        let saved = self.cluster.durability;
        let asked = self.cluster.durability_change.as_ref().map(|it| it.to);
        // One standby may hold what a quorum acknowledged since, also if that was recorded after `async` was saved.
        let may_be_quorum = keeps_wish && self.cluster.voters() > 1;
        if saved.standby_acks() > 1 || saved == Durability::Async && may_be_quorum {
            self.cluster.durability = weakest;
        }
        let wanted = asked.unwrap_or(saved);
        let why = "the group of peers began anew from a saved state";
        self.end_durability("gave_up", why, at);
        if wanted == self.cluster.durability || !keeps_wish {
            return;
        }
        let recorded = self.cluster.durability;
        let cause = match wanted {
            Durability::Async => format!("from {recorded} to {wanted}: {why}"),
            Durability::Quorum { .. } => format!(
                "from {recorded} to {wanted}: {why}, and until this is confirmed less may be in force"
            ),
        };
        let epoch = self.cluster.epoch;
        self.history
            .begin(at, Kind::Durability, epoch, None, None, &cause);
        self.cluster.durability_change = Some(DurabilityChange {
            to: wanted,
            owner: "primacy".to_owned(),
            reason: why.to_owned(),
            since: self.number,
            phase: ChangePhase::Waiting,
        });
    }

    fn end_durability(&mut self, event: &str, why: &str, at: u64) {
        if self.cluster.durability_change.take().is_some()
            && let Some(record) = self.history.durability()
        {
            record.end(at, event, why);
        }
    }
}
