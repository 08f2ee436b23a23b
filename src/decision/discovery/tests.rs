use super::example::facts;
use super::*;
use crate::model::SourceFacts;

fn at(host: &str, port: u16) -> Address {
    Address {
        host: host.to_owned(),
        port,
    }
}

/// A world of instances that answer where they listen.
#[derive(Default)]
struct World {
    servers: BTreeMap<Address, InstanceFacts>,
}

impl World {
    fn add(&mut self, address: Address, name: &str, source: Option<Address>) {
        let number = self.servers.len() as u64;
        if let Some(source) = &source {
            let there = self.servers.iter_mut();
            let is_it =
                |at: &Address| at == source || is_local(&source.host) && at.port == source.port;
            let mut feeds = there.filter(|(at, _)| is_it(at));
            let (_, feeder) = feeds.next().unwrap();
            feeder.replicas.push(ReplicaFacts {
                application_name: name.to_owned(),
                host: Some(address.host.clone()),
                state: "streaming".to_owned(),
                sync_state: "async".to_owned(),
                flushed: None,
                replayed: None,
            });
        }
        let facts = InstanceFacts {
            started: number,
            role: match source {
                Some(_) => Role::Standby,
                None => Role::Primary,
            },
            source: source.map(|address| SourceFacts {
                address,
                application_name: name.to_owned(),
                user: String::new(),
                slot: None,
            }),
            ..facts(address.clone())
        };
        self.servers.insert(address, facts);
    }

    fn walk(&self, given: &[Address], ports: &[u16]) -> Topology {
        let mut walk = Walk::new(given.to_vec(), ports.iter().copied().collect());
        for _ in 0..100 {
            match walk.next() {
                WalkNext::Done(topology) => return topology,
                WalkNext::Ask(addresses) => {
                    for address in addresses {
                        let asked = match self.servers.get(&address) {
                            Some(facts) => Asked::Facts(Box::new(facts.clone())),
                            None => Asked::Failed("nobody is there".to_owned()),
                        };
                        walk.note(address, asked);
                    }
                }
            }
        }
        panic!("the walk does not end");
    }
}

fn found(topology: &Topology) -> Vec<String> {
    topology.instances.keys().map(ToString::to_string).collect()
}

#[test]
fn a_place_that_is_the_callers_own_is_known_however_it_is_written() {
    for host in [
        "",
        "localhost",
        "LocalHost.",
        "db.localhost",
        "ip6-localhost",
        "127.0.0.1",
        "127.0.1.1",
        "::1",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "/run/postgresql",
        "@abstract",
    ] {
        assert!(is_local(host), "{host}");
    }
    for host in ["10.0.0.1", "127.example", "localhost.example", "::2", "db"] {
        assert!(!is_local(host), "{host}");
    }
}

#[test]
fn one_server_is_one_instance_whatever_it_is_called() {
    let mut world = World::default();
    world.add(at("10.0.0.1", 5432), "", None);
    world.add(at("10.0.0.2", 5432), "s1", Some(at("10.0.0.1", 5432)));
    // The same two under other names.
    for (name, of) in [
        ("db1", "10.0.0.1"),
        ("127.0.0.1", "10.0.0.1"),
        ("db2", "10.0.0.2"),
    ] {
        let facts = world.servers[&at(of, 5432)].clone();
        world.servers.insert(at(name, 5432), facts);
    }
    let given = [at("127.0.0.1", 5432), at("db1", 5432), at("db2", 5432)];
    let topology = world.walk(&given, &[5432]);
    // As the others call it, where they do; never as the machine calls itself.
    assert_eq!(found(&topology), ["10.0.0.1:5432", "db2:5432"]);
    assert_eq!(topology.aliases[&at("10.0.0.1", 5432)].len(), 3);
}

#[test]
fn a3_standbys_on_one_machine_are_found_with_their_own_ports() {
    let mut world = World::default();
    world.add(at("10.0.0.1", 5432), "", None);
    world.add(at("10.0.0.1", 5433), "s1", Some(at("localhost", 5432)));
    world.add(at("10.0.0.1", 5440), "s2", Some(at("localhost", 5432)));
    world.add(at("10.0.0.1", 5448), "s3", Some(at("/var/run", 5440)));
    for begin in [5432, 5433, 5440] {
        let topology = world.walk(&[at("10.0.0.1", begin)], &[5432]);
        let all = [
            "10.0.0.1:5432",
            "10.0.0.1:5433",
            "10.0.0.1:5440",
            "10.0.0.1:5448",
        ];
        assert_eq!(found(&topology), all, "from {begin}");
        assert!(topology.unfound.is_empty() && topology.failed.is_empty());
    }
}

#[test]
fn a14_cascades_are_walked_up_and_down() {
    let mut world = World::default();
    world.add(at("a", 5432), "", None);
    world.add(at("b", 5432), "s1", Some(at("a", 5432)));
    // All the same name: PostgreSQL's default.
    world.add(at("c", 5555), "walreceiver", Some(at("b", 5432)));
    let topology = world.walk(&[at("c", 5555)], &[5432]);
    assert_eq!(found(&topology), ["a:5432", "b:5432", "c:5555"]);
    assert_eq!(topology.primaries(), [&at("a", 5432)]);
    // From above its port is one that nothing speaks for, until somebody says it.
    let topology = world.walk(&[at("a", 5432)], &[5432]);
    assert_eq!(found(&topology), ["a:5432", "b:5432"]);
    assert_eq!(
        topology.unfound[0].to_string(),
        "a standby at c named walreceiver whose port is not known: give it with --instance c:PORT"
    );
    for topology in [
        world.walk(&[at("a", 5432), at("c", 5555)], &[5432]),
        world.walk(&[at("a", 5432)], &[5432, 5555]),
    ] {
        assert_eq!(found(&topology), ["a:5432", "b:5432", "c:5555"]);
        assert!(topology.unfound.is_empty());
    }
}

#[test]
fn one_server_under_two_names_is_one_instance_and_a_stranger_is_none() {
    let mut world = World::default();
    world.add(at("db1", 5432), "", None);
    world.add(at("db2", 5432), "s1", Some(at("db1", 5432)));
    let mut alias = world.servers[&at("db1", 5432)].clone();
    alias.address = at("localhost", 5432);
    world.servers.insert(at("localhost", 5432), alias);
    let topology = world.walk(&[at("localhost", 5432)], &[5432]);
    // As its standby calls it, because others must reach it.
    assert_eq!(found(&topology), ["db1:5432", "db2:5432"]);
    let stranger = world.servers.get_mut(&at("db2", 5432)).unwrap();
    stranger.system = SystemIdentifier(8);
    let topology = world.walk(&[at("db1", 5432), at("db2", 5432)], &[5432]);
    assert_eq!(found(&topology), ["db1:5432"]);
    assert!(topology.failed[&at("db2", 5432)].contains("another history"));
    assert_eq!(topology.unfound.len(), 1);
}
