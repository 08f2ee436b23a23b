//! The decisions about a cluster without agents, against every interleaving of a small world: a primary and two standbys,
//! three peers, crashes, restarts, cut links, lost answers. Nothing is drawn at random: all that can happen is tried.
//! With the feature `mutants` each rule is broken on purpose, and must be caught by the invariant that it belongs to.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod world;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use world::{Bounds, Rule, World};

/// What was found wrong, with the way there.
struct Violation {
    rule: Rule,
    way: Vec<String>,
}

/// Visits the states in the order of their distance from the beginning; ends with the first violation.
fn explore(begin: World, most: usize) -> (usize, Option<Violation>) {
    let mut known = BTreeSet::from([digest(&begin)]);
    // Of each state the one that it was reached from, and by what.
    let mut reached: Vec<Option<(usize, String)>> = vec![None];
    let mut open = VecDeque::from([(0, begin)]);
    while let Some((at, world)) = open.pop_front() {
        for (what, next) in world.successors() {
            if let Some(rule) = next.violation {
                let (mut way, mut at) = (vec![what], at);
                while let Some((from, what)) = &reached[at] {
                    way.push(what.clone());
                    at = *from;
                }
                way.reverse();
                return (reached.len(), Some(Violation { rule, way }));
            }
            if known.insert(digest(&next)) {
                reached.push(Some((at, what)));
                open.push_back((reached.len() - 1, next));
            }
        }
        if reached.len() > most {
            break;
        }
    }
    (reached.len(), None)
}

/// Takes a text and keeps what tells it from others: two of a billion are taken for one about as often as a machine fails.
#[derive(Default)]
struct Digest([DefaultHasher; 2]);

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let [one, other] = &mut self.0;
        one.write(text.as_bytes());
        other.write(text.as_bytes());
        Ok(())
    }
}

fn digest(world: &World) -> [u64; 2] {
    let mut digest = Digest::default();
    digest.0[1].write_u8(1);
    world.key(&mut digest).unwrap();
    digest.0.map(|half| half.finish())
}

/// Each world is finite, and larger than what a run visits by itself, which is the nearest of its states: `STATES=10000000`
/// visits more.
fn most() -> usize {
    let asked = std::env::var("STATES").ok().and_then(|it| it.parse().ok());
    asked.unwrap_or(400_000)
}

fn nothing_happens(bounds: Bounds) {
    nothing_happens_within(bounds, most());
}

/// A third of that, for a world that differs little from another one.
fn nothing_happens_near(bounds: Bounds) {
    nothing_happens_within(bounds, most() / 3);
}

fn nothing_happens_within(bounds: Bounds, most: usize) {
    let states = visited(World::new(bounds), most);
    eprintln!("{states} states of {bounds:?}");
    assert!(states > most.min(100_000), "{states} states");
}

fn nothing_happens_after(begin: World) {
    visited(begin, most());
}

fn visited(begin: World, most: usize) -> usize {
    let (states, found) = explore(begin, most);
    if let Some(Violation { rule, way }) = found {
        panic!("{rule:?} after {}", way.join("\n  "));
    }
    states
}

/// Somebody asks for another primary, and little goes wrong.
fn switchover(is_quorum: bool) -> Bounds {
    Bounds {
        commits: 1,
        crashes: 1,
        cuts: 1,
        switchovers: 1,
        hands: 1,
        epochs: 3,
        ..Bounds::faults(is_quorum)
    }
}

/// Somebody promotes, lets write and has follow behind the leader's back.
fn hands() -> Bounds {
    Bounds {
        crashes: 1,
        cuts: 0,
        hands: 2,
        epochs: 3,
        ..Bounds::faults(true)
    }
}

#[test]
fn nothing_that_can_happen_breaks_an_invariant_where_commits_wait() {
    nothing_happens(Bounds::faults(true));
}

#[test]
fn nothing_that_can_happen_breaks_an_invariant_where_they_do_not() {
    nothing_happens(Bounds::faults(false));
}

#[test]
fn a_switchover_that_something_disturbs_breaks_no_invariant_where_commits_wait() {
    nothing_happens(switchover(true));
}

#[test]
fn a_switchover_that_something_disturbs_breaks_no_invariant_where_they_do_not() {
    nothing_happens(switchover(false));
}

/// Data is replaced while servers crash.
fn copies() -> Bounds {
    Bounds {
        cuts: 0,
        epochs: 3,
        copies: 1,
        ..Bounds::faults(true)
    }
}

