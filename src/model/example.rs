//! Small values for the tests of the pure modules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;

/// The instance of this name.
pub fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

/// A position.
pub fn at(timeline: u32, lsn: u64) -> WalPosition {
    WalPosition {
        timeline: Timeline(timeline),
        lsn: Lsn(lsn),
    }
}

/// An order.
pub fn order(epoch: u64, number: u32) -> Order {
    Order {
        epoch: Epoch(epoch),
        number,
    }
}

/// A cluster in epoch 1 on timeline 2 whose primary is `a`; every member is a voter of filling 1.
pub fn cluster(names: &[&str], durability: Durability) -> Cluster {
    let address = |port| Address {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let members = names.iter().enumerate().map(|(n, name)| {
        let member = Member {
            address: address(5432 + n as u16),
            health: address(8008 + n as u16),
            zone: Zone::new("z").unwrap(),
            incarnation: Incarnation(1),
            standing: Standing::Voter,
        };
        (id(name), member)
    });
    Cluster {
        name: ClusterName::new("demo").unwrap(),
        identity: Some(SystemIdentifier(1)),
        durability,
        reads: Reads::Fast,
        members: members.collect(),
        epoch: Epoch(1),
        timeline: Timeline(2),
        primary: Some(id("a")),
        holders: BTreeSet::from([id("a")]),
        lineage: Lineage {
            current: Timeline(2),
            left_at: BTreeMap::from([(Timeline(1), Lsn(5))]),
        },
        first_commit: Some(Lsn(10)),
        planned_stop: None,
        switchover: None,
        forced: None,
        forsaken: BTreeMap::new(),
        loss: None,
        durability_change: None,
    }
}

/// A report of an agent whose PostgreSQL does this.
pub fn report(database: Database) -> Report {
    Report {
        promised: Some(order(1, 2)),
        incarnation: Some(Incarnation(1)),
        identity: Some(SystemIdentifier(1)),
        database,
        lease: None,
        disk: None,
        weak_commits: vec![],
        insecure: false,
        read_only_default: false,
        commits_waiting: 0,
        lag: None,
    }
}

/// A primary that writes under the recorded names.
pub fn primary(cluster: &Cluster, name: &str) -> Report {
    report(Database::Primary {
        position: WalPosition {
            timeline: cluster.timeline,
            lsn: Lsn(50),
        },
        synchronous_standby_names: cluster.synchronous_standby_names(&id(name)),
        first_commit: cluster.first_commit.map(|lsn| (cluster.epoch, lsn)),
    })
}

/// A standby that streams from the primary of `cluster`, up to `flushed`.
pub fn standby(cluster: &Cluster, name: &str, flushed: WalPosition) -> Report {
    let incarnation = cluster.members[&id(name)].incarnation;
    report(Database::Standby {
        flushed,
        replayed: flushed.lsn,
        receiver: Receiver::Streaming {
            application_name: cluster::application_name(&id(name), incarnation, cluster.epoch),
            silent_for: Duration::ZERO,
        },
    })
}

/// A view at a moment at which all these reports have just arrived.
pub fn view(reports: impl IntoIterator<Item = (&'static str, Report)>) -> View {
    let now = Timestamp(100_000);
    let sighting = |report| Sighting {
        report,
        received_at: now,
        connected: true,
        answer: None,
        failure: None,
    };
    View {
        now,
        awake_since: Timestamp(0),
        leases_lapse_at: now.after(Duration::from_secs(10)),
        stop_is_over: false,
        longer_leases_lapsed: false,
        switchover_is_late: false,
        awaits_the_slow: false,
        directives: InForce::default(),
        instances: reports
            .into_iter()
            .map(|(name, report)| (id(name), sighting(report)))
            .collect(),
        peers: 3,
        looks: BTreeMap::new(),
    }
}

/// A copy of the data that was made then.
pub fn mark(at: u64) -> CopyMark {
    CopyMark {
        changed: at,
        written: at,
    }
}

/// A primary without agents at this host, of history 7 on timeline 1, as a look shows it.
pub fn facts(host: &str) -> InstanceFacts {
    InstanceFacts {
        address: Address {
            host: host.to_owned(),
            port: 5432,
        },
        own_port: 5432,
        started: 1,
        copy: Some(mark(1)),
        system: SystemIdentifier(7),
        version: "15".to_owned(),
        role: Role::Primary,
        timeline: Some(Timeline(1)),
        status: ReplicationStatus {
            replica_running: false,
            sql_thread_running: false,
            io_thread_running: false,
            position: String::new(),
            lag: 0,
            received: None,
            applied: None,
            receiver_silent_for_ms: None,
            apply_paused: false,
            caught_up: None,
        },
        source: None,
        replicas: vec![],
        unused_slots: vec![],
        read_only_default: false,
        sync: SyncState {
            policy: Some(SyncPolicy::Async),
            text: String::new(),
            commits_wait: true,
            weak: vec![],
            waiting: 0,
        },
        can_be_rewound: true,
        receiver_timeout: None,
        log: None,
        observed_at: Timestamp(0),
    }
}

/// A cluster without agents, of history 7 in epoch 1 on timeline 1, whose primary is the first of these; the others stream
/// under their own names, and commits wait for any one of them.
pub fn sql_cluster(names: &[&str]) -> SqlCluster {
    let member = |name: &str| SqlMember {
        address: Address {
            host: name.to_owned(),
            port: 5432,
        },
        application_name: Some(name.to_owned()),
    };
    SqlCluster {
        name: ClusterName::new("demo").unwrap(),
        system: SystemIdentifier(7),
        fence: FenceDemand::Courtesy,
        members: names.iter().map(|name| (id(name), member(name))).collect(),
        rule: SyncRule::Any {
            acks: 1,
            voters: names[1..].iter().map(|name| id(name)).collect(),
            unknown: 0,
        },
        epoch: Epoch(1),
        lineage: Lineage {
            current: Timeline(1),
            left_at: BTreeMap::new(),
        },
        primary: Some(id(names[0])),
        suspects: BTreeSet::new(),
        told: BTreeMap::new(),
        strays: BTreeSet::new(),
        copies: BTreeMap::new(),
    }
}
