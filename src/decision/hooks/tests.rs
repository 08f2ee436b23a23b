use std::collections::BTreeMap;

use super::*;
use crate::model::HookEnd;

const MINE: u64 = 4;

fn scene() -> Scene {
    Scene {
        epoch: Epoch(7),
        is_replaced: false,
        is_changing: false,
        condition: Condition {
            is_troubled: true,
            is_well: false,
        },
        trouble: Some(Trouble {
            code: "DeadPrimary",
            text: "dead".to_owned(),
            failed: None,
        }),
        begins: true,
    }
}

fn well() -> Scene {
    Scene {
        condition: Condition {
            is_troubled: false,
            is_well: true,
        },
        trouble: None,
        begins: false,
        ..scene()
    }
}

fn run(term: u64, ended: Option<(u64, bool)>) -> HookRun {
    HookRun {
        attempt: 1,
        term,
        ended: ended.map(|(at, passed)| HookEnd { at, passed }),
    }
}

fn programs(runs: &[(HookStage, HookRun)]) -> Programs {
    Programs {
        configured: HookStage::ALL.into(),
        incident: Some(Incident {
            seen: Epoch(7),
            began_at: 100,
            code: String::new(),
            text: String::new(),
            failed: None,
            runs: runs.iter().cloned().collect::<BTreeMap<_, _>>(),
        }),
        term: Some(MINE),
        wall: 1_000,
        ..Programs::default()
    }
}

fn runs(stage: HookStage, attempt: u32) -> Option<HookStep> {
    Some(HookStep::Run {
        incident: 100,
        stage,
        attempt,
    })
}

const CLOSE: Option<HookStep> = Some(HookStep::Close { incident: 100 });
const PASSED: Option<(u64, bool)> = Some((900, true));
const FAILED: Option<(u64, bool)> = Some((900, false));

#[test]
fn a_failover_waits_for_detection_and_guards() {
    use HookStage::{Detection, PreFailover};
    let none = Programs::default();
    assert_eq!(consider(&scene(), &none), Verdict::default());
    let first = Programs {
        incident: None,
        ..programs(&[])
    };
    let verdict = consider(&scene(), &first);
    assert!(matches!(verdict.step, Some(HookStep::Open { .. })));
    assert!(verdict.held.is_some());
    let verdict = consider(&scene(), &programs(&[]));
    assert_eq!(verdict.step, runs(Detection, 1));
    let running = Programs {
        under_way: Some((Detection, 1)),
        ..programs(&[(Detection, run(MINE, None))])
    };
    let verdict = consider(&scene(), &running);
    assert_eq!((verdict.step, verdict.held.is_some()), (None, true));
    let detected = (Detection, run(MINE, PASSED));
    let verdict = consider(&scene(), &programs(std::slice::from_ref(&detected)));
    assert_eq!(verdict.step, runs(PreFailover, 1));
    // Nothing would begin: nothing is to be guarded, and it is not the guard that is waited for.
    let waits = Scene {
        begins: false,
        ..scene()
    };
    let verdict = consider(&waits, &programs(std::slice::from_ref(&detected)));
    assert_eq!(verdict, Verdict::default());
    let passed = programs(&[detected, (PreFailover, run(MINE, PASSED))]);
    assert_eq!(consider(&scene(), &passed), Verdict::default());
    // A word that old is no word.
    let later = Programs {
        wall: 901 + PASSED_FOR,
        ..passed
    };
    let verdict = consider(&scene(), &later);
    assert_eq!(verdict.step, runs(PreFailover, 2));
    assert!(verdict.held.is_some());
}

#[test]
fn the_first_look_of_a_new_leader_opens_nothing_unless_something_would_begin() {
    let looks = Scene {
        begins: false,
        ..scene()
    };
    let first = Programs {
        incident: None,
        ..programs(&[])
    };
    assert_eq!(consider(&looks, &first), Verdict::default());
    let sure = Programs {
        troubled_for: SURE_AFTER,
        ..first
    };
    let verdict = consider(&looks, &sure);
    assert!(matches!(verdict.step, Some(HookStep::Open { .. })));
}

#[test]
fn a_guard_that_failed_is_tried_again_later_and_one_that_was_lost_at_once() {
    use HookStage::{Detection, PreFailover};
    let detected = (Detection, run(MINE, PASSED));
    let of = |run| programs(&[detected.clone(), (PreFailover, run)]);
    let failed = of(run(MINE, FAILED));
    let verdict = consider(&scene(), &failed);
    assert_eq!(verdict.step, None);
    assert!(matches!(
        verdict.held,
        Some(Held::Hook { failed: true, .. })
    ));
    let again = |programs: &Programs| {
        let verdict = consider(&scene(), programs);
        assert_eq!(verdict.step, runs(PreFailover, 2));
        assert!(verdict.held.is_some());
    };
    again(&Programs {
        wall: 900 + AGAIN_AFTER,
        ..failed.clone()
    });
    // A clock that was set back, that of another leader, and what nobody had recorded, says nothing.
    again(&Programs {
        wall: 800,
        ..failed
    });
    again(&of(run(MINE - 1, FAILED)));
    again(&of(run(MINE - 1, None)));
    again(&of(run(MINE, None)));
}