/// The same, where the leader may not see the marks of copies.
fn copies_without_marks() -> Bounds {
    Bounds {
        sees_marks: false,
        ..copies()
    }
}

/// The same, in a group that has just come to the level on which copies are recorded.
fn copies_from_now_on() -> Bounds {
    Bounds {
        has_copies: false,
        ..copies()
    }
}

/// Volumes are put back, and files are touched, while servers crash.
fn volumes() -> Bounds {
    Bounds {
        cuts: 0,
        epochs: 3,
        rollbacks: 1,
        touches: 1,
        ..Bounds::faults(true)
    }
}

/// What commits wait for is changed.
fn names() -> Bounds {
    Bounds {
        crashes: 1,
        cuts: 1,
        epochs: 3,
        names: 2,
        ..Bounds::faults(true)
    }
}

#[test]
fn a_change_of_what_commits_wait_for_breaks_no_invariant() {
    nothing_happens(names());
}

#[test]
fn a_copy_that_replaces_another_breaks_no_invariant() {
    nothing_happens(copies());
}

#[test]
fn a_copy_that_replaces_another_breaks_no_invariant_where_marks_are_not_seen() {
    nothing_happens_near(copies_without_marks());
}

#[test]
fn a_copy_that_replaces_another_breaks_no_invariant_in_a_group_that_just_rose() {
    nothing_happens_near(copies_from_now_on());
}

#[test]
fn a_volume_that_is_put_back_and_files_that_are_touched_break_no_invariant() {
    nothing_happens_near(volumes());
}

#[test]
fn a_branch_of_somebody_elses_making_is_never_promoted() {
    nothing_happens_after(world::directed::stray_beside());
}

#[test]
fn one_that_opened_unseen_never_takes_the_place_of_the_primary() {
    nothing_happens_after(world::directed::the_old_one_again());
}

#[test]
fn a_branch_under_the_number_of_another_is_never_promoted() {
    nothing_happens_after(world::directed::told_in_vain());
}

#[test]
fn what_somebody_does_by_hand_breaks_no_invariant() {
    nothing_happens(hands());
}

#[cfg(feature = "mutants")]
#[test]
fn every_broken_rule_is_caught_by_its_invariant() {
    use primacy::recovery::Mutation as M;
    for rule in M::OVER_SQL {
        let faults = |is_quorum| World::new(Bounds::faults(is_quorum));
        let without_writes = Bounds {
            commits: 0,
            ..Bounds::faults(false)
        };
        let (begin, expected) = match rule {
            M::SqlMajority => (faults(true), Rule::MajorityFindsItGone),
            M::SqlVeto => (faults(true), Rule::NobodyHearsIt),
            M::SqlRevocation | M::SqlBestCandidate => {
                (faults(true), Rule::NothingAcknowledgedIsLost)
            }
            M::SqlTold => (
                world::directed::the_old_one_again(),
                Rule::NothingAcknowledgedIsLost,
            ),
            M::SqlUndecided => (World::new(without_writes), Rule::OneIsToldAtATime),
            M::SqlQuiet => (World::new(switchover(false)), Rule::TheOldOneIsQuiet),
            M::SqlCopies => (World::new(copies()), Rule::NothingAcknowledgedIsLost),
            M::SqlBarrier => (World::new(names()), Rule::NothingAcknowledgedIsLost),
            M::SqlBranch => (world::directed::told_in_vain(), Rule::OneHistory),
            M::SqlWritten => (world::directed::stray_beside(), Rule::OneHistory),
            M::SqlGoal => (World::new(copies()), Rule::NothingAcknowledgedIsLost),
            M::SqlStart => (World::new(volumes()), Rule::NothingAcknowledgedIsLost),
            M::SqlReach => (World::new(switchover(true)), Rule::NothingIsQuietedInVain),
            _ => unreachable!("{rule:?} is of agents"),
        };
        M::set(Some(rule));
        let (states, found) = explore(begin, most());
        M::set(None);
        let found = found.unwrap_or_else(|| panic!("{rule:?} is not noticed"));
        let way = found.way.join("\n  ");
        assert_eq!(found.rule, expected, "{rule:?} broken: {way}");
        eprintln!(
            "{rule:?}: {expected:?} after {} events, {states} states",
            found.way.len()
        );
    }
}
