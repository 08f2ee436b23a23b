//! The replicated log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use primacy::model::{
    AccessRole, Address, ClusterName, Durability, Epoch, Incarnation, InstanceId, Lineage, Lsn,
    Order, PeerId, Priority, PromotionRule, Reads, Scope, SecretHash, SystemIdentifier, Timeline,
    TokenRecord, WalPosition, Zone,
};
use primacy::recovery::{Evidence, FenceProof, Grounds, Promise, Reason};
use primacy::state::command::NewMember;
use primacy::state::{
    AccessChange, AccessCommand, Change, Command, Directive, DirectiveCommand, Entry, FeatureLevel,
    Guest, NewCluster, NewHold, PeersChange, PeersCommand,
};
use raft::{Key, Numbered};

use crate::{check, sealed};

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
            "taken_over",
            record(Evidence::TakenOver {
                instance: b(),
                identity: SystemIdentifier(9),
                position,
                serves: true,
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

fn access_changes() -> Vec<(&'static str, AccessChange)> {
    let secret = SecretHash([0xab; 32]);
    let agent = Guest::Agent {
        cluster: ClusterName::new("demo").unwrap(),
        instance: id("a"),
    };
    let tool = Guest::Tool {
        role: AccessRole::Operator,
        name: "laptop".to_owned(),
    };
    let invite = |guest| AccessChange::Invite {
        secret,
        guest,
        expires_at: 1_700_000_003_000,
    };
    let token = TokenRecord {
        name: "ci".to_owned(),
        hash: secret,
        role: AccessRole::Viewer,
        scope: Scope::Clusters([ClusterName::new("demo").unwrap()].into()),
        created_at: 1_700_000_000_000,
        expires_at: 1_700_000_003_000,
    };
    let name = "ci".to_owned();
    let nonce = [0xcd; 16];
    vec![
        ("add_token", AccessChange::AddToken(token)),
        ("revoke_token", AccessChange::RevokeToken { name }),
        ("invite_agent", invite(agent)),
        ("invite_tool", invite(tool)),
        ("take_guest", AccessChange::Take { secret, nonce }),
    ]
}

fn directives() -> Vec<(&'static str, Directive)> {
    let cluster = || ClusterName::new("demo").unwrap();
    let hold = || NewHold {
        length: Duration::from_secs(60),
        owner: "ana".to_owned(),
        reason: "why".to_owned(),
    };
    let instance = || id("b");
    vec![
        (
            "pause",
            Directive::Pause {
                cluster: Some(cluster()),
                hold: hold(),
            },
        ),
        (
            "pause_all",
            Directive::Pause {
                cluster: None,
                hold: hold(),
            },
        ),
        (
            "downtime",
            Directive::Downtime {
                cluster: cluster(),
                instance: instance(),
                hold: hold(),
            },
        ),
        (
            "rule",
            Directive::Rule {
                cluster: cluster(),
                instance: instance(),
                rule: PromotionRule::MustNot,
                length: Some(Duration::from_secs(60)),
            },
        ),
        (
            "uptime",
            Directive::Uptime {
                cluster: cluster(),
                instance: instance(),
            },
        ),
        (
            "block",
            Directive::Block {
                cluster: cluster(),
                period: Some(Duration::from_secs(60)),
            },
        ),
        (
            "acknowledge",
            Directive::Acknowledge {
                cluster: cluster(),
                owner: "ana".to_owned(),
                comment: "why".to_owned(),
            },
        ),
        ("resume_all", Directive::Resume { cluster: None }),
        (
            "resume",
            Directive::Resume {
                cluster: Some(cluster()),
            },
        ),
    ]
}

/// Every entry there is, by name.
pub fn entries() -> Vec<(&'static str, Entry)> {
    let at = 1_700_000_000_000;
    let of_cluster = |(name, change)| {
        let cluster = ClusterName::new("demo").unwrap();
        let command = Command {
            cluster,
            at,
            change,
        };
        (name, Entry::Cluster(command))
    };
    let of_peers = |(name, change)| (name, Entry::Peers(PeersCommand { at, change }));
    let clusters = changes().into_iter().map(of_cluster);
    let peers = peers_changes().into_iter().map(of_peers);
    let of_access = |(name, change)| (name, Entry::Access(AccessCommand { at, change }));
    let access = access_changes().into_iter().map(of_access);
    let raise = ("raise", Entry::Raise(FeatureLevel::default()));
    let peers = peers.chain(access);
    let without_agents = crate::sql_only::entries();
    let all = clusters.chain(peers).chain([raise]);
    let said = directives().into_iter();
    let said = said.map(|(name, change)| (name, Entry::Directive(DirectiveCommand { at, change })));
    let level = FeatureLevel::try_from(3).unwrap();
    let raise = ("raise_to_3", Entry::Raise(level));
    let level = FeatureLevel::try_from(4).unwrap();
    let raise_to_4 = ("raise_to_4", Entry::Raise(level));
    let priority = Directive::Priority {
        cluster: ClusterName::new("demo").unwrap(),
        priority: Priority(-7),
    };
    let durable = crate::durability::entries(Entry::Raise(level));
    all.chain(without_agents)
        .chain([raise])
        .chain(said)
        .chain([raise_to_4])
        .chain(crate::hooks::entries())
        .chain(crate::sql_only::copies())
        .chain(crate::switchover::entries())
        .chain([(
            "priority",
            Entry::Directive(DirectiveCommand {
                at,
                change: priority,
            }),
        )])
        .chain(durable)
        .collect()
}

#[test]
fn commands_keep_their_bytes() {
    let mut lines = vec![];
    for (name, entry) in entries() {
        let command = Numbered {
            key: Key {
                client: [7; 16],
                serial: 5,
            },
            about: 9,
            since: 77,
            command: entry,
        };
        lines.push((name, sealed(&command)));
    }
    check("commands.txt", &lines);
}
