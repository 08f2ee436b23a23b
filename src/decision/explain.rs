//! "If the primary died now: would somebody take its place, who, what would be lost, how long would it take, what is in the
//! way." Answered by the decision itself, on a view in which the primary's host is dead: so it cannot say anything else
//! than what would be decided on the same readings. What changes until then, nobody can know; nor what the user's programs
//! would answer that have not run: those that would be asked are named.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::view::SILENT_AFTER;
use crate::model::{
    Answer, Database, Durability, Held, HookStage, InstanceId, PromotionRule, Receiver, Report,
    Sighting, Standing, Timestamp, View, WalPosition,
};
use crate::recovery::proof::{elect, may_be_chosen};
use crate::recovery::{Promise, Reason};
use crate::state::{Change, ClusterState};

use super::switchover::{self, position};
use super::{Programs, decide};

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<Why = Reason> {
    /// Who would be the primary; or why nobody would.
    pub outcome: Result<InstanceId, Why>,
    /// What would be lost of what was acknowledged, in bytes of WAL by the last reports; none if nobody would be the
    /// primary, or if that cannot be told. Zero in a quorum cluster, where that is proven before anybody is elected.
    pub loss_bytes: Option<u64>,
    /// How long it would be waited at most for leases that may be held; none without agents, where there are none.
    pub lease_wait: Option<Duration>,
    /// The programs of the user's that would run first; one that fails keeps the failover off.
    pub programs: Vec<HookStage>,
    /// What is missing somewhere that a failover needs there, which may keep it off. Nothing with agents.
    pub lacks: Vec<String>,
    /// Everybody but the primary.
    pub candidates: Vec<Candidate>,
}

/// One of those who could be the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub instance: InstanceId,
    /// The end of its flushed WAL, by its last report.
    pub at: Option<WalPosition>,
    /// What it lacks of the primary's, in bytes.
    pub behind_bytes: Option<u64>,
    /// Its promotion rule; none without agents, where there are none.
    pub rule: Option<PromotionRule>,
    /// Why it would not be the primary; none of the one that would.
    pub obstacle: Option<String>,
}

/// If the host of the primary died now.
pub fn failover(state: &ClusterState, view: &View, programs: &Programs) -> Explanation {
    let Some(primary) = state.cluster.primary.clone() else {
        let plan = decide(state, view);
        let mut waits = plan.waiting.into_iter();
        let waits = waits.find_map(|(subject, reason)| subject.is_none().then_some(reason));
        return Explanation {
            outcome: Err(waits.unwrap_or(Reason::NoPrimary)),
            loss_bytes: None,
            lease_wait: Some(Duration::ZERO),
            programs: vec![],
            lacks: vec![],
            candidates: vec![],
        };
    };
    let after = without(state, view, &primary);
    let (outcome, lease_wait) = outcome(state, &after, view);
    let asked = held(state, &after, programs);
    let outcome = match &asked {
        Some(held @ Held::Hook { failed: true, .. }) => {
            outcome.and(Err(Reason::Held(held.clone())))
        }
        Some(_) | None => outcome,
    };
    // Where the WAL of one ends that is silent already, nobody knows.
    let end = view.fresh(&primary).and_then(position);
    let behind = |at: Option<WalPosition>| {
        let (at, end) = (at?, end?);
        (at.timeline == end.timeline).then(|| end.lsn.0.saturating_sub(at.lsn.0))
    };
    let elected = outcome.as_ref().ok();
    let others = state.cluster.members.iter();
    let candidates: Vec<_> = others
        .filter(|(id, _)| **id != primary)
        .map(|(id, member)| {
            let at = view.fresh(id).and_then(position);
            let obstacle = if elected == Some(id) {
                None
            } else if view.fresh(id).is_none() {
                Some("its agent is silent".to_owned())
            } else if member.standing != Standing::Voter {
                Some("it has not got back all that the primary had".to_owned())
            } else if !may_be_chosen(id, view) {
                Some("by its promotion rule it must not be promoted".to_owned())
            } else {
                match (
                    &outcome,
                    elected.and_then(|id| view.fresh(id)).and_then(position),
                ) {
                    (Ok(_), Some(best)) if at < Some(best) => {
                        Some(format!("it holds less than {best}"))
                    }
                    (Ok(better), _) => Some(format!("{better} comes before it among equals")),
                    (Err(why), _) => Some(why.to_string()),
                }
            };
            Candidate {
                instance: id.clone(),
                at,
                behind_bytes: behind(at),
                rule: Some(view.directives.rule(id)),
                obstacle,
            }
        })
        .collect();
    let of_elected = candidates.iter().find(|it| Some(&it.instance) == elected);
    let loss_bytes = match state.cluster.durability {
        Durability::Quorum { .. } => elected.map(|_| 0),
        Durability::Async => of_elected.and_then(|it| it.behind_bytes),
    };
    Explanation {
        outcome,
        loss_bytes,
        lease_wait: Some(lease_wait),
        programs: match asked {
            Some(Held::Hook { failed: false, .. }) => programs.guards().collect(),
            Some(_) | None => vec![],
        },
        lacks: vec![],
        candidates,
    }
}

