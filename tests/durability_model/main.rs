//! A change of durability, against every interleaving of a small world: one primary, up to four standbys, a leader, an agent.
//! Between any two steps the leader or the agent dies, a word is late or lost, a standby is restarted, a walsender stays with
//! the settings it had, the checkpointer is late to say that commits wait at all, a failover begins. Nothing is drawn at random: all that can happen is tried. The decisions, the log, the
//! duties and the proof are the product's own.
//!
//! In every state, whoever could be elected by the record holds every acknowledged commit, if the record is a quorum. How long
//! leases last is not of this world: `tests/simulation` has them. With the feature `mutants` each
//! rule is broken on purpose, and a commit must be lost.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod bounds;
mod leading;
mod numbered;
mod seeing;
mod world;

use std::collections::{HashMap, VecDeque};

use bounds::Bounds;
use leading::Product;
use world::World;

/// More states than any of these worlds has.
const MOST: usize = 20_000_000;

/// What was found.
struct Found {
    states: usize,
    /// How often a stronger rule was recorded.
    strengthened: usize,
    /// The way to the first commit that is lost.
    lost: Option<Vec<String>>,
}

/// Visits the states in the order of their distance from the beginning; ends with the first commit that is lost.
fn explore(bounds: Bounds) -> Found {
    let mut product = Product::default();
    let begin = World::new(bounds, &mut product);
    // Of each state the one that it was reached from.
    let mut from = HashMap::from([(begin.clone(), None)]);
    let mut open = VecDeque::from([begin]);
    let mut strengthened = 0;
    while let Some(world) = open.pop_front() {
        for next in world.successors(&mut product) {
            if from.contains_key(&next) {
                continue;
            }
            from.insert(next.clone(), Some(world.clone()));
            if next.loses(&product) {
                let mut way = vec![];
                let mut at = Some(next);
                while let Some(world) = at {
                    way.push(product.in_words(&world));
                    at = from[&world].clone();
                }
                way.reverse();
                return Found {
                    states: from.len(),
                    strengthened,
                    lost: Some(way),
                };
            }
            strengthened += usize::from(product.acks(&next) > product.acks(&world));
            open.push_back(next);
            assert!(from.len() < MOST, "more states than it is meant for");
        }
    }
    Found {
        states: from.len(),
        strengthened,
        lost: None,
    }
}

#[test]
fn whoever_could_be_elected_holds_every_acknowledged_commit() {
    for bounds in Bounds::all() {
        let Found {
            states,
            strengthened,
            lost,
        } = explore(bounds);
        eprintln!("{bounds:?}: {states} states, recorded as stronger {strengthened} times");
        if let Some(way) = lost {
            panic!("{bounds:?}: a commit is lost:\n  {}", way.join("\n  "));
        }
        let can_be_stronger = bounds.standbys + 1 < bounds.members;
        assert!(
            strengthened > 0 || !can_be_stronger,
            "nothing was ever confirmed"
        );
    }
}

#[cfg(feature = "mutants")]
#[test]
fn without_any_of_its_rules_a_commit_is_lost() {
    use primacy::recovery::Mutation;
    for rule in Mutation::OF_DURABILITY {
        Mutation::set(Some(rule));
        let first = Bounds::near().into_iter().find_map(|bounds| {
            let found = explore(bounds);
            Some((bounds, found.states, found.lost?))
        });
        Mutation::set(None);
        let (bounds, states, way) = first.unwrap_or_else(|| panic!("{rule:?} is not noticed"));
        let events = way.len() - 1;
        eprintln!("{rule:?}: lost after {events} events, {states} states of {bounds:?}");
    }
}
