//! A graph of dependencies, its strongly connected components and shortest ways back.
//!
//! Tarjan's algorithm without recursion: real time makes chains as long as the history, on which a
//! recursive one (petgraph's) would run out of stack.

use std::collections::VecDeque;

/// One wrote the version after another's.
pub(super) const WRITE_WRITE: u8 = 1;
/// One read what another wrote.
pub(super) const WRITE_READ: u8 = 2;
/// One wrote the version after the one that another read.
pub(super) const READ_WRITE: u8 = 4;
/// One ended before another began.
pub(super) const REAL_TIME: u8 = 8;

/// A dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// Who comes first.
    pub from: u32,
    /// Who comes later.
    pub to: u32,
    /// Why.
    pub kind: u8,
}

/// Edges, sorted by where they begin.
#[derive(Debug)]
pub(super) struct Graph {
    edges: Vec<Edge>,
    /// Where the edges of each node begin; one more than there are nodes.
    begins: Vec<usize>,
}

/// The component of each node that lies on a cycle.
#[derive(Debug)]
pub(super) struct Components {
    of: Vec<u32>,
}

const ALONE: u32 = u32::MAX;

impl Components {
    /// Whether both ends lie on one cycle.
    pub fn join(&self, edge: &Edge) -> bool {
        let component = self.of[edge.from as usize];
        component != ALONE && component == self.of[edge.to as usize]
    }

    /// Whether nobody lies on a cycle.
    pub fn is_empty(&self) -> bool {
        self.of.iter().all(|component| *component == ALONE)
    }
}

impl Graph {
    /// Edges between `nodes` nodes.
    pub fn new(nodes: usize, mut edges: Vec<Edge>) -> Graph {
        edges.sort_unstable();
        edges.dedup();
        let mut begins = vec![0; nodes + 1];
        for edge in &edges {
            begins[edge.from as usize + 1] += 1;
        }
        for node in 0..nodes {
            begins[node + 1] += begins[node];
        }
        Graph { edges, begins }
    }

    /// All edges.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    fn nodes(&self) -> usize {
        self.begins.len() - 1
    }

    fn edges_from(&self, node: u32) -> &[Edge] {
        let node = node as usize;
        &self.edges[self.begins[node]..self.begins[node + 1]]
    }

    /// The components of the edges whose kind is in `kinds`.
    pub fn components(&self, kinds: u8) -> Components {
        let mut search = Tarjan {
            graph: self,
            kinds,
            index: vec![0; self.nodes()],
            low: vec![0; self.nodes()],
            on_stack: vec![false; self.nodes()],
            stack: vec![],
            next: 1,
            components: Components {
                of: vec![ALONE; self.nodes()],
            },
            found: 0,
        };
        for node in 0..self.nodes() {
            if search.index[node] == 0 {
                search.visit(u32::try_from(node).expect("nodes are numbered in 32 bits"));
            }
        }
        search.components
    }

    /// A shortest way from one node to another over the given kinds within one component, as edges.
    /// `budget` falls with every edge looked at; none if it is used up, too.
    pub fn way(
        &self,
        (from, to): (u32, u32),
        kinds: u8,
        within: &Components,
        budget: &mut usize,
    ) -> Option<Vec<Edge>> {
        let mut came: std::collections::HashMap<u32, Edge> = std::collections::HashMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(node) = next.pop_front() {
            for edge in self.edges_from(node) {
                *budget = budget.checked_sub(1)?;
                let is_new = edge.to != from && !came.contains_key(&edge.to);
                if edge.kind & kinds == 0 || !is_new || !within.join(edge) {
                    continue;
                }
                came.insert(edge.to, *edge);
                if edge.to == to {
                    let mut way = vec![];
                    let mut node = to;
                    while node != from {
                        let edge = came[&node];
                        way.push(edge);
                        node = edge.from;
                    }
                    way.reverse();
                    return Some(way);
                }
                next.push_back(edge.to);
            }
        }
        None
    }
}

struct Tarjan<'a> {
    graph: &'a Graph,
    kinds: u8,
    /// In the order of the first visit, from 1; 0 before.
    index: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    next: u32,
    components: Components,
    found: u32,
}

impl Tarjan<'_> {
    fn enter(&mut self, node: u32) {
        self.index[node as usize] = self.next;
        self.low[node as usize] = self.next;
        self.next += 1;
        self.stack.push(node);
        self.on_stack[node as usize] = true;
    }

    fn visit(&mut self, root: u32) {
        // Each with the number of its edges that were followed.
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((node, followed)) = path.last_mut() {
            let node = *node;
            let Some(edge) = self.graph.edges_from(node).get(*followed) else {
                path.pop();
                self.leave(node);
                if let Some((parent, _)) = path.last() {
                    let low = self.low[node as usize];
                    let of_parent = &mut self.low[*parent as usize];
                    *of_parent = low.min(*of_parent);
                }
                continue;
            };
            *followed += 1;
            let to = edge.to as usize;
            if edge.kind & self.kinds == 0 {
                continue;
            }
            if self.index[to] == 0 {
                self.enter(edge.to);
                path.push((edge.to, 0));
            } else if self.on_stack[to] {
                let low = &mut self.low[node as usize];
                *low = self.index[to].min(*low);
            }
        }
    }

    /// Takes a whole component off the stack if `node` is its root.
    fn leave(&mut self, node: u32) {
        if self.low[node as usize] != self.index[node as usize] {
            return;
        }
        let is_alone = self.stack.last() == Some(&node);
        while let Some(member) = self.stack.pop() {
            self.on_stack[member as usize] = false;
            if !is_alone {
                self.components.of[member as usize] = self.found;
            }
            if member == node {
                break;
            }
        }
        self.found += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u32, u32, u8)]) -> Graph {
        let edges = edges
            .iter()
            .map(|&(from, to, kind)| Edge { from, to, kind });
        Graph::new(6, edges.collect())
    }

    #[test]
    fn components_are_the_nodes_on_cycles() {
        let graph = graph(&[
            (0, 1, 1),
            (1, 2, 1),
            (2, 0, 2),
            (2, 3, 1),
            (3, 4, 1),
            (4, 3, 8),
        ]);
        assert_eq!(
            graph.components(15).of,
            [1, 1, 1, 0, 0, ALONE].map(|it: u32| it)
        );
        assert!(graph.components(1).is_empty());
        let only = graph.components(3);
        assert_eq!(only.of[3], ALONE);
        let way = graph.way((1, 0), 3, &only, &mut 100).unwrap();
        let ends: Vec<_> = way.iter().map(|edge| edge.to).collect();
        assert_eq!(ends, [2, 0]);
        assert_eq!(graph.way((1, 0), 3, &only, &mut 1), None);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let length = 300_000;
        let chain = (0..length).map(|from| Edge {
            from,
            to: (from + 1) % length,
            kind: 1,
        });
        let graph = Graph::new(length as usize, chain.collect());
        assert!(!graph.components(1).is_empty());
    }
}