/// What programs say to a failover that would begin.
fn held(state: &ClusterState, after: &View, programs: &Programs) -> Option<Held> {
    let lapsed = View {
        leases_lapse_at: Timestamp::default(),
        ..after.clone()
    };
    let plan = decide(state, &lapsed).with(state, &lapsed, programs);
    plan.waiting
        .into_iter()
        .find_map(|(_, reason)| match reason {
            Reason::Held(held @ Held::Hook { .. }) => Some(held),
            _ => None,
        })
}

/// Who would be elected, and how long leases would be waited for at most.
fn outcome(
    state: &ClusterState,
    after: &View,
    now: &View,
) -> (Result<InstanceId, Reason>, Duration) {
    match elected(state, after) {
        Err(Reason::LeaseMayBeHeld { .. }) => {
            let lapsed = View {
                leases_lapse_at: Timestamp::default(),
                ..after.clone()
            };
            let wait = now.leases_lapse_at.since(now.now);
            (elected(state, &lapsed), wait)
        }
        outcome => (outcome, Duration::ZERO),
    }
}

/// Who would be elected on this view, if whoever is heard promised where it is.
fn elected(state: &ClusterState, view: &View) -> Result<InstanceId, Reason> {
    let plan = decide(state, view);
    let begins = |change: &Change| matches!(change, Change::Begin { .. });
    if state.handover.is_none() && !plan.proposals.iter().any(begins) {
        let mut waits = plan.waiting.into_iter();
        let waits = waits.find_map(|(subject, reason)| subject.is_none().then_some(reason));
        return Err(waits.unwrap_or(Reason::Asking));
    }
    let mut cluster = state.cluster.clone();
    if !cluster.switches_over() {
        cluster.switchover = None;
    }
    cluster.forced = None;
    let promise = |id: &InstanceId| {
        let report = view.fresh(id)?;
        let promise = Promise {
            incarnation: report.incarnation,
            position: position(report),
            running: matches!(report.database, Database::Standby { .. }),
        };
        Some((id.clone(), promise))
    };
    let promises: BTreeMap<_, _> = cluster.members.keys().filter_map(promise).collect();
    elect(&cluster, &promises, view, true).map(|(candidate, _)| candidate)
}

/// What would be seen a moment after the host of `primary` had died: nobody hears it, and whoever can be asked would
/// promise.
fn without(state: &ClusterState, view: &View, primary: &InstanceId) -> View {
    let mut after = view.clone();
    let epoch = state.cluster.epoch.next();
    let now = after.now;
    after.awake_since = Timestamp(now.0.saturating_sub(2 * SILENT_AFTER.as_millis() as u64));
    after.looks.insert(primary.clone(), (now, 0));
    for (id, seen) in &mut after.instances {
        if id == primary {
            seen.connected = false;
            continue;
        }
        deafen(&mut seen.report);
        seen.answer = Some((now, answer(seen, epoch)));
        seen.failure = None;
    }
    after
}

fn deafen(report: &mut Report) {
    if let Database::Standby { receiver, .. } = &mut report.database {
        *receiver = Receiver::None;
    }
}

fn answer(seen: &Sighting, epoch: crate::model::Epoch) -> Answer {
    let promised = seen.report.promised;
    Answer {
        epoch,
        would_promise: promised.is_some_and(|it| it.epoch <= epoch),
        hears_primary: false,
        incarnation: seen.report.incarnation,
    }
}

