//! How what is seen of a cluster without agents changes its record.

use crate::broken;
use crate::model::{CopyMark, InstanceId, Order, SqlMember};
use crate::recovery::Rejection;
use crate::state::Reply;
use crate::state::history::Kind;

use super::{Observed, SqlState};

impl SqlState {
    pub(super) fn observe(&mut self, order: Order, observed: Observed, at: u64) -> Reply {
        if order != self.order() {
            return Err(Rejection::Stale);
        }
        match observed {
            Observed::Member { instance, member } => {
                let mut others = self.cluster.members.iter();
                let is_taken = |(id, it): (&InstanceId, &SqlMember)| {
                    *id != instance && it.address == member.address
                };
                if others.any(is_taken) {
                    return Err(Rejection::Exists(format!(
                        "an instance at {}",
                        member.address
                    )));
                }
                self.cluster.members.insert(instance, member);
            }
            Observed::Rule { rule } => {
                // What is weaker counts from now on, whatever is under way.
                if self.handover.is_some() && self.cluster.rule.or(&rule) != rule {
                    return Err(Rejection::WrongPhase);
                }
                self.cluster.rule = rule;
            }
            Observed::Standby { instance } => {
                let is_primary = self.cluster.primary.as_ref() == Some(&instance);
                if self.handover.is_some() || is_primary {
                    return Err(Rejection::WrongPhase);
                }
                self.cluster.told.remove(&instance);
                self.cluster.strays.remove(&instance);
            }
            Observed::Stray { instance } => {
                let is_primary = self.cluster.primary.as_ref() == Some(&instance);
                let is_member = self.cluster.members.contains_key(&instance);
                if self.handover.is_some() || is_primary || !is_member {
                    return Err(Rejection::WrongPhase);
                }
                self.cluster.strays.insert(instance);
            }
            Observed::Copy { instance, copy } => {
                if self.handover.is_some() || !self.cluster.members.contains_key(&instance) {
                    return Err(Rejection::WrongPhase);
                }
                let before = self.cluster.copies.insert(instance.clone(), copy);
                let before = before.and_then(|it| Some((it.started, it.mark?)));
                // Nothing is replaced below a server that runs, whatever becomes of its files.
                let is_another = |(started, before): (u64, CopyMark), now: CopyMark| {
                    let is_written = before.written != now.written && started != copy.started;
                    is_written || before != now && broken!(SqlWritten)
                };
                if let (Some(before), Some(now)) = (before, copy.mark)
                    && is_another(before, now)
                {
                    // What was on a branch of its own was replaced.
                    self.cluster.told.remove(&instance);
                    self.cluster.strays.remove(&instance);
                }
            }
            Observed::Primary { instance, lineage } => {
                if self.handover.is_some() || !self.cluster.members.contains_key(&instance) {
                    return Err(Rejection::WrongPhase);
                }
                let from = self.cluster.primary.replace(instance.clone());
                self.cluster.epoch = self.cluster.epoch.next();
                self.cluster.suspects.clear();
                self.cluster.told.remove(&instance);
                self.cluster.strays.remove(&instance);
                self.cluster.lineage = lineage;
                self.number = 0;
                self.quieted.take_if(|it| *it != instance);
                let cause = "it was found to be the primary";
                let epoch = self.cluster.epoch;
                self.history
                    .begin(at, Kind::Handover, epoch, from, Some(instance), cause);
                if let Some(record) = self.history.handover() {
                    record.end(at, "done", "somebody else promoted it");
                }
            }
        }
        self.moved()
    }
}
