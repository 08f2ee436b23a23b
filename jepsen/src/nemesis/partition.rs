//! Cuts between hosts. The host that watches reaches everybody all the time.

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::hosts::layout::{Kind, Layout};
use crate::net::matrix::{Matrix, Quality};

/// A set of links that are cut.
#[derive(Debug)]
pub struct Partition {
    host: String,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Isolated,
    Mute,
    Deaf,
    Ring,
    Zone,
    WithClients,
}

impl Partition {
    /// `host` reaches nobody.
    pub fn isolate(host: String) -> Partition {
        Partition::of(host, Shape::Isolated)
    }

    /// Nobody hears `host`.
    pub fn mute(host: String) -> Partition {
        Partition::of(host, Shape::Mute)
    }

    /// `host` hears nobody.
    pub fn deaf(host: String) -> Partition {
        Partition::of(host, Shape::Deaf)
    }

    /// Each peer and node reaches a majority of them, no two the same.
    pub fn ring() -> Partition {
        Partition::of(String::new(), Shape::Ring)
    }

    /// The zone of `host` reaches nobody outside it.
    pub fn zone(host: String) -> Partition {
        Partition::of(host, Shape::Zone)
    }

    /// `host` reaches the clients of its zone and nobody else.
    pub fn with_clients(host: String) -> Partition {
        Partition::of(host, Shape::WithClients)
    }

    fn of(host: String, shape: Shape) -> Partition {
        Partition { host, shape }
    }

    fn matrix(&self, layout: &Layout) -> Matrix {
        let all = layout.faulty();
        let own = std::slice::from_ref(&self.host);
        let perfect = Matrix::default();
        match self.shape {
            Shape::Isolated => perfect.both_ways(own, &all, Quality::CUT),
            Shape::Mute => perfect.one_way(own, &all, Quality::CUT),
            Shape::Deaf => perfect.one_way(&all, own, Quality::CUT),
            // Neighbours in the ring are of different kinds and zones.
            Shape::Ring => {
                let (peers, nodes) = (layout.names(Kind::Peer), layout.names(Kind::Node));
                let longest = peers.len().max(nodes.len());
                let pairs = (0..longest).flat_map(|number| [peers.get(number), nodes.get(number)]);
                let order: Vec<_> = pairs.flatten().collect();
                Matrix::ring(&order)
            }
            Shape::Zone => between(&layout.zone_of(&self.host), &all),
            Shape::WithClients => {
                let mut side = layout.zone_of(&self.host);
                let clients = layout.names(Kind::Client);
                side.retain(|name| *name == self.host || clients.contains(name));
                between(&side, &all)
            }
        }
    }

    fn name(&self) -> String {
        format!("partition {:?} {}", self.shape, self.host)
    }
}

/// Cuts `side` off from the rest of `all`.
pub(super) fn between(side: &[String], all: &[String]) -> Matrix {
    let rest: Vec<_> = all.iter().filter(|name| !side.contains(name)).collect();
    let side: Vec<_> = side.iter().collect();
    Matrix::default().both_ways(&side, &rest, Quality::CUT)
}

impl Injection for Partition {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let matrix = self.matrix(hosts.layout());
        Ok(hosts.lay(&self.name(), matrix)?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        hosts.lift(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cuts_what_it_says_and_never_the_one_that_watches() {
        let layout = Layout::new(3);
        let check = |partition: Partition, cut: &[(&str, &str)], open: &[(&str, &str)]| {
            let matrix = partition.matrix(&layout);
            let is_cut = |link: &(&str, &str)| matrix.between(link.0, link.1).cut;
            assert!(cut.iter().all(is_cut), "{partition:?}");
            assert!(!open.iter().any(is_cut), "{partition:?}");
            for host in layout.all() {
                assert!(!is_cut(&("watch", &host.name)) && !is_cut(&(&host.name, "watch")));
            }
        };
        let a = || "a".to_owned();
        check(
            Partition::isolate(a()),
            &[("a", "p1"), ("client1", "a")],
            &[("b", "p1")],
        );
        check(Partition::mute(a()), &[("a", "b")], &[("b", "a")]);
        check(Partition::deaf(a()), &[("b", "a")], &[("a", "b")]);
        let ring = [("p1", "b"), ("a", "p3"), ("p2", "c")];
        check(
            Partition::ring(),
            &ring,
            &[("p1", "p2"), ("a", "b"), ("client1", "a")],
        );
        let open = [("p1", "a"), ("a", "client1"), ("b", "c")];
        check(
            Partition::zone("p1".to_owned()),
            &[("p1", "p2"), ("a", "b")],
            &open,
        );
        let open = [("a", "client1"), ("p1", "p2")];
        check(
            Partition::with_clients(a()),
            &[("a", "p1"), ("client1", "b")],
            &open,
        );
    }
}
