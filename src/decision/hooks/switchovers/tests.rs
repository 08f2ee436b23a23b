//! What runs around a switchover, and what that keeps from beginning.

use std::collections::BTreeMap;

use super::*;
use crate::decision::Plan;
use crate::model::example::{cluster, id};
use crate::model::switchover::Progress;
use crate::model::{Durability, HookEnd, HookRun, View};
use crate::recovery::{Handover, Reason};
use crate::state::example::at_rest;
use crate::state::{Change, ClusterState};

const MINE: u64 = 4;
const EPOCH: Epoch = Epoch(1);
const PASSED: Option<(u64, bool)> = Some((900, true));

fn asking() -> ClusterState {
    let mut state = at_rest(cluster(&["a", "b", "c"], Durability::Async));
    state.cluster.switchover = Some(Switchover {
        to: id("b"),
        from: id("a"),
        owner: "ana".to_owned(),
        reason: "patch".to_owned(),
        until: 60_000,
        progress: Progress::Waiting,
    });
    state
}

fn incident(code: &str, seen: Epoch, runs: &[(HookStage, HookRun)]) -> Incident {
    Incident {
        seen,
        began_at: 100,
        code: code.to_owned(),
        text: String::new(),
        failed: Some(id("a")),
        runs: runs.iter().cloned().collect::<BTreeMap<_, _>>(),
    }
}

fn run(stage: HookStage, ended: Option<(u64, bool)>) -> (HookStage, HookRun) {
    let run = HookRun {
        attempt: 1,
        term: MINE,
        ended: ended.map(|(at, passed)| HookEnd { at, passed }),
    };
    (stage, run)
}

fn programs(incident: Option<Incident>) -> Programs {
    Programs {
        configured: HookStage::ALL.into(),
        incident,
        term: Some(MINE),
        wall: 1_000,
        ..Programs::default()
    }
}

fn own(runs: &[(HookStage, HookRun)]) -> Programs {
    programs(Some(incident(Incident::SWITCHOVER, EPOCH, runs)))
}

/// What is left of a plan that would shut the primary down, or do nothing: whether it still would, what it does about
/// programs, and what it waits for.
fn of(
    state: &ClusterState,
    programs: &Programs,
    shuts_down: bool,
) -> (Vec<Change>, Option<HookStep>, Vec<Reason>) {
    let epoch = state.cluster.epoch;
    let plan = Plan {
        proposals: match shuts_down {
            true => vec![Change::BeginShutDown { epoch }],
            false => vec![],
        },
        ..Plan::default()
    };
    let plan = plan.with(state, &View::default(), programs);
    let waiting = plan.waiting.into_iter().map(|(_, reason)| reason);
    (plan.proposals, plan.hook, waiting.collect())
}

fn runs(stage: HookStage, attempt: u32) -> Option<HookStep> {
    Some(HookStep::Run {
        incident: 100,
        stage,
        attempt,
    })
}

const CLOSE: Option<HookStep> = Some(HookStep::Close { incident: 100 });

fn waits_for(stage: HookStage) -> Vec<Reason> {
    vec![Reason::Held(Held::Hook {
        stage,
        failed: false,
    })]
}

#[test]
fn nothing_is_done_to_the_primary_before_the_programs_agree() {
    let state = asking();
    let begins = || vec![Change::BeginShutDown { epoch: EPOCH }];
    assert_eq!(
        of(&state, &Programs::default(), true),
        (begins(), None, vec![])
    );
    let (left, step, waiting) = of(&state, &programs(None), true);
    assert_eq!((left, waiting), (vec![], waits_for(BEFORE)));
    let Some(HookStep::Open { seen, trouble }) = step else {
        panic!("{step:?}");
    };
    assert_eq!(
        (seen, trouble.code, trouble.failed),
        (EPOCH, "Switchover", Some(id("a")))
    );
    // A candidate that is waited for is no reason to run anything.
    assert_eq!(of(&state, &programs(None), false), (vec![], None, vec![]));
    let first = (vec![], runs(BEFORE, 1), waits_for(BEFORE));
    assert_eq!(of(&state, &own(&[]), true), first);
    let running = Programs {
        under_way: Some((BEFORE, 1)),
        ..own(&[run(BEFORE, None)])
    };
    assert_eq!(
        of(&state, &running, true),
        (vec![], None, waits_for(BEFORE))
    );
    // Its leader died: it runs again, and knows that.
    let lost = (vec![], runs(BEFORE, 2), waits_for(BEFORE));
    assert_eq!(of(&state, &own(&[run(BEFORE, None)]), true), lost);
    let passed = own(&[run(BEFORE, PASSED)]);
    assert_eq!(of(&state, &passed, true), (begins(), None, vec![]));
    let later = Programs {
        wall: 901 + PASSED_FOR,
        ..passed
    };
    assert_eq!(of(&state, &later, true), lost);
}