/// If somebody asked for a switchover now, to nobody by name.
pub fn switchover(state: &ClusterState, view: &View, programs: &Programs) -> Explanation {
    let outcome = switchover::choose(state, view, false).map_err(Reason::Obstacle);
    let by_failover = failover(state, view, &Programs::default()).candidates;
    let candidates = by_failover.into_iter().map(|candidate| {
        let obstacle = match (
            &outcome,
            switchover::obstacle(state, view, &candidate.instance),
        ) {
            (Ok(chosen), _) if *chosen == candidate.instance => None,
            (_, Some(obstacle)) => Some(obstacle.to_string()),
            (Ok(chosen), None) => Some(format!(
                "{chosen} comes before it; it can be named with --to {}",
                candidate.instance
            )),
            (Err(why), None) => Some(why.to_string()),
        };
        Candidate {
            obstacle,
            ..candidate
        }
    });
    Explanation {
        loss_bytes: outcome.is_ok().then_some(0),
        lease_wait: Some(Duration::ZERO),
        programs: match programs.configured.contains(&HookStage::PreSwitchover) {
            true if outcome.is_ok() => vec![HookStage::PreSwitchover],
            true | false => vec![],
        },
        lacks: vec![],
        candidates: candidates.collect(),
        outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, id, primary, standby, view};
    use crate::model::{HookEnd, HookRun, Incident, Ruled};
    use crate::state::example::at_rest;

    fn healthy(durability: Durability) -> (ClusterState, View) {
        let state = at_rest(cluster(&["a", "b", "c"], durability));
        let view = view([
            ("a", primary(&state.cluster, "a")),
            ("b", standby(&state.cluster, "b", at(2, 45))),
            ("c", standby(&state.cluster, "c", at(2, 40))),
        ]);
        (state, view)
    }

    #[test]
    fn a_healthy_cluster_says_to_whom_and_what_is_lost() {
        let (state, view) = healthy(Durability::Quorum { standbys: 1 });
        let said = failover(&state, &view, &none());
        assert_eq!((said.outcome, said.loss_bytes), (Ok(id("b")), Some(0)));
        assert_eq!(said.lease_wait, Some(Duration::ZERO));
        assert_eq!(said.candidates[0].obstacle, None);
        let why = said.candidates[1].obstacle.as_ref().unwrap();
        assert!(why.contains("holds less"), "{why}");

        let (state, view) = healthy(Durability::Async);
        let said = failover(&state, &view, &none());
        assert_eq!((said.outcome, said.loss_bytes), (Ok(id("b")), Some(5)));
        assert_eq!(said.lease_wait, Some(Duration::from_secs(10)));
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let (state, mut view) = healthy(Durability::Quorum { standbys: 1 });
        let mut silent = view.clone();
        silent.instances.get_mut(&id("b")).unwrap().connected = false;
        let said = failover(&state, &silent, &none());
        assert_eq!(said.outcome.unwrap_err().code(), "not_proven");
        assert_eq!(said.loss_bytes, None);
        let must_not = Ruled {
            rule: PromotionRule::MustNot,
            until: None,
        };
        for name in ["b", "c"] {
            view.directives.rules.insert(id(name), must_not);
        }
        let said = failover(&state, &view, &none());
        assert_eq!(said.outcome.unwrap_err().code(), "must_not");
        let said = switchover(&state, &view, &none());
        assert_eq!(said.outcome.unwrap_err().code(), "nobody");
    }

    fn none() -> Programs {
        Programs::default()
    }

    #[test]
    fn a_primary_that_was_not_heard_lately_has_no_number() {
        let (state, mut view) = healthy(Durability::Async);
        view.instances.get_mut(&id("a")).unwrap().connected = false;
        view.leases_lapse_at = Timestamp::default();
        let said = failover(&state, &view, &none());
        assert_eq!((said.outcome, said.loss_bytes), (Ok(id("b")), None));
        assert!(said.candidates.iter().all(|it| it.behind_bytes.is_none()));

        // Nor is there one between two timelines, or without a report.
        let (state, mut view) = healthy(Durability::Async);
        let b = &mut view.instances.get_mut(&id("b")).unwrap().report;
        *b = standby(&state.cluster, "b", at(3, 1));
        assert_eq!(failover(&state, &view, &none()).loss_bytes, None);
        for name in ["b", "c"] {
            view.instances.remove(&id(name));
        }
        let said = failover(&state, &view, &none());
        assert!(said.outcome.is_err(), "{said:?}");
        assert_eq!(said.loss_bytes, None);
        assert!(said.candidates.iter().all(|it| it.at.is_none()));
        let (mut state, view) = healthy(Durability::Async);
        state.cluster.primary = None;
        assert_eq!(failover(&state, &view, &none()).loss_bytes, None);
    }

    #[test]
    fn programs_that_would_be_asked_are_named_and_one_that_failed_is_in_the_way() {
        let (state, view) = healthy(Durability::Quorum { standbys: 1 });
        let stage = HookStage::PreFailover;
        let mut programs = Programs {
            configured: [stage, HookStage::PostFailover].into(),
            term: Some(3),
            wall: 5,
            ..Programs::default()
        };
        let said = failover(&state, &view, &programs);
        assert_eq!(said.outcome, Ok(id("b")));
        assert_eq!(said.programs, [stage]);
        let failed = HookRun {
            attempt: 1,
            term: 3,
            ended: Some(HookEnd {
                at: 4,
                passed: false,
            }),
        };
        programs.incident = Some(Incident {
            seen: state.cluster.epoch,
            began_at: 1,
            code: String::new(),
            text: String::new(),
            failed: None,
            runs: [(stage, failed)].into(),
        });
        let said = failover(&state, &view, &programs);
        assert_eq!(said.outcome.unwrap_err().code(), "hook");
        assert_eq!((said.loss_bytes, said.programs), (None, vec![]));
    }
}
