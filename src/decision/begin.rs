//! Whether a handover may begin: only if a proof can be reached, and nobody who counts still hears the primary.
//! Fencing one standby of a healthy pair and then finding no quorum would itself be an outage.

use crate::broken;
use crate::model::{Durability, InstanceId, Standing, View};
use crate::recovery::proof::promises_needed;
use crate::recovery::{Action, Reason, Step};
use crate::state::{Change, ClusterState};

use super::{ASK_AGAIN_AFTER, Finding, Plan};

/// Proposes the begin, or asks on and says what it waits for.
pub(super) fn prepare(plan: &mut Plan, state: &ClusterState, view: &View, finding: &Finding) {
    let begin = Change::Begin {
        seen: state.cluster.epoch,
        cause: finding.to_string(),
    };
    if broken!(PrePromises) {
        plan.proposals.push(begin);
        return;
    }
    let poll = Poll::of(state, view);
    let veto = poll.veto(finding);
    match poll.waits_for(&veto) {
        None => plan.proposals.push(begin),
        Some(reason) => {
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
    reachable: Vec<&'a InstanceId>,
    /// Reachable, and no answer yet that may be acted on.
    unanswered: Vec<&'a InstanceId>,
    /// Would promise, and their promise would count.
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
    fn of(state: &'a ClusterState, view: &'a View) -> Self {
        let members = &state.cluster.members;
        let answer = |id: &InstanceId| view.answer(id, state.cluster.epoch.next());
        let counts = |id: &InstanceId| {
            let member = &members[id];
            answer(id).is_some_and(|answer| {
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
            reachable,
        }
    }

    fn veto(&self, finding: &Finding) -> Veto {
        let cluster = &self.state.cluster;
        let enough = cluster.durability.standby_acks().max(1);
        // Whoever has not answered yet may still hear the primary. An async cluster would have to wait for
        // the lease anyway, so there even those who cannot be asked are given the benefit of the doubt.
        let unheard = match cluster.durability {
            Durability::Async => {
                let answered = self.reachable.len() - self.unanswered.len();
                (cluster.members.len() - 1).saturating_sub(answered)
            }
            Durability::Quorum { .. } => self.unanswered.len(),
        };
        if broken!(Veto) || !finding.standbys_may_veto(self.view) {
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
        match self.state.cluster.durability {
            Durability::Async => !self.promising.is_empty() && self.unanswered.is_empty(),
            Durability::Quorum { .. } => {
                // The promise of the instance elected last is a proof as well.
                let holders = &self.state.cluster.holders;
                let last_promises = self.promising.iter().any(|id| holders.iter().eq([*id]));
                last_promises || self.promising.len() >= promises_needed(&self.state.cluster)
            }
        }
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
        } else if self.unanswered.is_empty() {
            let all = self.state.cluster.members.keys();
            let missing = all.filter(|id| !self.promising.contains(id));
            let why = "would not promise or cannot be asked";
            Reason::NotProven {
                promised: self.promising.len(),
                needed: promises_needed(&self.state.cluster),
                missing: missing.map(|id| (id.clone(), why.to_owned())).collect(),
            }
        } else {
            Reason::Asking
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
