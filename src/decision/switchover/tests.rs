//! What is refused, and what is done for one that was asked for.

use std::time::Duration;

use super::*;
use crate::decision::decide;
use crate::model::example::{at, cluster, id, order, primary, report, standby, view};
use crate::model::{Failure, Hold, Paused, Ruled, Stopped, Switchover};
use crate::state::example::at_rest;

fn rest() -> ClusterState {
    at_rest(cluster(
        &["a", "b", "c"],
        Durability::Quorum { standbys: 1 },
    ))
}

fn asked(progress: Progress) -> ClusterState {
    let mut state = rest();
    state.cluster.switchover = Some(Switchover {
        to: id("b"),
        from: id("a"),
        owner: "ana".to_owned(),
        reason: "a kernel".to_owned(),
        until: 1,
        progress,
    });
    state
}

fn healthy(state: &ClusterState) -> View {
    let cluster = &state.cluster;
    view([
        ("a", primary(cluster, "a")),
        ("b", standby(cluster, "b", at(2, 50))),
        ("c", standby(cluster, "c", at(2, 40))),
    ])
}

#[test]
fn what_would_fail_is_refused_with_its_reason() {
    let state = rest();
    let check = |to: &str, change: &dyn Fn(&mut ClusterState, &mut View), expected: &str| {
        let (mut state, mut view) = (state.clone(), healthy(&state));
        change(&mut state, &mut view);
        let found = obstacle(&state, &view, &id(to));
        let code = found.as_ref().map_or("none", Obstacle::code);
        assert_eq!(code, expected, "{found:?}");
    };
    let hold = || Hold {
        since: 0,
        until: 9,
        owner: "li".to_owned(),
        reason: "work".to_owned(),
    };
    check("b", &|_, _| {}, "none");
    check("z", &|_, _| {}, "no_member");
    check("a", &|_, _| {}, "is_primary");
    check("b", &|state, _| state.cluster.primary = None, "changing");
    check(
        "b",
        &|state, _| {
            let member = state.cluster.members.get_mut(&id("b")).unwrap();
            member.standing = Standing::Recovering;
        },
        "recovering",
    );
    let rule = Ruled {
        rule: PromotionRule::MustNot,
        until: None,
    };
    check(
        "b",
        &|_, view| {
            view.directives.rules.insert(id("b"), rule);
        },
        "must_not",
    );
    check(
        "b",
        &|_, view| {
            view.directives.downtime.insert(id("b"), hold());
        },
        "downtime",
    );
    let paused = || Paused {
        hold: hold(),
        everywhere: false,
    };
    check(
        "b",
        &|_, view| view.directives.paused = Some(paused()),
        "paused",
    );
    let at_work = |view: &mut View, name: &str, database: Database| {
        let seen = view.instances.get_mut(&id(name)).unwrap();
        seen.report.database = database;
    };
    check(
        "b",
        &|_, view| at_work(view, "a", Database::Starting),
        "not_serving",
    );
    check(
        "b",
        &|_, view| at_work(view, "b", Database::Starting),
        "not_streaming",
    );
    let silence = |view: &mut View, name: &str| {
        view.instances.get_mut(&id(name)).unwrap().connected = false;
    };
    check("b", &|_, view| silence(view, "a"), "silent");
    check("b", &|_, view| silence(view, "b"), "silent");
    check("b", &|_, view| silence(view, "c"), "none");
    check(
        "b",
        &|state, view| {
            silence(view, "c");
            state.cluster.durability = Durability::Quorum { standbys: 2 };
        },
        "none",
    );
    check(
        "b",
        &|_, view| {
            let seen = view.instances.get_mut(&id("b")).unwrap();
            seen.report.lag = Some(Duration::from_millis(1_001));
        },
        "late",
    );
    check(
        "b",
        &|_, view| {
            let Database::Primary { position, .. } =
                &mut view.instances.get_mut(&id("a")).unwrap().report.database
            else {
                panic!("the primary")
            };
            position.lsn.0 += NEAR_BYTES + 1;
        },
        "behind",
    );
}

