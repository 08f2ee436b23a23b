//! Who may begin, and that nobody waits for ever.

use std::time::Duration;

use super::*;
use crate::decision::{Finding, Plan};
use crate::model::example::{cluster, order};
use crate::model::{Durability, Epoch};
use crate::recovery::{Handover, Reason};
use crate::state::Change;
use crate::state::example::at_rest;

fn name(text: &str) -> ClusterName {
    ClusterName::new(text).unwrap()
}

/// Some turns, and the clock that they are told.
struct Told {
    turns: Turns,
    now: Timestamp,
}

impl Told {
    fn new(limit: usize) -> Told {
        Told {
            turns: Turns::new(limit),
            now: Timestamp(1_000_000),
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }

    /// Whether it may begin.
    fn note(
        &mut self,
        of: &str,
        course: Course,
        priority: i16,
        (epoch, number): (u64, u32),
    ) -> bool {
        let stand = Stand {
            course,
            order: order(epoch, number),
            priority: Priority(priority),
        };
        self.turns.note(&name(of), stand, self.now) == Turn::Has
    }

    fn ready(&mut self, of: &str, priority: i16) -> bool {
        self.note(of, Course::Ready, priority, (1, 1))
    }

    fn runs(&mut self, of: &str, number: u32) {
        self.note(of, Course::Runs, 0, (2, number));
    }

    fn serves(&mut self, of: &str) {
        self.note(of, Course::Quiet, 0, (2, 9));
    }
}

#[test]
fn no_more_than_the_limit_begin_and_what_has_a_turn_keeps_it() {
    let mut told = Told::new(2);
    assert!(told.ready("a", 0) && told.ready("b", 0));
    assert!(!told.ready("c", 50), "two have been given theirs");
    assert!(told.ready("a", 0) && told.ready("b", 0), "and keep it");
    told.runs("a", 1);
    assert!(!told.ready("c", 50));
    told.serves("a");
    assert!(told.ready("c", 50));
    assert_eq!(told.turns.under_way(told.now), 2);
    let waits = told.note("d", Course::Ready, 0, (1, 1));
    assert!(!waits);
    let Turn::Waits(queue) = told.turns.of(&name("d"), told.now) else {
        panic!("it waits");
    };
    assert_eq!(
        queue.to_string(),
        "a failover waits for its turn: 2 recoveries run, and 2 may at once"
    );
}

#[test]
fn a_new_leader_counts_what_is_under_way() {
    let mut told = Told::new(2);
    told.runs("a", 4);
    told.runs("b", 7);
    assert!(!told.ready("c", 100));
    told.serves("b");
    assert!(told.ready("c", 100));
}

#[test]
fn a_new_leader_lets_nobody_before_a_more_important_one_that_it_has_not_looked_at() {
    let mut told = Told::new(1);
    for (of, priority) in [("a", 0), ("b", 10), ("c", 0)] {
        let recorded = Stand {
            course: Course::Quiet,
            order: order(1, 1),
            priority: Priority(priority),
        };
        told.turns.expect(&name(of), recorded, told.now);
    }
    assert!(!told.ready("a", 0));
    told.note("b", Course::Quiet, 10, (1, 1));
    assert!(told.ready("a", 0));
    // What was looked at is known.
    let late = Stand {
        course: Course::Quiet,
        order: order(1, 1),
        priority: Priority(10),
    };
    told.turns.expect(&name("b"), late, told.now);
    assert!(told.ready("a", 0));
}

#[test]
fn of_those_who_wait_the_most_important_comes_first_then_whoever_waited_longest() {
    let mut told = Told::new(1);
    told.runs("x", 1);
    for (of, priority) in [("d", 0), ("c", 0), ("b", -5), ("a", 10)] {
        assert!(!told.ready(of, priority), "{of}");
        told.wait(10);
    }
    let mut waiting = vec![("b", -5), ("c", 0), ("d", 0), ("a", 10)];
    let mut running = "x";
    for next in ["a", "d", "c", "b"] {
        told.serves(running);
        let begun: Vec<_> = waiting.iter().filter(|it| told.ready(it.0, it.1)).collect();
        assert_eq!(begun.len(), 1, "{begun:?}");
        assert_eq!(begun[0].0, next);
        waiting.retain(|it| it.0 != next);
        told.runs(next, 1);
        running = next;
    }
}

#[test]
fn one_that_is_about_to_be_found_dead_is_waited_for_if_it_matters_more() {
    let mut told = Told::new(1);
    let troubled = |told: &mut Told| told.note("a", Course::Troubled, 10, (1, 1));
    troubled(&mut told);
    assert!(!told.ready("b", 0), "a is expected");
    // Where there is room for both, nobody waits.
    let mut roomy = Told::new(2);
    troubled(&mut roomy);
    assert!(roomy.ready("b", 0));
    // It never comes: its quorum is missing, or somebody hears its primary.
    told.wait(2_000);
    troubled(&mut told);
    assert!(told.ready("b", 0));
}

#[test]
fn what_records_nothing_keeps_nobody_waiting() {
    let mut told = Told::new(1);
    assert!(told.ready("a", 0));
    told.runs("a", 1);
    told.wait(11_000);
    told.runs("a", 2);
    told.wait(11_000);
    told.runs("a", 2);
    assert!(!told.ready("b", 0), "something was recorded 11 s ago");
    told.wait(1_000);
    told.runs("a", 2);
    assert!(told.ready("b", 0), "a waits for a quorum");
    told.runs("b", 1);
    // It goes on all the same when it can, and counts again.
    told.runs("a", 3);
    assert_eq!(told.turns.under_way(told.now), 2);
    told.serves("b");
    assert!(!told.ready("c", 0));
}

#[test]
fn a_turn_that_is_not_used_goes_to_others_and_whoever_had_one_in_vain_comes_last() {
    let mut told = Told::new(1);
    assert!(told.ready("a", 100));
    for _ in 0..24 {
        assert!(!told.ready("b", 0));
        assert!(told.ready("a", 100), "its beginning may be on its way");
        told.wait(500);
    }
    assert!(!told.ready("a", 100), "it never began");
    assert!(told.ready("b", 0));
    // An election that fails is tried again, and not before the others.
    told.runs("b", 1);
    assert!(!told.ready("c", -100));
    told.note("b", Course::Ready, 0, (2, 5));
    assert!(!told.ready("a", 100), "c has had none");
    assert!(told.ready("c", -100));
}

#[test]
fn a_whole_recovery_between_two_looks_ends_its_turn() {
    let mut told = Told::new(1);
    assert!(told.ready("a", 0));
    assert!(!told.ready("b", 0));
    told.note("a", Course::Troubled, 0, (2, 6));
    assert!(told.ready("b", 0));
}

#[test]
fn who_is_asked_again_waits_still() {
    let mut told = Told::new(1);
    told.runs("x", 1);
    assert!(!told.ready("a", 0));
    told.wait(3_000);
    assert!(!told.ready("a", 0));
    // Its answers are stale, and it asks for new ones when its turn comes.
    told.wait(50);
    assert!(!told.note("a", Course::Troubled, 0, (1, 1)));
    told.serves("x");
    assert!(!told.ready("b", -1));
    assert!(told.ready("a", 0));
}

#[test]
fn a_plan_without_a_turn_says_so_and_begins_nothing() {
    let begin = Change::Begin {
        seen: Epoch(1),
        cause: "it is dead".to_owned(),
    };
    let mut state = at_rest(cluster(&["a", "b", "c"], Durability::Async));
    let plan = Plan {
        proposals: vec![begin],
        waiting: vec![(None, Reason::Asking)],
        ..Plan::default()
    };
    let course = |plan: &Plan, state: &_| plan.stand(state, Priority(3)).course;
    assert_eq!(course(&plan, &state), Course::Ready);
    let queue = Queue {
        under_way: 8,
        limit: 8,
        ahead: 2,
    };
    assert_eq!(plan.clone().in_turn(Turn::Has), plan);
    let held = plan.clone().in_turn(Turn::Waits(queue));
    assert!(held.proposals.is_empty());
    assert_eq!(held.findings, [Finding::WaitsForTurn { queue }]);
    let waits: Vec<_> = held
        .waiting
        .iter()
        .map(|(_, it)| (it.code(), it.to_string()))
        .collect();
    let words = "it waits for its turn: 8 recoveries run, and 8 may at once";
    assert_eq!(waits, [("turn", words.to_owned())]);
    assert_eq!(
        held.findings[0].to_string(),
        "a failover waits for its turn: 8 recoveries run, and 8 may at once; 2 clusters come before this one"
    );
    // What runs is never held back, and a first primary that is waited for is no recovery.
    let promises = BTreeMap::new();
    state.handover = Some(Handover::Fencing { promises });
    assert_eq!(course(&Plan::default(), &state), Course::Runs);
    let instance = crate::model::example::id("a");
    state.handover = Some(Handover::Creating { instance });
    assert_eq!(course(&Plan::default(), &state), Course::Quiet);
}
