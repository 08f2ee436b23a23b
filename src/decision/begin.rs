//! Whether a handover may begin: only if a proof can be reached, and nobody who counts still hears the primary.
//! Fencing one standby of a healthy pair and then finding no quorum would itself be an outage. So would be taking
//! down a primary that lives, however badly it serves, when nobody could do better.

use crate::broken;
use crate::model::view::{ANSWER_STALE_AFTER, SILENT_AFTER};
use crate::model::{Durability, InstanceId, Standing, Timestamp, View};
use crate::recovery::proof::{may_be_chosen, promises_needed};
use crate::recovery::{Action, Reason, Step};
use crate::state::{Change, ClusterState};

use super::{ASK_AGAIN_AFTER, Finding, Plan};

/// Proposes the begin, or asks on and says what it waits for.
pub(super) fn prepare(plan: &mut Plan, state: &ClusterState, view: &View, finding: &Finding) {
    let begin = Change::Begin {
        seen: state.cluster.epoch,
        cause: match state
            .cluster
            .switchover
            .as_ref()
            .filter(|it| it.has_begun())
        {
            Some(asked) => asked.to_string(),
            None => finding.to_string(),
        },
    };
    if broken!(PrePromises) {
        plan.proposals.push(begin);
        return;
    }
    let poll = Poll::of(state, view, finding);
    let veto = poll.veto();
    let may_begin = finding.is_actionable() || broken!(Veto);
    match poll.waits_for(&veto) {
        None if may_begin => plan.proposals.push(begin),
        reason => {
            let reason = reason.unwrap_or(Reason::Asking);
            plan.waiting.push((None, reason));
            let asked = poll.to_ask(&veto).into_iter();
            plan.steps.extend(asked.map(|instance| Step {
                instance: instance.clone(),
                order: state.order(),
                action: Action::Ask {
                    epoch: state.cluster.epoch.next(),
                },
            }));
        }
    }
}

/// What the members answered when they were asked about the next epoch.
struct Poll<'a> {
    state: &'a ClusterState,
    view: &'a View,
    finding: &'a Finding,
    reachable: Vec<&'a InstanceId>,
    /// Reachable, and no answer yet that may be acted on.
    unanswered: Vec<&'a InstanceId>,
    /// Would promise, and their promise would count. Beside a primary that lives, only those whose own disk
    /// takes writes.
    promising: Vec<&'a InstanceId>,
    /// Hear the primary.
    hearing: Vec<&'a InstanceId>,
}

/// What standbys say against a failover.
enum Veto {
    /// Nothing, or nothing that counts over this finding.
    Impossible,
    /// Who has not answered may still make it.
    Open,
    /// Enough of them hear the primary.
    Made,
}

impl<'a> Poll<'a> {
    fn of(state: &'a ClusterState, view: &'a View, finding: &'a Finding) -> Self {
        let members = &state.cluster.members;
        let answer = |id: &InstanceId| view.answer(id, state.cluster.epoch.next());
        let is_fit =
            |id: &InstanceId| finding.living_primary().is_none() || view.disk_trouble(id).is_none();
        let counts = |id: &InstanceId| {
            let member = &members[id];
            answer(id).filter(|_| is_fit(id)).is_some_and(|answer| {
                answer.would_promise
                    && member.standing == Standing::Voter
                    && answer.incarnation == Some(member.incarnation)
            })
        };
        let hears = |id: &InstanceId| answer(id).is_some_and(|answer| answer.hears_primary);
        let fresh = members.keys().filter(|id| view.fresh(id).is_some());
        let reachable: Vec<_> = fresh.collect();
        let of = |is: &dyn Fn(&InstanceId) -> bool| {
            let those = reachable.iter().copied();
            those.filter(|id| is(id)).collect()
        };
        Poll {
            unanswered: of(&|id| answer(id).is_none()),
            promising: of(&counts),
            hearing: of(&hears),
            state,
            view,
            finding,
            reachable,
        }
    }

    fn veto(&self) -> Veto {
        let cluster = &self.state.cluster;
        // A single standby that hears the primary contradicts its silence. What else may be wrong, only as many do as a
        // commit needs: a primary that serves badly may never end its lease.
        let enough = match self.finding.is_of_silence() {
            true => 1,
            false => cluster.durability.standby_acks().max(1),
        };
        // A standby that has not answered yet may still hear the primary. One that cannot answer may never do so,
        // and the lease of a primary that lives never ends.
        let living = self.finding.living_primary();
        let is_open = |id: &&InstanceId| {
            let is_primary = cluster.primary.as_ref() == Some(*id);
            let has_answered = self.view.answer(id, cluster.epoch.next()).is_some();
            let owes = living.is_none() || !self.is_excused(id);
            !is_primary && !has_answered && owes
        };
        // Where the lease of a silent primary would have to be waited for anyway, even those who cannot be asked
        // are given the benefit of the doubt.
        let unheard = if cluster.failover_waits_for_leases() && living.is_none() {
            cluster.members.keys().filter(is_open).count()
        } else {
            self.unanswered.iter().copied().filter(is_open).count()
        };
        if broken!(Veto) || !self.finding.standbys_may_veto(self.view) {
            Veto::Impossible
        } else if self.hearing.len() >= enough {
            Veto::Made
        } else if self.hearing.len() + unheard >= enough {
            Veto::Open
        } else {
            Veto::Impossible
        }
    }