#[test]
fn one_that_fails_has_the_switchover_given_up() {
    let state = asking();
    let failed = own(&[run(BEFORE, Some((900, false)))]);
    for would_begin in [true, false] {
        let (left, step, _) = of(&state, &failed, would_begin);
        let [Change::GiveUpSwitchover { epoch, why }] = &left[..] else {
            panic!("{left:?}");
        };
        assert_eq!((*epoch, step), (EPOCH, None));
        assert!(why.contains("PreGracefulTakeoverProcesses"), "{why}");
    }
    // Then it is over, and what comes after a switchover does not run.
    let mut over = state;
    over.cluster.switchover = None;
    assert_eq!(of(&over, &failed, false).1, CLOSE);
}

#[test]
fn those_after_it_run_once_another_one_serves() {
    let passed = run(BEFORE, PASSED);
    let mut state = asking();
    let mut step = |change: &dyn Fn(&mut ClusterState), runs: &[(HookStage, HookRun)]| {
        change(&mut state);
        of(&state, &own(runs), false).1
    };
    let only = std::slice::from_ref(&passed);
    let progress = |to: Progress| {
        move |state: &mut ClusterState| {
            state.cluster.switchover.as_mut().unwrap().progress = to.clone()
        }
    };
    assert_eq!(step(&progress(Progress::ShuttingDown), only), None);
    let end = crate::model::example::at(2, 50);
    assert_eq!(step(&progress(Progress::Down { end }), only), None);
    let fences = |state: &mut ClusterState| {
        state.cluster.epoch = Epoch(2);
        state.cluster.primary = None;
        let promises = BTreeMap::new();
        state.handover = Some(Handover::Fencing { promises });
    };
    assert_eq!(step(&fences, only), None);
    let serves = |state: &mut ClusterState| {
        state.cluster.switchover = None;
        state.cluster.primary = Some(id("b"));
        state.handover = None;
    };
    assert_eq!(step(&serves, only), runs(AFTER, 1));
    let all = [passed.clone(), run(AFTER, Some((950, false)))];
    assert_eq!(step(&serves, &all), CLOSE);
    // The old one was elected again: there is nothing to tell.
    let again = |state: &mut ClusterState| state.cluster.primary = Some(id("a"));
    assert_eq!(step(&again, only), CLOSE);
}

#[test]
fn a_failover_before_it_has_programs_of_its_own() {
    let state = asking();
    let begin = Change::Begin {
        seen: EPOCH,
        cause: "it is dead".to_owned(),
    };
    let with = |programs: &Programs| {
        let plan = Plan {
            proposals: vec![begin.clone()],
            ..Plan::default()
        };
        plan.with(&state, &View::default(), programs)
    };
    let plan = with(&own(&[run(BEFORE, PASSED)]));
    assert_eq!((plan.proposals, plan.hook), (vec![], CLOSE));
    // What ran after an earlier failover is not cut short, and what came to nothing is over.
    let posts = run(HookStage::PostFailover, None);
    let earlier = programs(Some(incident("DeadPrimary", Epoch(0), &[posts])));
    let running = Programs {
        under_way: Some((HookStage::PostFailover, 1)),
        ..earlier
    };
    let (left, _, waiting) = of(&state, &running, true);
    assert_eq!(
        (left, waiting),
        (vec![], waits_for(HookStage::PostFailover))
    );
    let came_back = programs(Some(incident("DeadPrimary", EPOCH, &[])));
    assert_eq!(of(&state, &came_back, true).1, CLOSE);
}
