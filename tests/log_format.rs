//! The log format is held against a golden file: a command that was written yesterday is read tomorrow.
//! To change it deliberately: `UPDATE_GOLDEN=1 cargo test --test log_format`, and read the diff.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use primacy::model::{
    Address, ClusterName, Durability, Epoch, Incarnation, InstanceId, Lineage, Lsn, Order, PeerId,
    Reads, SystemIdentifier, Timeline, WalPosition, Zone,
};
use primacy::recovery::{Evidence, FenceProof, Grounds, Promise, Reason};
use primacy::state::command::NewMember;
use primacy::state::{Change, Command, Entry, NewCluster, PeersChange, PeersCommand};
use raft::{Key, Numbered};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/commands.txt");

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn changes() -> Vec<(&'static str, Change)> {
    let order = Order {
        epoch: Epoch(7),
        number: 3,
    };
    let position = WalPosition {
        timeline: Timeline(8),
        lsn: Lsn(0x0123_4567_89AB),
    };
    let address = Address {
        host: "db-a".to_owned(),
        port: 5432,
    };
    let member = NewMember {
        address: address.clone(),
        health: address,
        zone: Zone::new("eu-a").unwrap(),
    };
    let record = |evidence| Change::Record { order, evidence };
    let promise = Promise {
        incarnation: Some(Incarnation(2)),
        position: Some(position),
        running: true,
    };
    let b = || id("b");
    let text = || "why".to_owned();
    vec![
        (
            "create",
            Change::Create(NewCluster {
                durability: Durability::Quorum { standbys: 1 },
                reads: Reads::Fast,
                members: BTreeMap::from([(id("a"), member.clone()), (b(), member)]),
                first: id("a"),
            }),
        ),
        (
            "begin",
            Change::Begin {
                seen: Epoch(6),
                cause: text(),
            },
        ),
        (
            "initialised",
            record(Evidence::Initialised {
                instance: b(),
                identity: SystemIdentifier(9),
                position,
            }),
        ),
        (
            "promised",
            record(Evidence::Promised {
                instance: b(),
                promise,
            }),
        ),
        (
            "elected",
            record(Evidence::Elected {
                candidate: b(),
                proof: FenceProof::Quorum {
                    counted: BTreeSet::from([b(), id("c")]),
                },
            }),
        ),
        (
            "promoted",
            record(Evidence::Promoted {
                instance: b(),
                lineage: Lineage {
                    current: Timeline(8),
                    left_at: BTreeMap::from([(Timeline(1), Lsn(5))]),
                },
            }),
        ),
        (
            "cannot_promote",
            record(Evidence::CannotPromote {
                instance: b(),
                why: text(),
            }),
        ),
        ("following", record(Evidence::Following { instance: b() })),
        (
            "cannot_follow",
            record(Evidence::CannotFollow {
                instance: b(),
                why: text(),
            }),
        ),
        (
            "left_behind",
            record(Evidence::LeftBehind { instance: b() }),
        ),
        (
            "first_commit",
            record(Evidence::FirstCommit { lsn: Lsn(77) }),
        ),
        (
            "rebuild_permitted",
            record(Evidence::RebuildPermitted {
                instance: b(),
                grounds: Grounds::Copied {
                    by: BTreeSet::from([id("c")]),
                },
            }),
        ),
        (
            "rebuilt",
            record(Evidence::Rebuilt {
                instance: b(),
                incarnation: Incarnation(3),
            }),
        ),
        (
            "located",
            record(Evidence::Located {
                instance: b(),
                target: Lsn(78),
            }),
        ),
        (
            "admitted",
            record(Evidence::Admitted {
                instance: b(),
                flushed: position,
            }),
        ),
        (
            "abandon",
            Change::Abandon {
                epoch: Epoch(7),
                reason: Reason::Silent { instance: b() },
            },
        ),
        (
            "begin_rejoin",
            Change::BeginRejoin {
                epoch: Epoch(7),
                instance: b(),
                cause: text(),
            },
        ),
        (
            "end_rejoin",
            Change::EndRejoin {
                order,
                instance: b(),
                reason: Reason::NoPrimary,
            },
        ),
        (
            "plan_stop",
            Change::PlanStop {
                instance: b(),
                order,
                length: Duration::from_secs(60),
            },
        ),
        ("end_stop", Change::EndStop { order }),
    ]
}

fn peers_changes() -> Vec<(&'static str, PeersChange)> {
    let secret = [0xab; 32];
    vec![
        (
            "invite",
            PeersChange::Invite {
                address: "peer-d:7001".to_owned(),
                secret,
                at_least: 3,
                expires_at: 1_700_000_000_001,
            },
        ),
        (
            "take",
            PeersChange::Take {
                secret,
                nonce: [0xcd; 16],
            },
        ),
        ("leave", PeersChange::Leave { peer: PeerId(4) }),
    ]
}

#[test]
fn commands_keep_their_bytes() {
    let mut written = String::new();
    let at = 1_700_000_000_000;
    let of_cluster = |change| {
        Entry::Cluster(Command {
            cluster: ClusterName::new("demo").unwrap(),
            at,
            change,
        })
    };
    let clusters = changes()
        .into_iter()
        .map(|(name, it)| (name, of_cluster(it)));
    let peers = peers_changes().into_iter();
    let peers = peers.map(|(name, change)| (name, Entry::Peers(PeersCommand { at, change })));
    for (name, change) in clusters.chain(peers) {
        let command = Numbered {
            key: Key {
                client: [7; 16],
                serial: 5,
            },
            about: 9,
            since: 77,
            command: change,
        };
        let bytes = raft::seal(&command).unwrap();
        let read: Numbered<Entry> = raft::unseal(&bytes, raft::MAX_COMMAND_BYTES).unwrap();
        assert_eq!(read, command, "{name}");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        written.push_str(&format!("{name} {hex}\n"));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &written).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    for (ours, theirs) in written.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(written.lines().count(), golden.lines().count());
}