    /// Whether the promises would prove that the old primary acknowledges nothing and that one of those who
    /// promise holds every acknowledged commit.
    fn proves(&self) -> bool {
        let cluster = &self.state.cluster;
        let living = self.finding.living_primary();
        let is_open = |id: &&InstanceId| living != Some(*id) && may_be_chosen(id, self.view);
        if (living.is_some() || !self.promising.is_empty()) && !self.promising.iter().any(is_open) {
            // Nobody could take its place.
            return false;
        }
        match cluster.durability {
            Durability::Async => {
                let mut unanswered = self.unanswered.iter();
                !self.promising.is_empty() && !unanswered.any(|id| self.is_awaited(id))
            }
            Durability::Quorum { .. } => {
                // The promise of the instance elected last is a proof as well.
                let is_last = |id: &&InstanceId| cluster.holders.iter().eq([*id]);
                let last_promises = living.is_none() && self.promising.iter().any(is_last);
                last_promises || self.promising.len() >= promises_needed(cluster)
            }
        }
    }

    /// Whether an answer may still come that an async cluster is better off with. That of a primary whose lease
    /// has ended is not needed.
    fn is_awaited(&self, id: &InstanceId) -> bool {
        let has_lapsed = self.view.now > self.view.leases_lapse_at;
        let is_primary = self.state.cluster.primary.as_ref() == Some(id);
        !(self.is_excused(id) || is_primary && has_lapsed)
    }

    /// Whether an agent that reports may have no answer to give: its disk fails, or it was asked in vain. It is
    /// fenced like everybody else, so it still has its chance.
    fn is_excused(&self, id: &InstanceId) -> bool {
        self.view.disk_fails(id) || self.was_asked_in_vain(id)
    }

    /// Whether something failed a moment ago when an answer had long been due. The view does not say which
    /// command that was; who has answered within its time is not found guilty by another one.
    fn was_asked_in_vain(&self, id: &InstanceId) -> bool {
        let Some(failure) = self.view.failure(id, self.state.order()) else {
            return false;
        };
        let seen = self.view.instances.get(id);
        let due = match seen.and_then(|seen| seen.answer.as_ref()) {
            Some((at, _)) => at.after(ANSWER_STALE_AFTER),
            None => Timestamp::default(),
        };
        failure.at > due && self.view.now.since(failure.at) <= SILENT_AFTER
    }

    /// Whether operators said of all who would promise that they must not be promoted.
    fn are_all_forbidden(&self) -> bool {
        let mut promising = self.promising.iter();
        !self.promising.is_empty() && promising.all(|id| !may_be_chosen(id, self.view))
    }

    /// None if nothing stands in the way.
    fn waits_for(&self, veto: &Veto) -> Option<Reason> {
        let proves = self.proves();
        match veto {
            Veto::Made => {
                let by = self.hearing.iter().map(|id| (*id).clone()).collect();
                return Some(Reason::Vetoed { by });
            }
            Veto::Impossible if proves => return None,
            Veto::Impossible | Veto::Open => {}
        }
        Some(if self.reachable.is_empty() {
            Reason::NobodyReachable
        } else if !self.unanswered.iter().all(|id| self.is_excused(id)) {
            Reason::Asking
        } else if proves {
            // Who cannot be asked may still hear the primary, until its lease has ended.
            let by = self.state.cluster.holders.iter().cloned().collect();
            Reason::LeaseMayBeHeld { by }
        } else if self.are_all_forbidden() {
            let forbidden = self.promising.iter().map(|id| (*id).clone());
            Reason::MustNot {
                instances: forbidden.collect(),
            }
        } else {
            let all = self.state.cluster.members.keys();
            let missing = all.filter(|id| !self.promising.contains(id));
            let why = |id: &InstanceId| match self.view.disk_trouble(id) {
                Some(_) => "its own disk takes no writes",
                None if self.was_asked_in_vain(id) => "its agent reports and does not answer",
                None => "would not promise or cannot be asked",
            };
            Reason::NotProven {
                promised: self.promising.len(),
                needed: promises_needed(&self.state.cluster),
                missing: missing.map(|id| (id.clone(), why(id).to_owned())).collect(),
            }
        })
    }

    /// Who has not answered; and who vetoed a while ago, because a receiver outlives its killed primary by
    /// some milliseconds.
    fn to_ask(&self, veto: &Veto) -> Vec<&'a InstanceId> {
        let mut asked = self.unanswered.clone();
        if matches!(veto, Veto::Made) {
            let answered = |id: &InstanceId| self.view.instances.get(id)?.answer.as_ref();
            let long_ago = |id: &InstanceId| {
                answered(id).is_some_and(|(at, _)| self.view.now.since(*at) >= ASK_AGAIN_AFTER)
            };
            asked.extend(self.hearing.iter().copied().filter(|id| long_ago(id)));
        }
        asked
    }
}

#[cfg(test)]
mod tests;
