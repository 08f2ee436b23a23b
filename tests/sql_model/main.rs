//! The decisions about a cluster without agents, against every interleaving of a small world: a primary and two standbys,
//! three peers, crashes, restarts, cut links, lost answers. Nothing is drawn at random: all that can happen is tried.
//! With the feature `mutants` each rule is broken on purpose, and must be caught by the invariant that it belongs to.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod world;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use world::{Rule, World};

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

/// Each world is finite: 1.24 million states where commits wait for standbys, 2.74 million where they do not. By itself a
/// run visits all of the former and the nearest of the latter; `STATES=10000000` visits all of both.
fn most() -> usize {
    let asked = std::env::var("STATES").ok().and_then(|it| it.parse().ok());
    asked.unwrap_or(1_300_000)
}

fn nothing_happens(is_quorum: bool) {
    let (states, found) = explore(World::new(is_quorum), most());
    if let Some(Violation { rule, way }) = found {
        panic!("{rule:?} after {}", way.join("\n  "));
    }
    eprintln!("{states} states");
    assert!(states > 1_000_000, "{states} states");
}

#[test]
fn nothing_that_can_happen_breaks_an_invariant_where_commits_wait() {
    nothing_happens(true);
}

#[test]
fn nothing_that_can_happen_breaks_an_invariant_where_they_do_not() {
    nothing_happens(false);
}

#[cfg(feature = "mutants")]
#[test]
fn every_broken_rule_is_caught_by_its_invariant() {
    use primacy::recovery::Mutation as M;
    for rule in M::OVER_SQL {
        let (is_quorum, expected) = match rule {
            M::SqlMajority => (true, Rule::MajorityFindsItGone),
            M::SqlVeto => (true, Rule::NobodyHearsIt),
            M::SqlRevocation | M::SqlBestCandidate | M::SqlTold => {
                (true, Rule::NothingAcknowledgedIsLost)
            }
            M::SqlUndecided => (false, Rule::OneIsToldAtATime),
            _ => unreachable!("{rule:?} is of agents"),
        };
        M::set(Some(rule));
        let (states, found) = explore(World::new(is_quorum), most());
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
