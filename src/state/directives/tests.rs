//! What is in force when, and what is refused.

use std::time::Duration;

use super::*;
use crate::model::Durability;
use crate::model::PromotionRule;
use crate::model::directive::LONGEST_HOLD;
use crate::model::example::{cluster, id};
use crate::recovery::Rejection;
use crate::state::State;
use crate::state::example::at_rest;

fn demo() -> (State, ClusterName) {
    let mut state = State::default();
    let demo = at_rest(cluster(
        &["a", "b", "c"],
        Durability::Quorum { standbys: 1 },
    ));
    let name = demo.cluster.name.clone();
    state.clusters.insert(name.clone(), demo);
    (state, name)
}

fn hold(seconds: u64, owner: &str) -> NewHold {
    NewHold {
        length: Duration::from_secs(seconds),
        owner: owner.to_owned(),
        reason: "why".to_owned(),
    }
}

fn say(state: &mut State, at: u64, change: Directive) -> Result<(), Rejection> {
    state.direct(DirectiveCommand { at, change })
}

#[test]
fn a_pause_ends_by_itself_and_the_longer_one_is_told() {
    let (mut state, name) = demo();
    let pause = |cluster, seconds, owner| Directive::Pause {
        cluster,
        hold: hold(seconds, owner),
    };
    say(&mut state, 1_000, pause(Some(name.clone()), 1, "ana")).unwrap();
    let paused = |state: &State, at| state.directives.in_force(&name, at).paused;
    assert!(paused(&state, 1_999).is_some_and(|it| !it.everywhere));
    assert_eq!(paused(&state, 2_000), None);
    say(&mut state, 1_000, pause(None, 5, "li")).unwrap();
    let both = paused(&state, 1_500).unwrap();
    assert!(both.everywhere && both.hold.owner == "li");
    assert!(state.directives.pause(1_500).is_some());
    say(&mut state, 1_500, Directive::Resume { cluster: None }).unwrap();
    assert!(paused(&state, 1_600).is_some_and(|it| !it.everywhere));
    let cluster = Some(name.clone());
    say(&mut state, 1_600, Directive::Resume { cluster }).unwrap();
    assert_eq!(state.directives, Directives::default());
}

#[test]
fn what_is_over_is_not_kept() {
    let (mut state, name) = demo();
    let downtime = |instance: &str, seconds| Directive::Downtime {
        cluster: name.clone(),
        instance: id(instance),
        hold: hold(seconds, "ana"),
    };
    let rule = |instance: &str, rule, length| Directive::Rule {
        cluster: name.clone(),
        instance: id(instance),
        rule,
        length,
    };
    say(&mut state, 0, downtime("a", 1)).unwrap();
    say(&mut state, 0, rule("b", PromotionRule::MustNot, None)).unwrap();
    let short = Some(Duration::from_secs(1));
    say(&mut state, 0, rule("c", PromotionRule::Prefer, short)).unwrap();
    let before = state.directives.in_force(&name, 999);
    assert_eq!((before.downtime.len(), before.rules.len()), (1, 2));
    let after = state.directives.in_force(&name, 1_000);
    assert_eq!((after.downtime.len(), after.rules.len()), (0, 1));
    assert_eq!(before.rules[&id("c")].until, Some(1_000));
    let instance = id("a");
    let cluster = name.clone();
    say(&mut state, 2_000, Directive::Uptime { cluster, instance }).unwrap();
    let kept = &state.directives.clusters[&name];
    assert_eq!((kept.downtime.len(), kept.rules.len()), (0, 1));
    say(&mut state, 2_000, rule("b", PromotionRule::Neutral, None)).unwrap();
    assert_eq!(state.directives, Directives::default());
}

#[test]
fn a27_a_failover_blocks_another_one_until_it_is_acknowledged_or_old() {
    let (mut state, name) = demo();
    let block = |period| Directive::Block {
        cluster: name.clone(),
        period,
    };
    let acknowledge = || Directive::Acknowledge {
        cluster: name.clone(),
        owner: "ana".to_owned(),
        comment: "seen".to_owned(),
    };
    let blocked = |state: &State, at| state.directives.in_force(&name, at).blocked;
    state.directives.note_failover(&name, Epoch(2), 0);
    assert_eq!(
        state.directives,
        Directives::default(),
        "nobody asked for it"
    );
    say(&mut state, 0, block(Some(Duration::from_secs(1)))).unwrap();
    assert!(say(&mut state, 0, acknowledge()).is_err());
    state.directives.note_failover(&name, Epoch(2), 500);
    assert_eq!(blocked(&state, 1_499).map(|it| it.epoch), Some(Epoch(2)));
    assert_eq!(blocked(&state, 1_500), None);
    say(&mut state, 600, acknowledge()).unwrap();
    assert_eq!(blocked(&state, 700), None);
    assert!(say(&mut state, 700, acknowledge()).is_err(), "once");
    state.directives.note_failover(&name, Epoch(3), 800);
    assert_eq!(blocked(&state, 900).map(|it| it.epoch), Some(Epoch(3)));
    say(&mut state, 900, block(None)).unwrap();
    assert_eq!(state.directives, Directives::default());
}

#[test]
fn what_has_no_end_no_owner_or_nobody_it_is_about_is_refused() {
    let (mut state, name) = demo();
    let refused = [
        Directive::Pause {
            cluster: None,
            hold: hold(0, "ana"),
        },
        Directive::Pause {
            cluster: None,
            hold: hold(LONGEST_HOLD.as_secs() + 1, "ana"),
        },
        Directive::Pause {
            cluster: None,
            hold: hold(1, ""),
        },
        Directive::Pause {
            cluster: Some(ClusterName::new("other").unwrap()),
            hold: hold(1, "ana"),
        },
        Directive::Uptime {
            cluster: name,
            instance: id("z"),
        },
    ];
    for change in refused {
        let shown = format!("{change:?}");
        assert!(say(&mut state, 0, change).is_err(), "{shown}");
    }
    assert_eq!(state.directives, Directives::default());
}

#[test]
fn a_priority_lasts_until_it_is_taken_back() {
    let (mut state, name) = demo();
    let mut say = |cluster: &ClusterName, priority| {
        let cluster = cluster.clone();
        let priority = Priority(priority);
        let said = state.direct(DirectiveCommand {
            at: 1,
            change: Directive::Priority { cluster, priority },
        });
        (said.is_ok(), state.directives.clone())
    };
    let of = |said: &Directives| said.in_force(&name, u64::MAX).priority;
    let (taken, said) = say(&name, -100);
    assert_eq!((taken, of(&said)), (true, Priority(-100)));
    for refused in [-101, 101, i16::MIN, i16::MAX] {
        let (taken, said) = say(&name, refused);
        assert_eq!((taken, of(&said)), (false, Priority(-100)), "{refused}");
    }
    assert!(!say(&ClusterName::new("other").unwrap(), 1).0);
    let (taken, said) = say(&name, 0);
    assert!(taken && said == Directives::default());
}
