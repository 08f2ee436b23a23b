//! Which hosts there are and where: a value.

use std::net::Ipv4Addr;

use crate::net::protocol;

/// The port of a peer.
pub const PEER_PORT: u16 = 7001;
/// The port of PostgreSQL.
pub const DATABASE_PORT: u16 = 5432;
/// The port of an agent's health checks.
pub const HEALTH_PORT: u16 = 8008;
/// How many zones there are, each with a peer and a host for clients.
pub const ZONES: usize = 3;
/// The host from which everything is watched; no fault touches its links.
pub const WATCH: &str = "watch";

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Primacy server.
    Peer,
    /// An agent, its leash and its PostgreSQL.
    Node,
    /// Applications.
    Client,
    /// The harness itself.
    Watch,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name: `p1`, `a`, `client1`, `watch`.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Its zone, counted from 1.
    pub zone: usize,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Every host, in the order of their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Vec<Host>);

impl Layout {
    /// One peer and one client in each zone, so many nodes spread over them, and the host that watches.
    pub fn new(nodes: usize) -> Layout {
        let mut hosts = vec![];
        let mut add = |name: String, kind, zone| {
            let address = protocol(hosts.len() + 1);
            hosts.push(Host {
                name,
                kind,
                zone,
                address,
            });
        };
        for zone in 1..=ZONES {
            add(format!("p{zone}"), Kind::Peer, zone);
        }
        for (number, letter) in ('a'..='z').take(nodes).enumerate() {
            add(letter.to_string(), Kind::Node, number % ZONES + 1);
        }
        for zone in 1..=ZONES {
            add(format!("client{zone}"), Kind::Client, zone);
        }
        add(WATCH.to_owned(), Kind::Watch, 0);
        Layout(hosts)
    }

    /// Every host.
    pub fn all(&self) -> &[Host] {
        &self.0
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.0.iter().find(|host| host.name == name)
    }

    /// Those of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Host> {
        self.0.iter().filter(move |host| host.kind == kind)
    }

    /// The names of those of one kind.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        self.of(kind).map(|host| host.name.clone()).collect()
    }

    /// The names of all that may be struck: everybody but the one that watches.
    pub fn faulty(&self) -> Vec<String> {
        let all = self.0.iter().filter(|host| host.kind != Kind::Watch);
        all.map(|host| host.name.clone()).collect()
    }

    /// The names of all in a zone, counted from 1.
    pub fn zone(&self, zone: usize) -> Vec<String> {
        let all = self.0.iter().filter(|host| host.zone == zone);
        all.map(|host| host.name.clone()).collect()
    }

    /// The names of all in the zone of `name`, that host included.
    pub fn zone_of(&self, name: &str) -> Vec<String> {
        let zone = self.host(name).map(|host| host.zone);
        let all = self.0.iter().filter(|host| Some(host.zone) == zone);
        all.map(|host| host.name.clone()).collect()
    }

    /// Those of `names` that are peers or nodes.
    pub fn machines_of(&self, names: &[String]) -> Vec<String> {
        let is_machine = |host: &&Host| matches!(host.kind, Kind::Peer | Kind::Node);
        let all = self.0.iter().filter(is_machine);
        let named = all.filter(|host| names.contains(&host.name));
        named.map(|host| host.name.clone()).collect()
    }

    /// Where each peer answers.
    pub fn peers(&self) -> Vec<String> {
        self.of(Kind::Peer)
            .map(|host| format!("{}:{PEER_PORT}", host.address))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_hold_a_peer_a_client_and_nodes() {
        let layout = Layout::new(5);
        assert_eq!(layout.zone_of("d"), ["p1", "a", "d", "client1"]);
        assert_eq!(layout.zone_of("p3"), ["p3", "c", "client3"]);
        assert_eq!(layout.faulty().len(), 11);
        assert_eq!(layout.peers()[1], "198.51.100.2:7001");
    }
}
