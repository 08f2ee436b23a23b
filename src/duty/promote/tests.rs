//! How a candidate becomes the primary, step by step.

use super::*;
use crate::duty::Duty;
use crate::duty::local::example::{running_standby, standby_session};
use crate::model::example::{at, order};
use crate::model::{Epoch, Lsn};

const NAMES: &str = "ANY 1 (\"a_1_4\")";

fn promoting() -> Promoting {
    Promoting {
        order: order(4, 3),
        timeline: Timeline(5),
        at_least: at(2, 50),
        synchronous_standby_names: NAMES.to_owned(),
        asked_at: None,
        failing: None,
        failed: None,
        waiting: Waiting::Unknown,
        members: BTreeSet::new(),
    }
}

/// Fenced, and ready but for what `change` does.
fn candidate(change: impl FnOnce(&mut Local)) -> Local {
    let mut local = running_standby();
    local.lease = Some(Epoch(4));
    local.session = Some(Session {
        source: None,
        synchronous_standby_names: NAMES.to_owned(),
        ..standby_session()
    });
    if let Data::Cluster {
        highest_timeline, ..
    } = &mut local.data
    {
        *highest_timeline = Timeline(4);
    }
    change(&mut local);
    local
}

fn cannot(act: &Act) -> bool {
    matches!(
        act,
        Act::Finish(Outcome::Evidence(Evidence::CannotPromote { .. }))
    )
}

#[test]
fn every_precondition_comes_before_the_promotion() {
    let mut duty = promoting();
    let configure = Act::ConfigurePrimary {
        synchronous_standby_names: NAMES.to_owned(),
        members: BTreeSet::new(),
    };
    let session =
        |change: fn(&mut Session)| candidate(|local| change(local.session.as_mut().unwrap()));
    assert_eq!(promoting().next(&candidate(|_| {})), Act::AskPromotion);
    let forgotten = candidate(|local| local.promotion_asked = true);
    assert_eq!(promoting().next(&forgotten), Act::AskPromotion);
    assert_eq!(
        duty.next(&candidate(|local| local.lease = None)),
        Act::Renew
    );
    assert_eq!(
        duty.next(&candidate(|local| local.lease = Some(Epoch(3)))),
        Act::Renew
    );
    assert_eq!(
        duty.next(&session(|s| s.synchronous_standby_names.clear())),
        configure
    );
    assert_eq!(duty.next(&session(|s| s.commits_wait = false)), configure);
    assert_eq!(
        duty.next(&session(|s| s.read_only_default = true)),
        configure
    );
    assert_eq!(
        duty.next(&session(|s| s.source = standby_session().source)),
        configure
    );
    assert_eq!(duty.next(&candidate(|_| {})), Act::AskPromotion);
    assert_eq!(duty.next(&candidate(|_| {})), Act::Look);
    assert_eq!(
        duty.next(&candidate(|local| local.now.0 += 6_000)),
        Act::StopAll
    );
}

#[test]
fn a_server_that_was_open_before_is_primary_once_its_commits_wait() {
    const NOBODY: &str = "ANY 1 (\"primacy_waits_for_a_standby_0\")";
    let mut duty = Duty::Promote(Promoting {
        synchronous_standby_names: NOBODY.to_owned(),
        ..promoting()
    });
    let open = |names: &str| {
        candidate(|local| {
            let session = local.session.as_mut().unwrap();
            session.in_recovery = false;
            session.position = at(5, 60);
            session.synchronous_standby_names = names.to_owned();
            if let Data::Cluster { lineage, .. } = &mut local.data {
                lineage.current = Timeline(5);
            }
        })
    };
    assert!(matches!(duty.next(&open("")), Act::ConfigurePrimary { .. }));
    for _ in 0..2 {
        assert_eq!(duty.next(&open(NOBODY)), Act::ProveWaiting);
        assert_eq!(duty.failed(&Act::ProveWaiting, "not yet"), None);
    }
    assert_eq!(duty.next(&open(NOBODY)), Act::ProveWaiting);
    assert!(matches!(duty.next(&open(NOBODY)), Act::Finish(_)));
}

#[test]
fn it_takes_exactly_the_allocated_timeline() {
    let highest = |timeline| {
        candidate(|local| {
            if let Data::Cluster {
                highest_timeline, ..
            } = &mut local.data
            {
                *highest_timeline = Timeline(timeline);
            }
        })
    };
    assert_eq!(
        promoting().next(&highest(2)),
        Act::Plant { below: Timeline(5) }
    );
    assert!(
        cannot(&promoting().next(&highest(5))),
        "the number is taken"
    );
    let open = |timeline, known| {
        candidate(|local| {
            let session = local.session.as_mut().unwrap();
            session.in_recovery = false;
            session.position = at(timeline, 60);
            if let Data::Cluster { lineage, .. } = &mut local.data {
                lineage.current = Timeline(known);
            }
        })
    };
    assert!(cannot(&promoting().next(&open(3, 3))));
    assert_eq!(
        promoting().next(&open(5, 2)),
        Act::Look,
        "its fork is not known yet"
    );
    let Act::Finish(Outcome::Evidence(Evidence::Promoted { lineage, .. })) =
        promoting().next(&open(5, 5))
    else {
        panic!("it is promoted")
    };
    assert_eq!(lineage.current, Timeline(5));
    assert_eq!(lineage.left_at[&Timeline(1)], Lsn(5));
}

#[test]
fn a_stopped_candidate_starts_as_a_standby_unless_it_lost_wal() {
    let stopped = |end| {
        candidate(|local| {
            local.is_running = false;
            local.session = None;
            if let Data::Cluster { ends_at, .. } = &mut local.data {
                *ends_at = Some(end);
            }
        })
    };
    assert_eq!(
        promoting().next(&stopped(at(2, 50))),
        Act::StartStandby { source: None }
    );
    assert!(cannot(&promoting().next(&stopped(at(2, 49)))));
}

#[test]
fn a_promotion_that_goes_on_failing_makes_way_for_another() {
    let mut duty = Duty::Promote(promoting());
    let unset = |after: u64| {
        candidate(|local| {
            local.now.0 += after;
            let session = local.session.as_mut().unwrap();
            session.synchronous_standby_names.clear();
        })
    };
    let mut tried = 0;
    for after in (0..5_000).step_by(100) {
        match duty.next(&unset(after)) {
            Act::Look => {}
            act @ Act::ConfigurePrimary { .. } => {
                tried += 1;
                assert_eq!(duty.failed(&act, "no space left"), None);
            }
            other => panic!("{other:?} after {after} ms"),
        }
    }
    assert!((5..=10).contains(&tried), "tried {tried} times");
    let act = duty.next(&unset(5_400));
    assert_eq!(duty.failed(&act, "no space left"), None);
    let Act::Finish(Outcome::Evidence(Evidence::CannotPromote { why, .. })) =
        duty.next(&unset(5_500))
    else {
        panic!("it tries for ever");
    };
    assert!(why.contains("no space left"), "{why}");
}

#[test]
fn a_promotion_that_failed_once_goes_on() {
    let mut duty = Duty::Promote(promoting());
    let later = |after: u64| candidate(|local| local.now.0 += after);
    assert_eq!(duty.next(&later(0)), Act::AskPromotion);
    assert_eq!(duty.failed(&Act::AskPromotion, "no answer"), None);
    assert_eq!(duty.next(&later(100)), Act::Look);
    assert_eq!(duty.next(&later(700)), Act::AskPromotion);
    assert_eq!(duty.next(&later(800)), Act::Look);
    assert_eq!(duty.next(&later(6_000)), Act::StopAll);
}