#[test]
fn nobody_named_is_whom_operators_prefer_then_who_has_the_most() {
    let state = rest();
    let mut view = healthy(&state);
    assert_eq!(choose(&state, &view, false), Ok(id("b")));
    let rule = |rule| Ruled { rule, until: None };
    let c = rule(PromotionRule::Prefer);
    view.directives.rules.insert(id("c"), c);
    assert_eq!(choose(&state, &view, false), Ok(id("c")));
    for name in ["b", "c"] {
        let must_not = rule(PromotionRule::MustNot);
        view.directives.rules.insert(id(name), must_not);
    }
    assert_eq!(choose(&state, &view, false), Err(Obstacle::Nobody));
}

#[test]
fn the_primary_is_shut_down_only_while_nothing_stands_in_the_way() {
    let state = asked(Progress::Waiting);
    let mut view = healthy(&state);
    let proposals = |view: &View| decide(&state, view).proposals;
    let epoch = state.cluster.epoch;
    assert_eq!(proposals(&view), [Change::BeginShutDown { epoch }]);
    view.switchover_is_late = true;
    assert!(matches!(
        &proposals(&view)[..],
        [Change::GiveUpSwitchover { .. }]
    ));
    let b = &mut view.instances.get_mut(&id("b")).unwrap().report;
    b.lag = Some(Duration::from_secs(9));
    let [Change::GiveUpSwitchover { why, .. }] = &proposals(&view)[..] else {
        panic!("it is late")
    };
    assert!(why.contains("9000 ms late"), "{why}");
    view.switchover_is_late = false;
    let plan = decide(&state, &view);
    assert_eq!(plan.proposals, []);
    assert_eq!(plan.waiting[0].1.code(), "late");
}

#[test]
fn a_primary_that_could_not_be_shut_down_stays() {
    let state = asked(Progress::ShuttingDown);
    let mut view = healthy(&state);
    let plan = decide(&state, &view);
    assert_eq!(plan.steps[0].action, Action::ShutDown);
    let a = view.instances.get_mut(&id("a")).unwrap();
    a.failure = Some(Failure {
        order: state.order(),
        at: a.received_at,
        reason: "no".to_owned(),
        backs: false,
    });
    let plan = decide(&state, &view);
    assert_eq!((plan.steps.len(), plan.proposals.len()), (0, 0));
    let a = view.instances.get_mut(&id("a")).unwrap();
    a.received_at.0 += 1;
    view.now.0 += 1;
    let plan = decide(&state, &view);
    assert!(matches!(
        &plan.proposals[..],
        [Change::GiveUpSwitchover { .. }]
    ));
    let a = view.instances.get_mut(&id("a")).unwrap();
    a.report = report(Database::Unresponsive {
        silent_for: Duration::ZERO,
    });
    assert_eq!(decide(&state, &view).steps[0].action, Action::ShutDown);
}

/// Once it is down no word of an operator keeps it so.
#[test]
fn whoever_was_shut_down_is_replaced_even_in_a_pause() {
    let end = at(2, 50);
    for progress in [Progress::ShuttingDown, Progress::Down { end }] {
        let state = asked(progress.clone());
        let mut view = healthy(&state);
        let a = &mut view.instances.get_mut(&id("a")).unwrap().report;
        a.database = Database::Stopped(Stopped::Ordered);
        for (name, seen) in &mut view.instances {
            let answer = crate::model::Answer {
                epoch: state.cluster.epoch.next(),
                would_promise: true,
                hears_primary: false,
                incarnation: Some(state.cluster.members[name].incarnation),
            };
            seen.answer = Some((view.now, answer));
        }
        view.directives.paused = Some(Paused {
            hold: Hold {
                since: 0,
                until: 9,
                owner: "li".to_owned(),
                reason: "work".to_owned(),
            },
            everywhere: true,
        });
        let plan = decide(&state, &view);
        let begin = plan.proposals.iter().find_map(|change| match change {
            Change::Begin { cause, .. } => Some(cause.as_str()),
            _ => None,
        });
        let words = "switchover to b, asked for by ana: a kernel";
        assert_eq!(begin, Some(words), "{progress:?}: {plan:?}");
        assert_eq!(state.order(), order(1, 5));
    }
}

