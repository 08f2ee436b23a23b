//! Who depends on whom.
//!
//! Nodes are transactions, then one barrier for each acknowledgement. A barrier follows the transaction that
//! it acknowledges and the barrier before; a transaction follows the last barrier before its invocation. So
//! "ended before" is a path, and there are as many edges as events.

use super::Transaction;
use super::graph::{Edge, Graph, READ_WRITE, REAL_TIME, WRITE_READ, WRITE_WRITE};
use super::order::Orders;

/// All dependencies. What ended less than `stale_reads_ms` before a transaction that only reads is not before it.
pub(super) fn graph(
    transactions: &[Transaction<'_>],
    orders: &Orders,
    stale_reads_ms: u64,
) -> Graph {
    let mut edges = vec![];
    let mut add = |from: usize, to: usize, kind: u8| {
        if from != to {
            edges.push(Edge {
                from: number(from),
                to: number(to),
                kind,
            });
        }
    };
    for (key, versions) in &orders.keys {
        let writer = |element: &i64| orders.writer.get(&(*key, *element)).copied();
        for pair in versions.order.windows(2) {
            if let (Some(before), Some(after)) = (writer(&pair[0]), writer(&pair[1])) {
                add(before, after, WRITE_WRITE);
            }
        }
        if let Some(last) = versions.order.last().and_then(writer) {
            for unobserved in &versions.unobserved {
                add(last, *unobserved, WRITE_WRITE);
            }
        }
    }
    for (reader, transaction) in transactions.iter().enumerate() {
        for (key, list) in transaction.reads() {
            let versions = &orders.keys[&key];
            let last = list.last();
            if let Some(writer) = last.and_then(|last| orders.writer.get(&(key, *last))) {
                add(*writer, reader, WRITE_READ);
            }
            let next = match last {
                None => 0,
                Some(last) => match versions.place.get(last) {
                    Some(place) => place + 1,
                    // Only an incompatible order has elements without a place.
                    None => continue,
                },
            };
            match versions.order.get(next) {
                Some(next) => {
                    if let Some(writer) = orders.writer.get(&(key, *next)) {
                        add(reader, *writer, READ_WRITE);
                    }
                }
                None => {
                    for unobserved in &versions.unobserved {
                        add(reader, *unobserved, READ_WRITE);
                    }
                }
            }
        }
    }
    let nodes = barriers(transactions, stale_reads_ms, &mut add);
    Graph::new(nodes, edges)
}

/// Adds the edges of real time; answers how many nodes there are.
fn barriers(
    transactions: &[Transaction<'_>],
    stale_reads_ms: u64,
    add: &mut impl FnMut(usize, usize, u8),
) -> usize {
    let mut events: Vec<(u64, bool, usize)> = vec![];
    for (number, transaction) in transactions.iter().enumerate() {
        events.push((transaction.call.invoked, false, number));
        if let Some(end) = transaction.call.acknowledged() {
            events.push((end.index, true, number));
        }
    }
    events.sort_unstable();
    let mut nodes = transactions.len();
    // When each acknowledgement came; the barriers are numbered in the same order.
    let mut ends: Vec<u64> = vec![];
    for (_, is_end, number) in events {
        let transaction = &transactions[number];
        if is_end {
            add(number, nodes, REAL_TIME);
            if !ends.is_empty() {
                add(nodes - 1, nodes, REAL_TIME);
            }
            ends.push(transaction.call.completed.map_or(0, |end| end.time.0));
            nodes += 1;
            continue;
        }
        let only_reads = transaction.appends().next().is_none();
        let before = if only_reads && stale_reads_ms > 0 {
            let allowed = stale_reads_ms * 1_000_000;
            let invoked = transaction.call.invoked_at.0;
            ends.partition_point(|end| end + allowed < invoked)
        } else {
            ends.len()
        };
        if before > 0 {
            add(transactions.len() + before - 1, number, REAL_TIME);
        }
    }
    nodes
}

fn number(node: usize) -> u32 {
    u32::try_from(node).expect("a history has fewer than four billion events")
}
