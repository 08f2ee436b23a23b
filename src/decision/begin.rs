//! Whether a handover may begin: only if a proof can be reached, and nobody who counts still hears the primary.
//! Fencing one standby of a healthy pair and then finding no quorum would itself be an outage. So would be taking
//! down a primary that lives, however badly it serves, when nobody could do better.

use crate::broken;
use crate::model::view::{ANSWER_STALE_AFTER, SILENT_AFTER};
use crate::model::{Durability, InstanceId, Standing, Timestamp, View};
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
    let poll = Poll::of(state, view, finding);
    let veto = poll.veto();
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
        let enough = cluster.durability.standby_acks().max(1);
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
        if living.is_some() && self.promising.iter().all(|id| living == Some(*id)) {
            // Nobody else could take its place.
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
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::{Plan, decide};
    use super::*;
    use crate::model::example::{at, cluster, id, order, primary, report, standby, view};
    use crate::model::{
        Answer, Database, DiskTrouble, Failure, Incarnation, Order, Stopped, Timestamp,
    };
    use crate::state::History;

    /// `a` is primary of three, and both others would promise.
    fn example(durability: Durability) -> (ClusterState, View) {
        let state = ClusterState {
            cluster: cluster(&["a", "b", "c"], durability),
            number: 5,
            elected: order(1, 2),
            handover: None,
            rejoins: BTreeMap::new(),
            history: History::default(),
        };
        let of = |name| standby(&state.cluster, name, at(2, 50));
        let a = primary(&state.cluster, "a");
        let mut view = view([("a", a), ("b", of("b")), ("c", of("c"))]);
        for name in ["b", "c"] {
            answers(&mut view, name, false);
        }
        (state, view)
    }

    fn answers(view: &mut View, name: &str, hears_primary: bool) {
        let answer = Answer {
            epoch: order(2, 0).epoch,
            would_promise: true,
            hears_primary,
            incarnation: Some(Incarnation(1)),
        };
        let now = view.now;
        view.instances.get_mut(&id(name)).unwrap().answer = Some((now, answer));
    }

    fn fill_disk(view: &mut View, name: &str, seconds: u64) {
        view.instances.get_mut(&id(name)).unwrap().report.disk = Some(DiskTrouble {
            lasts: Duration::from_secs(seconds),
            still_for: Duration::ZERO,
            refusal: Some("no space left".to_owned()),
        });
    }

    fn silence_server(view: &mut View, seconds: u64) {
        let silent_for = Duration::from_secs(seconds);
        let database = Database::Unresponsive { silent_for };
        view.instances.get_mut(&id("a")).unwrap().report = report(database);
    }

    fn begins(plan: &Plan) -> bool {
        let is_begin = |change: &Change| matches!(change, Change::Begin { .. });
        plan.proposals.iter().any(is_begin)
    }

    const QUORUM: Durability = Durability::Quorum { standbys: 1 };

    #[test]
    fn a_primary_with_a_full_disk_is_replaced_whoever_hears_it() {
        for durability in [QUORUM, Durability::Async] {
            let (state, mut view) = example(durability);
            for name in ["b", "c"] {
                answers(&mut view, name, true);
            }
            fill_disk(&mut view, "a", 4);
            assert_eq!(decide(&state, &view), Plan::default(), "it may be busy");
            fill_disk(&mut view, "a", 5);
            let plan = decide(&state, &view);
            assert_eq!(plan.findings[0].code(), "FailingDisk");
            let says = plan.findings[0].to_string();
            assert!(says.contains("primary a") && says.contains("no space left"));
            assert!(begins(&plan), "{durability}");
        }
    }

    #[test]
    fn nobody_is_fenced_for_standbys_that_could_not_write_either() {
        let (state, mut view) = example(QUORUM);
        fill_disk(&mut view, "a", 9);
        fill_disk(&mut view, "b", 1);
        let plan = decide(&state, &view);
        assert!(!begins(&plan), "b and c are needed");
        assert!(matches!(plan.waiting[0].1, Reason::NotProven { .. }));
        let (state, mut view) = example(Durability::Async);
        fill_disk(&mut view, "a", 9);
        fill_disk(&mut view, "b", 1);
        assert!(begins(&decide(&state, &view)), "c is enough");
        fill_disk(&mut view, "c", 1);
        assert!(!begins(&decide(&state, &view)));
    }

    #[test]
    fn a_standby_with_a_full_disk_is_only_reported() {
        let (state, mut view) = example(QUORUM);
        fill_disk(&mut view, "b", 9);
        let plan = decide(&state, &view);
        assert_eq!(plan.findings.len(), 1);
        assert_eq!(
            (plan.findings[0].code(), begins(&plan)),
            ("FailingDisk", false)
        );
    }

    #[test]
    fn a_frozen_server_is_replaced_once_its_standbys_hear_nothing() {
        for durability in [QUORUM, Durability::Async] {
            let (state, mut view) = example(durability);
            answers(&mut view, "a", false);
            silence_server(&mut view, 2);
            let plan = decide(&state, &view);
            assert_eq!(plan.findings[0].code(), "UnresponsivePrimary");
            assert!(!begins(&plan), "one look may have failed");
            silence_server(&mut view, 3);
            answers(&mut view, "b", true);
            let plan = decide(&state, &view);
            let vetoed = Reason::Vetoed { by: vec![id("b")] };
            assert_eq!(plan.waiting, [(None, vetoed)]);
            answers(&mut view, "b", false);
            assert!(begins(&decide(&state, &view)), "{durability}");
        }
    }

    #[test]
    fn a_frozen_server_is_left_when_nobody_could_take_its_place() {
        let (state, mut view) = example(Durability::Async);
        silence_server(&mut view, 9);
        answers(&mut view, "a", false);
        for name in ["b", "c"] {
            view.instances.get_mut(&id(name)).unwrap().connected = false;
        }
        assert!(!begins(&decide(&state, &view)));
    }

    #[test]
    fn an_agent_whose_disk_hangs_owes_no_answer() {
        let (state, mut view) = example(Durability::Async);
        fill_disk(&mut view, "a", 9);
        assert!(begins(&decide(&state, &view)));
        // It hangs itself, and repeats what it said last.
        let (state, mut view) = example(Durability::Async);
        assert_eq!(decide(&state, &view), Plan::default());
        view.leases_lapse_at = Timestamp(view.now.0 - 1);
        let plan = decide(&state, &view);
        assert_eq!(plan.findings[0].code(), "DeadPrimary");
        assert!(begins(&plan));
    }

    fn fails(view: &mut View, name: &str, order: Order, ago: u64) {
        let failure = Failure {
            order,
            at: Timestamp(view.now.0 - ago),
            reason: "ask brought no outcome within 400 ms".to_owned(),
        };
        view.instances.get_mut(&id(name)).unwrap().failure = Some(failure);
    }

    fn forgets(view: &mut View, name: &str) {
        view.instances.get_mut(&id(name)).unwrap().answer = None;
    }

    #[test]
    fn who_is_asked_in_vain_is_not_waited_for() {
        let (state, mut view) = example(Durability::Async);
        view.instances.get_mut(&id("a")).unwrap().report = report(Database::Stopped(Stopped::Died));
        answers(&mut view, "a", false);
        forgets(&mut view, "c");
        assert_eq!(decide(&state, &view).waiting, [(None, Reason::Asking)]);
        fails(&mut view, "c", order(1, 4), 0);
        assert!(!begins(&decide(&state, &view)), "that was another question");
        fails(&mut view, "c", state.order(), 5_000);
        assert!(!begins(&decide(&state, &view)), "that is long ago");
        fails(&mut view, "c", state.order(), 100);
        assert!(begins(&decide(&state, &view)));
        // It has answered within its time, so what failed then was something else.
        answers(&mut view, "c", false);
        let c = view.instances.get_mut(&id("c")).unwrap();
        c.answer.as_mut().unwrap().0 = Timestamp(view.now.0 - 510);
        assert!(!begins(&decide(&state, &view)));
    }

    #[test]
    fn who_is_asked_in_vain_shields_no_frozen_server() {
        for durability in [QUORUM, Durability::Async] {
            let (state, mut view) = example(durability);
            silence_server(&mut view, 3);
            answers(&mut view, "a", false);
            forgets(&mut view, "c");
            assert_eq!(decide(&state, &view).waiting, [(None, Reason::Asking)]);
            fails(&mut view, "c", state.order(), 100);
            assert!(begins(&decide(&state, &view)), "{durability}");
        }
    }

    #[test]
    fn a_veto_that_nobody_can_be_asked_for_ends_with_the_lease() {
        let (state, mut view) = example(Durability::Async);
        for name in ["a", "c"] {
            view.instances.get_mut(&id(name)).unwrap().connected = false;
        }
        view.looks.insert(id("a"), (view.now, 0));
        let by = vec![id("a")];
        let waits = Reason::LeaseMayBeHeld { by };
        assert_eq!(decide(&state, &view).waiting, [(None, waits.clone())]);
        view.instances.get_mut(&id("c")).unwrap().connected = true;
        forgets(&mut view, "c");
        assert_eq!(decide(&state, &view).waiting, [(None, Reason::Asking)]);
        fails(&mut view, "c", state.order(), 100);
        assert_eq!(decide(&state, &view).waiting, [(None, waits)]);
        view.leases_lapse_at = Timestamp(view.now.0 - 1);
        assert!(begins(&decide(&state, &view)));
    }
}
