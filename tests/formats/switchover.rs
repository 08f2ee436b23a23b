//! What is replicated of a switchover: a cluster of two whose primary is shut down, and replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use primacy::model::{
    Address, ClusterName, Durability, Epoch, Incarnation, InstanceId, Lineage, Lsn, Order, Reads,
    SystemIdentifier, Timeline, WalPosition, Zone,
};
use primacy::recovery::evidence::Apart;
use primacy::recovery::{Evidence, Grounds};
use primacy::state::command::NewMember;
use primacy::state::{Change, Command, Entry, ForceFailover, NewCluster, NewSwitchover};

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn create() -> Change {
    let member = |host: &str| {
        let address = Address {
            host: host.to_owned(),
            port: 5433,
        };
        NewMember {
            address: address.clone(),
            health: address,
            zone: Zone::new("eu-a").unwrap(),
        }
    };
    Change::Create(NewCluster {
        durability: Durability::Quorum { standbys: 1 },
        reads: Reads::Fast,
        members: BTreeMap::from([(id("a"), member("db-c")), (id("b"), member("db-d"))]),
        first: id("a"),
    })
}

fn changes() -> Vec<(&'static str, Change)> {
    let epoch = Epoch(1);
    let at = |timeline, lsn| WalPosition {
        timeline: Timeline(timeline),
        lsn: Lsn(lsn),
    };
    let record = |number, evidence| {
        let order = Order { epoch, number };
        Change::Record { order, evidence }
    };
    let b = || id("b");
    let ask = |reason: &str| {
        Change::PlanSwitchover(NewSwitchover {
            seen: epoch,
            to: b(),
            length: Duration::from_secs(30),
            owner: "ana".to_owned(),
            reason: reason.to_owned(),
        })
    };
    vec![
        ("switch_create", create()),
        (
            "switch_initialised",
            record(
                1,
                Evidence::Initialised {
                    instance: id("a"),
                    identity: SystemIdentifier(11),
                    position: at(1, 5),
                },
            ),
        ),
        (
            "switch_promoted",
            record(
                1,
                Evidence::Promoted {
                    instance: id("a"),
                    lineage: Lineage {
                        current: Timeline(2),
                        left_at: BTreeMap::from([(Timeline(1), Lsn(5))]),
                    },
                },
            ),
        ),
        (
            "switch_rejoin",
            Change::BeginRejoin {
                epoch,
                instance: b(),
                cause: "why".to_owned(),
            },
        ),
        (
            "switch_diverged",
            record(
                4,
                Evidence::CannotFollow {
                    instance: b(),
                    why: "why".to_owned(),
                },
            ),
        ),
        (
            "switch_permitted",
            record(
                4,
                Evidence::RebuildPermitted {
                    instance: b(),
                    grounds: Grounds::Uncounted { found: None },
                },
            ),
        ),
        (
            "switch_rebuilt",
            record(
                4,
                Evidence::RebuiltKeeping {
                    instance: b(),
                    incarnation: Incarnation(1),
                    kept: "where".to_owned(),
                    apart: Some(Apart {
                        from: at(1, 5),
                        to: at(1, 6),
                    }),
                },
            ),
        ),
        (
            "switch_located",
            record(
                4,
                Evidence::Located {
                    instance: b(),
                    target: Lsn(7),
                },
            ),
        ),
        (
            "switch_admitted",
            record(
                4,
                Evidence::Admitted {
                    instance: b(),
                    flushed: at(2, 7),
                },
            ),
        ),
        ("switch_asked", ask("why")),
        (
            "switch_given_up",
            Change::GiveUpSwitchover {
                epoch,
                why: "why not".to_owned(),
            },
        ),
        ("switch_asked_again", ask("why again")),
        (
            "switch_taken_back",
            Change::CallOffSwitchover { seen: epoch },
        ),
        ("switch_asked_once_more", ask("why")),
        ("switch_told_first", Change::BeginShutDown { epoch }),
        (
            "switch_called_off",
            Change::GiveUpSwitchover {
                epoch,
                why: "why not".to_owned(),
            },
        ),
        (
            "switch_over",
            Change::EndSwitchover {
                order: Order { epoch, number: 20 },
            },
        ),
        ("switch_asked_last", ask("why")),
        ("switch_told", Change::BeginShutDown { epoch }),
        (
            "switch_shut_down",
            record(
                4,
                Evidence::ShutDown {
                    instance: id("a"),
                    position: at(2, 9),
                },
            ),
        ),
        (
            "switch_begin",
            Change::Begin {
                seen: epoch,
                cause: "why".to_owned(),
            },
        ),
        (
            "switch_forced",
            Change::ForceFailover(ForceFailover {
                seen: Epoch(2),
                owner: "ana".to_owned(),
                reason: "why".to_owned(),
                loss: "much".to_owned(),
                accepted: at(2, 9),
                old_is_off: true,
            }),
        ),
    ]
}

/// In the order in which each takes effect.
pub fn entries() -> Vec<(&'static str, Entry)> {
    let entry = |(name, change)| {
        let command = Command {
            cluster: ClusterName::new("switched").unwrap(),
            at: 1_700_000_000_000,
            change,
        };
        (name, Entry::Cluster(command))
    };
    changes().into_iter().map(entry).collect()
}
