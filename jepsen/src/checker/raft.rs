//! Do the peers keep what they promised each other?
//!
//! At most one leader in a term, and no peer's term, committed or applied index ever falls, power cuts
//! included: openraft's own list (`tests-turmoil/README.md` there), as far as it can be seen from outside.

use std::collections::BTreeMap;

use crate::history::{Call, Operation, Outcome, PeerState, Setup};

use super::{Evidence, Verdict};

/// A number that only grows, if the peer tells it.
type Part = fn(&PeerState) -> Option<u64>;

/// Judges what peers said of themselves.
pub fn check(calls: &[Call], _: &Setup) -> Option<Verdict> {
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
    let mut evidence = leaders(&looks);
    let parts: [(&'static str, Part); 3] = [
        ("term-fell", |state| Some(state.term)),
        ("committed-fell", |state| state.committed),
        ("applied-fell", |state| state.applied),
    ];
    for (anomaly, part) in parts {
        evidence.extend(fell(anomaly, part, &looks));
    }
    Some(Verdict::of(evidence))
}

fn leaders(looks: &[(&Call, &PeerState)]) -> Vec<Evidence> {
    let mut first: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for (call, state) in looks.iter().filter(|(_, state)| state.leads) {
        let key = (state.term, state.peer.as_str());
        first.entry(key).or_insert(call.shown());
    }
    let first: Vec<_> = first.into_iter().collect();
    first
        .windows(2)
        .filter(|pair| pair[0].0.0 == pair[1].0.0)
        .map(|pair| Evidence {
            anomaly: "two-leaders",
            detail: format!(
                "{} and {} led in term {}",
                pair[0].0.1, pair[1].0.1, pair[0].0.0
            ),
            events: vec![pair[0].1, pair[1].1],
        })
        .collect()
}

/// The first fall of each peer, between looks of which one ended before the other began.
fn fell(anomaly: &'static str, part: Part, looks: &[(&Call, &PeerState)]) -> Vec<Evidence> {
    // Looks are in the order of invocation; of the earlier ones only the highest that ended counts.
    let mut of_peer: BTreeMap<&str, Vec<(&Call, u64)>> = BTreeMap::new();
    for (call, state) in looks {
        if let Some(value) = part(state) {
            of_peer.entry(&state.peer).or_default().push((call, value));
        }
    }
    of_peer
        .into_iter()
        .filter_map(|(peer, values)| {
            let mut ended = values.clone();
            ended.sort_by_key(|(call, _)| call.shown());
            let mut ended = ended.into_iter().peekable();
            let mut highest: Option<(&Call, u64)> = None;
            values.into_iter().find_map(|(call, value)| {
                while let Some(before) = ended.next_if(|(it, _)| it.shown() < call.invoked) {
                    if highest.is_none_or(|(_, highest)| highest < before.1) {
                        highest = Some(before);
                    }
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