#[test]
fn after_a_failover_each_runs_once_whatever_became_of_it() {
    use HookStage::{PostFailover, PostPrimaryFailover};
    let after = Scene {
        epoch: Epoch(8),
        is_replaced: true,
        ..well()
    };
    let step = |runs: &[(HookStage, HookRun)]| consider(&after, &programs(runs)).step;
    assert_eq!(step(&[]), runs(PostPrimaryFailover, 1));
    let lost = (PostPrimaryFailover, run(MINE - 1, None));
    assert_eq!(step(std::slice::from_ref(&lost)), runs(PostFailover, 1));
    let failed = (PostFailover, run(MINE, FAILED));
    assert_eq!(step(&[lost, failed]), CLOSE);
    let running = Programs {
        under_way: Some((PostPrimaryFailover, 1)),
        ..programs(&[(PostPrimaryFailover, run(MINE, None))])
    };
    assert_eq!(consider(&after, &running).step, None);
    // The new primary is to be replaced before they have run.
    let again = Scene {
        epoch: Epoch(8),
        is_replaced: true,
        ..scene()
    };
    let verdict = consider(&again, &running);
    assert_eq!((verdict.step, verdict.held.is_some()), (CLOSE, true));
    // A look that only finds trouble ends nothing.
    let doubted = Scene {
        begins: false,
        ..again
    };
    assert_eq!(
        consider(&doubted, &programs(&[])).step,
        runs(PostPrimaryFailover, 1)
    );
}

#[test]
fn a_failover_that_came_to_nothing_is_told_once_and_still_guarded() {
    use HookStage::{Detection, PostUnsuccessful, PreFailover};
    let after = Scene {
        epoch: Epoch(8),
        ..scene()
    };
    let passed = [Detection, PreFailover].map(|stage| (stage, run(MINE, PASSED)));
    let verdict = consider(&after, &programs(&passed));
    assert_eq!(
        (verdict.step, verdict.held),
        (runs(PostUnsuccessful, 1), None)
    );
    let refused = [
        (Detection, run(MINE, PASSED)),
        (PreFailover, run(MINE, FAILED)),
    ];
    let verdict = consider(&after, &programs(&refused));
    assert_eq!(verdict.step, runs(PostUnsuccessful, 1));
    assert!(verdict.held.is_some());
    let mut told = passed.to_vec();
    told.push((PostUnsuccessful, run(MINE, PASSED)));
    assert_eq!(consider(&after, &programs(&told)), Verdict::default());
    // The old primary was back before anybody was promoted: no success.
    let back = Scene {
        epoch: Epoch(8),
        ..well()
    };
    assert_eq!(
        consider(&back, &programs(&passed)).step,
        runs(PostUnsuccessful, 1)
    );
    let changing = Scene {
        is_changing: true,
        ..after
    };
    assert_eq!(consider(&changing, &programs(&passed)), Verdict::default());
}

#[test]
fn a_primary_that_is_seen_to_serve_ends_the_incident_in_time() {
    let detected = (HookStage::Detection, run(MINE, PASSED));
    let now = programs(&[detected]);
    assert_eq!(consider(&well(), &now), Verdict::default());
    let later = Programs {
        well_for: SETTLED_AFTER,
        ..now.clone()
    };
    assert_eq!(consider(&well(), &later).step, CLOSE);
    // That nothing is found says nothing.
    let unseen = Scene {
        condition: Condition::default(),
        ..well()
    };
    assert_eq!(consider(&unseen, &now), Verdict::default());
}

#[test]
fn numbers_at_their_end_overflow_nothing() {
    let stage = HookStage::PreFailover;
    for (attempt, at) in [(0, u64::MAX), (u32::MAX, u64::MAX), (u32::MAX, 0)] {
        let run = HookRun {
            attempt,
            ..run(MINE, Some((at, false)))
        };
        let detected = run_of_detection();
        let mut programs = programs(&[(HookStage::Detection, detected), (stage, run)]);
        programs.wall = u64::MAX;
        let verdict = consider(&scene(), &programs);
        assert!(verdict.held.is_some(), "{attempt} {at}");
    }
}

fn run_of_detection() -> HookRun {
    run(MINE, Some((1, true)))
}
