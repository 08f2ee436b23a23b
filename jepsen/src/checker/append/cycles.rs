//! Cycles of dependencies, by the phenomena that they are.

use super::super::Evidence;
use super::Transaction;
use super::graph::{Edge, Graph, READ_WRITE, REAL_TIME, WRITE_READ, WRITE_WRITE};

/// A kind of cycle: over one edge of a kind, and back over edges of given kinds.
struct Phenomenon {
    name: &'static str,
    with_real_time: &'static str,
    over: u8,
    back: u8,
}

/// The worst first.
const PHENOMENA: [Phenomenon; 4] = [
    Phenomenon {
        name: "G0",
        with_real_time: "G0-realtime",
        over: WRITE_WRITE,
        back: WRITE_WRITE,
    },
    Phenomenon {
        name: "G1c",
        with_real_time: "G1c-realtime",
        over: WRITE_READ,
        back: WRITE_WRITE | WRITE_READ,
    },
    Phenomenon {
        name: "G-single",
        with_real_time: "G-single-realtime",
        over: READ_WRITE,
        back: WRITE_WRITE | WRITE_READ,
    },
    Phenomenon {
        name: "G2",
        with_real_time: "G2-realtime",
        over: READ_WRITE,
        back: WRITE_WRITE | WRITE_READ | READ_WRITE,
    },
];

/// Edges looked at for all ways of one phenomenon; a worse name is given up then, not the verdict.
const BUDGET: usize = 20_000_000;
const SHOWN_EDGES: usize = 24;

/// One cycle of each phenomenon. One that needs real time is left out if the same exists without, and G2
/// if a G-single exists that needs no more.
pub(super) fn find(graph: &Graph, transactions: &[Transaction<'_>]) -> Vec<Evidence> {
    let all = WRITE_WRITE | WRITE_READ | READ_WRITE;
    if graph.components(all | REAL_TIME).is_empty() {
        return vec![];
    }
    let mut found: Vec<Evidence> = vec![];
    for (position, phenomenon) in PHENOMENA.iter().enumerate() {
        let stronger = if phenomenon.name == "G2" {
            position - 1
        } else {
            position
        };
        for extra in [0, REAL_TIME] {
            let of_two = &PHENOMENA[stronger..=position];
            let is_known = of_two.iter().any(|it| {
                let is_found = |name| found.iter().any(|it| it.anomaly == name);
                is_found(it.name) || (extra == REAL_TIME && is_found(it.with_real_time))
            });
            if is_known {
                continue;
            }
            let Some(cycle) = cycle(graph, phenomenon, extra) else {
                continue;
            };
            let anomaly = match extra {
                0 => phenomenon.name,
                _ => phenomenon.with_real_time,
            };
            found.push(shown(anomaly, &cycle, transactions));
        }
    }
    found
}

fn cycle(graph: &Graph, phenomenon: &Phenomenon, extra: u8) -> Option<Vec<Edge>> {
    let back = phenomenon.back | extra;
    let within = graph.components(phenomenon.over | back);
    let mut budget = BUDGET;
    let over = graph
        .edges()
        .iter()
        .filter(|edge| edge.kind == phenomenon.over && within.join(edge));
    for edge in over {
        if let Some(way) = graph.way((edge.to, edge.from), back, &within, &mut budget) {
            return Some([*edge].into_iter().chain(way).collect());
        }
    }
    None
}

/// The cycle in words: barriers are left out.
fn shown(anomaly: &'static str, cycle: &[Edge], transactions: &[Transaction<'_>]) -> Evidence {
    let event = |node: u32| transactions.get(node as usize).map(|it| it.call.shown());
    let mut words = String::new();
    let mut events = vec![];
    for edge in cycle {
        let Some(from) = event(edge.from) else {
            continue;
        };
        let why = match edge.kind {
            WRITE_WRITE => "is overwritten by",
            WRITE_READ => "is read by",
            READ_WRITE => "did not see",
            _ => "ended before",
        };
        if events.len() < SHOWN_EDGES {
            words.push_str(&format!("{from} {why} "));
        }
        events.push(from);
    }
    let first = events.first().copied().unwrap_or_default();
    if events.len() > SHOWN_EDGES {
        words.push_str("… ");
    }
    Evidence {
        anomaly,
        detail: format!("{words}{first}"),
        events,
    }
}