/// A leader that is gone may have told the primary, or not: what the agent has promised shows it.
#[test]
fn a_leader_that_takes_it_over_looks_again_unless_the_primary_was_told() {
    let state = asked(Progress::ShuttingDown);
    let mut view = healthy(&state);
    let b = &mut view.instances.get_mut(&id("b")).unwrap().report;
    b.lag = Some(Duration::from_secs(9));
    let plan = decide(&state, &view);
    assert_eq!(plan.steps, []);
    let [Change::GiveUpSwitchover { why, .. }] = &plan.proposals[..] else {
        panic!("{plan:?}")
    };
    assert!(why.contains("9000 ms late"), "{why}");

    let a = &mut view.instances.get_mut(&id("a")).unwrap().report;
    a.promised = Some(state.order());
    let plan = decide(&state, &view);
    assert_eq!(plan.proposals, []);
    assert_eq!(plan.steps[0].action, Action::ShutDown);

    // Whom it has not heard yet it waits for, while there is time.
    let mut view = healthy(&state);
    view.instances.get_mut(&id("b")).unwrap().connected = false;
    let plan = decide(&state, &view);
    assert_eq!((plan.steps.len(), plan.proposals.len()), (0, 0));
    assert_eq!(plan.waiting[0].1.code(), "silent");
    view.switchover_is_late = true;
    let plan = decide(&state, &view);
    assert!(matches!(plan.proposals[0], Change::GiveUpSwitchover { .. }));
}

#[test]
fn what_is_called_off_is_over_once_the_primary_knows() {
    let state = asked(Progress::CalledOff {
        order: order(1, 5),
        why: "late".to_owned(),
    });
    let mut view = healthy(&state);
    let plan = decide(&state, &view);
    assert_eq!(plan.proposals, []);
    assert!(matches!(plan.steps[0].action, Action::Configure { .. }));
    assert_eq!(plan.steps[0].order, state.order());

    let promise = |view: &mut View| {
        let a = view.instances.get_mut(&id("a")).unwrap();
        a.report.promised = Some(order(1, 5));
    };
    promise(&mut view);
    let plan = decide(&state, &view);
    assert_eq!(plan.steps, []);
    let order = order(1, 5);
    assert_eq!(plan.proposals, [Change::EndSwitchover { order }]);
    // It was told before it knew: it goes down, and is replaced.
    view.instances.get_mut(&id("a")).unwrap().report.database = Database::Unresponsive {
        silent_for: Duration::ZERO,
    };
    let plan = decide(&state, &view);
    assert_eq!((plan.steps.len(), plan.proposals.len()), (0, 0));
    view.instances.get_mut(&id("a")).unwrap().connected = false;
    let plan = decide(&state, &view);
    let is_silent = |(_, reason): &(Option<InstanceId>, Reason)| reason.code() == "silent";
    assert!(plan.waiting.iter().any(is_silent), "{plan:?}");
}

#[test]
fn with_time_to_wait_only_what_stays_is_in_the_way() {
    let check = |obstacle: Obstacle, may_pass: bool| {
        assert_eq!(obstacle.may_pass(), may_pass, "{obstacle}");
    };
    for obstacle in [
        Obstacle::NotStreaming(id("b")),
        Obstacle::Behind {
            instance: id("b"),
            bytes: 1,
        },
        Obstacle::Late {
            instance: id("b"),
            lag: NEAR,
        },
        Obstacle::Rejoins(id("c")),
        Obstacle::Recovering(id("b")),
        Obstacle::Silent(id("b")),
    ] {
        check(obstacle, true);
    }
    for obstacle in [
        Obstacle::MustNot(id("b")),
        Obstacle::Disk(id("b")),
        Obstacle::Nobody,
        Obstacle::IsPrimary(id("b")),
    ] {
        check(obstacle, false);
    }
    let state = rest();
    let mut view = healthy(&state);
    for name in ["b", "c"] {
        let seen = &mut view.instances.get_mut(&id(name)).unwrap().report;
        seen.lag = Some(Duration::from_secs(9));
    }
    assert_eq!(choose(&state, &view, false), Err(Obstacle::Nobody));
    assert_eq!(choose(&state, &view, true), Ok(id("b")));
    // Who can be now comes first, although it has less.
    view.instances.get_mut(&id("c")).unwrap().report.lag = None;
    assert_eq!(choose(&state, &view, true), Ok(id("c")));
    view.instances.get_mut(&id("a")).unwrap().connected = false;
    assert!(matches!(
        choose(&state, &view, false),
        Err(Obstacle::Silent(_))
    ));
}
