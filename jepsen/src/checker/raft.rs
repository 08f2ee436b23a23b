//! Do the peers keep what they promised each other?
//!
//! A term has one leader, or several of which each has a higher number than the one before: openraft orders leaders by
//! term and number, so that two candidates of one term need no other election. The earlier one leads nobody from then
//! on, and knows it soon. No peer's term ever falls, power cuts included. Its committed and applied index
//! do not fall either, as long as it answers: what is committed is volatile in Raft (Ongaro and Ousterhout 2014, fig. 2),
//! so a peer that was restarted may know less until a leader tells it. After openraft's own list
//! (`tests-turmoil/README.md` there), as far as it can be seen from outside.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Call, Operation, Outcome, PeerState, Setup};

use super::{Evidence, Verdict};

/// A number that only grows, if the peer tells it.
type Part = fn(&PeerState) -> Option<u64>;

/// What a peer forgets when it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Durable,
    Volatile,
}

/// Judges what peers said of themselves.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let looks: Vec<(&Call, &PeerState)> = calls
        .iter()
        .filter_map(|call| match &call.operation {
            Operation::Peer(state) if call.outcome == Outcome::Ok => Some((call, state)),
            _ => None,
        })
        .collect();
    if looks.is_empty() {
        return None;
    }
    let mut evidence = leaders(&looks, setup);
    let parts: [(&'static str, Memory, Part); 3] = [
        ("term-fell", Memory::Durable, |state| Some(state.term)),
        ("committed-fell", Memory::Volatile, |state| state.committed),
        ("applied-fell", Memory::Volatile, |state| state.applied),
    ];
    let silences: Vec<(&Call, &str)> = calls
        .iter()
        .filter_map(|call| match &call.operation {
            Operation::Peer(state) if call.outcome == Outcome::Failed => {
                Some((call, state.peer.as_str()))
            }
            _ => None,
        })
        .collect();
    for (anomaly, memory, part) in parts {
        let forgets = match memory {
            Memory::Durable => &[],
            Memory::Volatile => silences.as_slice(),
        };
        evidence.extend(fell(anomaly, part, &looks, forgets));
    }
    Some(Verdict::of(evidence))
}

/// Leaders that share a term and must not: the lower one goes on for longer than it may take to notice the higher one.
fn leaders(looks: &[(&Call, &PeerState)], setup: &Setup) -> Vec<Evidence> {
    let noticed = setup.superseded_ms * 1_000_000;
    let mut of_term: BTreeMap<u64, BTreeMap<Peer<'_>, Vec<&Call>>> = BTreeMap::new();
    for (call, state) in looks.iter().filter(|(_, state)| state.leads) {
        let peers = of_term.entry(state.term).or_default();
        peers.entry(Peer::of(state)).or_default().push(call);
    }
    let mut evidence = vec![];
    for (term, peers) in of_term {
        let peers: Vec<_> = peers.into_iter().collect();
        for (number, (lower, its_looks)) in peers.iter().enumerate() {
            for (higher, others) in &peers[number + 1..] {
                let elected = others.iter().filter_map(|call| call.completed);
                let elected = elected.min_by_key(|end| end.time);
                let is_late = |call: &&&Call| match elected {
                    Some(elected) if lower.number.is_some() => {
                        call.invoked_at.0 > elected.time.0 + noticed
                    }
                    _ => true,
                };
                let (Some(late), Some(first)) = (its_looks.iter().find(is_late), others.first())
                else {
                    continue;
                };
                evidence.push(Evidence {
                    anomaly: "two-leaders",
                    detail: format!("{lower} and {higher} led in term {term}"),
                    events: vec![first.shown(), late.shown()],
                });
            }
        }
    }
    evidence
}

/// One peer: the host of a peer that was replaced has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Peer<'a> {
    number: Option<u64>,
    host: &'a str,
}

impl<'a> Peer<'a> {
    fn of(state: &'a PeerState) -> Peer<'a> {
        Peer {
            number: state.number,
            host: &state.peer,
        }
    }
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{} (peer {number})", self.host),
            None => f.write_str(self.host),
        }
    }
}

