//! What agents and peers say to each other, and what an agent keeps.

use std::time::Duration;

use primacy::control::Run;
use primacy::control::frame;
use primacy::control::message::{AgentMessage, PeerMessage};
use primacy::duty::Outcome;
use primacy::duty::gate::{PromiseRecord, Refusal};
use primacy::model::{
    Address, Backers, ClusterName, Database, Epoch, Incarnation, InstanceId, LeaseReport, Lsn,
    Order, PeerId, Receiver, Report, SystemIdentifier, Timeline, WalPosition,
};
use primacy::recovery::{Action, Step};

use crate::check;

const ORDER: Order = Order {
    epoch: Epoch(7),
    number: 3,
};

fn report() -> Report {
    let position = WalPosition {
        timeline: Timeline(8),
        lsn: Lsn(0x0123_4567_89AB),
    };
    Report {
        promised: Some(ORDER),
        incarnation: Some(Incarnation(2)),
        identity: Some(SystemIdentifier(9)),
        database: Database::Standby {
            flushed: position,
            replayed: position.lsn,
            receiver: Receiver::Streaming {
                application_name: "primacy_7_b".to_owned(),
                silent_for: Duration::from_millis(20),
            },
        },
        lease: Some(LeaseReport {
            epoch: Epoch(7),
            remaining: Duration::from_secs(9),
        }),
        disk: None,
        weak_commits: vec!["role app".to_owned()],
        insecure: true,
        read_only_default: true,
        commits_waiting: 3,
        lag: Some(Duration::from_millis(1500)),
    }
}

fn said_by_agents() -> Vec<(&'static str, AgentMessage)> {
    vec![
        (
            "hello",
            AgentMessage::Hello {
                cluster: ClusterName::new("demo").unwrap(),
                instance: InstanceId::new("b").unwrap(),
                group: Some("group".to_owned()),
                run: Run(5),
            },
        ),
        ("report", AgentMessage::Report(report())),
        ("renew", AgentMessage::Renew { serial: 6 }),
        ("adopt", AgentMessage::Adopt { serial: 6 }),
        (
            "refused",
            AgentMessage::Outcome {
                id: 4,
                outcome: Outcome::Refused(Refusal::Stale { promised: ORDER }),
            },
        ),
        (
            "refused_backing",
            AgentMessage::Outcome {
                id: 4,
                outcome: Outcome::Refused(Refusal::Backing { for_ms: 900 }),
            },
        ),
        (
            "at",
            AgentMessage::Outcome {
                id: 4,
                outcome: Outcome::At(Lsn(77)),
            },
        ),
        ("plan_stop", AgentMessage::PlanStop { serial: 6 }),
        (
            "renew_after_stop",
            AgentMessage::RenewAfterStop {
                serial: 6,
                stop: ORDER,
            },
        ),
    ]
}

fn said_by_peers() -> Vec<(&'static str, PeerMessage)> {
    let why = || "why".to_owned();
    vec![
        (
            "welcome",
            PeerMessage::Welcome {
                group: "group".to_owned(),
                peer: PeerId(1),
                leader: Some(PeerId(2)),
            },
        ),
        (
            "granted",
            PeerMessage::Granted {
                serial: 6,
                order: ORDER,
                length: Duration::from_secs(10),
            },
        ),
        (
            "granted_with_backers",
            PeerMessage::GrantedWithBackers {
                serial: 6,
                order: ORDER,
                length: Duration::from_secs(10),
                backers: Backers {
                    needed: 1,
                    receiving: true,
                    agents: [(
                        InstanceId::new("b").unwrap(),
                        Address {
                            host: "b".to_owned(),
                            port: 8008,
                        },
                    )]
                    .into(),
                },
            },
        ),
        ("not_the_primary", PeerMessage::NotThePrimary { serial: 6 }),
        (
            "adopted",
            PeerMessage::Adopted {
                serial: 6,
                order: ORDER,
            },
        ),
        (
            "declined",
            PeerMessage::Declined {
                serial: 6,
                why: why(),
                lasting: true,
            },
        ),
        ("turned_away", PeerMessage::TurnedAway { why: why() }),
        (
            "confirm",
            PeerMessage::Command {
                id: 4,
                step: Step {
                    instance: InstanceId::new("b").unwrap(),
                    order: ORDER,
                    action: Action::Confirm {
                        synchronous_standby_names: "FIRST 2 (x, y)".to_owned(),
                        members: [InstanceId::new("a").unwrap()].into(),
                    },
                },
            },
        ),
        (
            "peers",
            PeerMessage::Peers {
                index: 9,
                addresses: vec!["p1:7001".to_owned()],
            },
        ),
    ]
}

#[test]
fn messages_keep_their_bytes() {
    let mut lines = vec![];
    for (name, message) in said_by_agents() {
        let bytes = frame::encode(&message).unwrap();
        assert_eq!(frame::decode::<AgentMessage>(&bytes).unwrap(), message);
        lines.push((name, bytes));
    }
    for (name, message) in said_by_peers() {
        let bytes = frame::encode(&message).unwrap();
        assert_eq!(frame::decode::<PeerMessage>(&bytes).unwrap(), message);
        lines.push((name, bytes));
    }
    check("control.txt", &lines);
}

#[test]
fn a_promise_keeps_its_bytes() {
    let record = PromiseRecord {
        group: "group".to_owned(),
        order: ORDER,
        promotion_asked: true,
        backs: false,
    };
    let backs = PromiseRecord {
        backs: true,
        ..record.clone()
    };
    // As it stands in its file.
    let text = |record: &PromiseRecord| serde_json::to_vec(record).unwrap();
    let lines = [("promise", text(&record)), ("backs", text(&backs))];
    check("promise.txt", &lines);
    let before = r#"{"group":"group","order":{"epoch":7,"number":3},"promotion_asked":true}"#;
    assert_eq!(
        serde_json::from_str::<PromiseRecord>(before).unwrap(),
        record
    );
}
