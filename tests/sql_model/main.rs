//! The decisions about a cluster without agents, against every interleaving of a small world: a primary and two standbys,
//! three peers, crashes, restarts, cut links, lost answers. Nothing is drawn at random: all that can happen is tried.
//! With the feature `mutants` each rule is broken on purpose, and must be caught by the invariant that it belongs to.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod world;

use std::collections::{BTreeSet, VecDeque};

use world::{Rule, World};

/// What was found wrong, with the way there.
struct Violation {
    rule: Rule,
    way: Vec<String>,
}

/// Visits the states in the order of their distance from the beginning; ends with the first violation.
fn explore(begin: World, most: usize) -> (usize, Option<Violation>) {
    let mut known = BTreeSet::from([begin.key()]);
    // Of each state the one that it was reached from, and by what.
    let mut visited: Vec<(World, Option<(usize, String)>)> = vec![(begin, None)];
    let mut open = VecDeque::from([0]);
    while let Some(at) = open.pop_front() {
        for (what, next) in visited[at].0.successors() {
            let found = next.violation;
            if known.insert(next.key()) || found.is_some() {
                visited.push((next, Some((at, what))));
                open.push_back(visited.len() - 1);
            }
            if let Some(rule) = found {
                let (mut way, mut at) = (vec![], visited.len() - 1);
                while let Some((from, what)) = &visited[at].1 {
                    way.push(what.clone());
                    at = *from;
                }
                way.reverse();
                return (visited.len(), Some(Violation { rule, way }));
            }
        }
        if visited.len() > most {
            break;
        }
    }
    (visited.len(), None)
}

fn most() -> usize {
    let asked = std::env::var("STATES").ok().and_then(|it| it.parse().ok());
    asked.unwrap_or(60_000)
}

#[test]
fn nothing_that_can_happen_breaks_an_invariant() {
    for is_quorum in [true, false] {
        let (states, found) = explore(World::new(is_quorum), most());
        if let Some(Violation { rule, way }) = found {
            panic!("{rule:?} after {}", way.join("\n  "));
        }
        eprintln!("{states} states, quorum {is_quorum}");
        assert!(states > 1_000, "the world stands still");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn every_broken_rule_is_caught_by_its_invariant() {
    use primacy::recovery::Mutation as M;
    for rule in M::OVER_SQL {
        let expected = match rule {
            M::SqlMajority => Rule::MajorityFindsItGone,
            M::SqlVeto => Rule::NobodyHearsIt,
            M::SqlRevocation | M::SqlBestCandidate => Rule::NothingAcknowledgedIsLost,
            M::SqlUndecided => Rule::OneIsToldAtATime,
            _ => unreachable!("{rule:?} is of agents"),
        };
        M::set(Some(rule));
        let found = [true, false].map(|is_quorum| explore(World::new(is_quorum), 20 * most()).1);
        M::set(None);
        let found: Vec<_> = found.into_iter().flatten().collect();
        assert!(
            found.iter().any(|it| it.rule == expected),
            "{rule:?} is not caught by {expected:?}: {:?}",
            found
                .iter()
                .map(|it| (it.rule, &it.way))
                .collect::<Vec<_>>()
        );
        for it in found {
            eprintln!("{rule:?}: {:?} after {} events", it.rule, it.way.len());
        }
    }
}