/// The first fall of each peer, between looks of which one ended before the other began, and without a silence in
/// which it may have forgotten.
fn fell(
    anomaly: &'static str,
    part: Part,
    looks: &[(&Call, &PeerState)],
    silences: &[(&Call, &str)],
) -> Vec<Evidence> {
    // Looks are in the order of invocation; of the earlier ones only the highest that ended counts.
    let mut of_peer: BTreeMap<Peer<'_>, Vec<(&Call, u64)>> = BTreeMap::new();
    for (call, state) in looks {
        if let Some(value) = part(state) {
            let peer = Peer::of(state);
            of_peer.entry(peer).or_default().push((call, value));
        }
    }
    of_peer
        .into_iter()
        .filter_map(|(peer, values)| {
            let mut ended = values.clone();
            ended.sort_by_key(|(call, _)| call.shown());
            let mut ended = ended.into_iter().peekable();
            let mut silent = silences
                .iter()
                .filter(|(_, it)| *it == peer.host)
                .peekable();
            let mut highest: Option<(&Call, u64)> = None;
            values.into_iter().find_map(|(call, value)| {
                while let Some(before) = ended.next_if(|(it, _)| it.shown() < call.invoked) {
                    while silent
                        .next_if(|(it, _)| it.shown() < before.0.invoked)
                        .is_some()
                    {
                        highest = None;
                    }
                    if highest.is_none_or(|(_, highest)| highest < before.1) {
                        highest = Some(before);
                    }
                }
                while silent
                    .next_if(|(it, _)| it.shown() < call.invoked)
                    .is_some()
                {
                    highest = None;
                }
                let (before, was) = highest.filter(|(_, was)| value < *was)?;
                Some(Evidence {
                    anomaly,
                    detail: format!("{peer} went from {was} back to {value}"),
                    events: vec![before.shown(), call.shown()],
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::history::{Event, History, Phase, Process};

    /// The anomalies of looks at one peer: term and applied index, or silence.
    fn check(looks: &[Option<(u64, u64)>], expected: &[&str]) {
        let events = looks.iter().enumerate().flat_map(|(number, told)| {
            let event = |phase, index, (term, applied)| Event {
                index,
                phase,
                process: Process::Client(1),
                operation: Operation::Peer(PeerState {
                    peer: "p1".to_owned(),
                    number: Some(1),
                    term,
                    leads: false,
                    committed: None,
                    applied: Some(applied),
                }),
                time: Moment(index),
                answerer: None,
                session: None,
                error: None,
            };
            let index = 2 * number as u64;
            let end = match told {
                Some(told) => event(Phase::Ok, index + 1, *told),
                None => event(Phase::Fail, index + 1, (0, 0)),
            };
            [event(Phase::Invoke, index, (0, 0)), end]
        });
        let history = History::indexed(events.collect()).unwrap();
        let verdict = super::check(&history.calls().unwrap(), &Setup::default()).unwrap();
        assert_eq!(verdict.anomalies(), expected, "{looks:?}");
    }

    #[test]
    fn a_restart_may_forget_what_was_committed_and_never_the_term() {
        check(&[Some((2, 18)), Some((2, 17))], &["applied-fell"]);
        check(&[Some((2, 18)), None, Some((2, 17)), Some((3, 19))], &[]);
        check(&[Some((2, 18)), None, Some((1, 18))], &["term-fell"]);
        let later = [Some((2, 18)), None, Some((2, 17)), Some((2, 16))];
        check(&later, &["applied-fell"]);
    }

    /// Who leads term 5 at which second, by number; each look takes a millisecond.
    fn check_leaders(looks: &[(u64, Option<u64>, u64)], expected: &[&str]) {
        check_leaders_in(&Setup::default(), looks, expected);
    }

    fn check_leaders_in(setup: &Setup, looks: &[(u64, Option<u64>, u64)], expected: &[&str]) {
        let events = looks
            .iter()
            .zip(0..)
            .flat_map(|((host, number, second), at)| {
                let event = |phase, index, time| Event {
                    index,
                    phase,
                    process: Process::Client(*host),
                    operation: Operation::Peer(PeerState {
                        peer: format!("p{host}"),
                        number: *number,
                        term: 5,
                        leads: true,
                        committed: None,
                        applied: None,
                    }),
                    time: Moment(time),
                    answerer: None,
                    session: None,
                    error: None,
                };
                let begin = second * 1_000_000_000;
                [
                    event(Phase::Invoke, 2 * at, begin),
                    event(Phase::Ok, 2 * at + 1, begin + 1_000_000),
                ]
            });
        let history = History::indexed(events.collect()).unwrap();
        let verdict = super::check(&history.calls().unwrap(), setup).unwrap();
        assert_eq!(verdict.anomalies(), expected, "{looks:?}");
    }

    #[test]
    fn a_term_may_pass_to_a_higher_number_and_never_back() {
        check_leaders(&[(1, Some(4), 10), (2, Some(5), 10)], &[]);
        // It had not noticed yet, or was elected before and seen late.
        check_leaders(&[(1, Some(4), 10), (2, Some(5), 10), (1, Some(4), 11)], &[]);
        check_leaders(&[(2, Some(5), 10), (1, Some(4), 14)], &["two-leaders"]);
        check_leaders(
            &[(1, Some(4), 10), (2, Some(5), 10), (1, Some(4), 14)],
            &["two-leaders"],
        );
        let far = Setup {
            superseded_ms: 6_000,
            ..Setup::default()
        };
        let late = [(1, Some(4), 10), (2, Some(5), 10), (1, Some(4), 14)];
        check_leaders_in(&far, &late, &[]);
        check_leaders_in(&far, &[late[1], (1, Some(4), 17)], &["two-leaders"]);
        // Histories of old name no numbers, and knew of no such thing.
        check_leaders(&[(1, None, 10), (2, None, 10)], &["two-leaders"]);
    }
}
