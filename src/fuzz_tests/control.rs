//! What agents and peers say to each other, and what peers replicate.

use std::time::Duration;

use bytes::BytesMut;
use raft::{Deduplicated, Key, MAX_SNAPSHOT_BYTES, Numbered, StateMachine};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use super::{json, keeps_json, keeps_record};
use crate::control::backing::BackRequest;
use crate::control::{AgentMessage, FRAME_LIMIT, FrameError, PeerMessage, Run, decode, encode};
use crate::duty::Outcome;
use crate::leash::{Reply, Request};
use crate::model::example::{cluster, id, order};
use crate::model::{
    ClusterName, Database, DiskTrouble, Durability, Epoch, Lsn, PeerId, Receiver, Report,
    SystemIdentifier, Timeline, WalPosition,
};
use crate::recovery::{Action, Step};
use crate::state::{Entry, State};

fn frames<T: Serialize>(name: &str, messages: &[T]) -> fuzz::Target {
    let frames = messages.iter().map(|message| encode(message).unwrap());
    let all = frames.fold(fuzz::target(name), fuzz::Target::example);
    all.sealed_record(u32::to_be_bytes)
}

fn keeps<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: T) {
    let again: Result<T, FrameError> = decode(&encode(&message).unwrap());
    assert_eq!(again.unwrap(), message);
}

fn report() -> Report {
    let position = WalPosition {
        timeline: Timeline(8),
        lsn: Lsn(0x0123_4567_89AB),
    };
    Report {
        promised: Some(order(7, 3)),
        incarnation: None,
        identity: Some(SystemIdentifier(9)),
        database: Database::Standby {
            flushed: position,
            replayed: position.lsn,
            receiver: Receiver::Streaming {
                application_name: "b_2_7".to_owned(),
                silent_for: Duration::from_millis(10),
            },
        },
        lease: None,
        disk: Some(DiskTrouble {
            lasts: Duration::from_secs(1),
            still_for: Duration::ZERO,
            refusal: Some("no space left".to_owned()),
        }),
        weak_commits: vec!["role x: synchronous_commit = off".to_owned()],
        insecure: true,
        read_only_default: false,
        commits_waiting: 1,
        lag: Some(Duration::from_secs(2)),
    }
}

#[test]
fn fuzz_agent_message() {
    let messages = [
        AgentMessage::Hello {
            cluster: ClusterName::new("demo").unwrap(),
            instance: id("a"),
            group: Some("g".to_owned()),
            run: Run(7),
        },
        AgentMessage::Report(report()),
        AgentMessage::Renew { serial: 1 },
        AgentMessage::Outcome {
            id: 2,
            outcome: Outcome::Failed("why".to_owned()),
        },
        AgentMessage::RenewAfterStop {
            serial: 3,
            stop: order(7, 2),
        },
    ];
    frames("control: agent message", &messages)
        .run(|bytes| decode::<AgentMessage>(bytes).ok(), keeps);
}

#[test]
fn fuzz_peer_message() {
    let messages = [
        PeerMessage::Welcome {
            group: "g".to_owned(),
            peer: PeerId(1),
            leader: Some(PeerId(2)),
        },
        PeerMessage::Granted {
            serial: 1,
            order: order(7, 3),
            length: Duration::from_secs(10),
        },
        PeerMessage::Declined {
            serial: 1,
            why: "why".to_owned(),
            lasting: true,
        },
        PeerMessage::Command {
            id: 1,
            step: Step {
                instance: id("a"),
                order: order(7, 3),
                action: Action::Fence,
            },
        },
        PeerMessage::Peers {
            index: 5,
            addresses: vec!["a:1".to_owned(), "b:2".to_owned()],
        },
    ];
    frames("control: peer message", &messages)
        .run(|bytes| decode::<PeerMessage>(bytes).ok(), keeps);
}

/// The lengths before the frames of a session.
#[test]
fn fuzz_framing() {
    let frame = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    fuzz::target("control: framing")
        .example([frame(b"one"), frame(b""), frame(&[7; 300])].concat())
        .run(
            |bytes| {
                let mut codec = LengthDelimitedCodec::builder()
                    .max_frame_length(FRAME_LIMIT)
                    .new_codec();
                let mut bytes = BytesMut::from(bytes);
                let mut frames = vec![];
                while let Some(frame) = codec.decode(&mut bytes).ok()? {
                    frames.push(frame);
                }
                Some(frames)
            },
            |frames| assert!(frames.iter().all(|frame| frame.len() <= FRAME_LIMIT)),
        );
}

fn commands() -> Vec<Vec<u8>> {
    let golden = include_str!("../../tests/golden/commands.txt").lines();
    let digits = golden.filter_map(|line| Some(line.split_once(' ')?.1));
    digits.map(fuzz::hex).collect()
}

/// A command of the log is decoded, and applied to a state.
#[test]
fn fuzz_command() {
    let mut state = State::default();
    for command in commands() {
        let command: Numbered<Entry> = raft::unseal(&command, raft::MAX_COMMAND_BYTES).unwrap();
        state.apply_entry(command.command);
    }
    let start = fuzz::target("state: command");
    let all = commands().into_iter().fold(start, fuzz::Target::example);
    all.sealed_record(u32::to_le_bytes).run(
        |bytes| raft::unseal::<Numbered<Entry>>(bytes, raft::MAX_COMMAND_BYTES + 1024).ok(),
        |command| {
            keeps_record(raft::MAX_COMMAND_BYTES + 1024)(command.clone());
            state.clone().apply_entry(command.command);
        },
    );
}

/// What a snapshot holds: the state, and which commands were applied.
#[test]
fn fuzz_state() {
    let mut state = Deduplicated::<State>::default();
    for (serial, command) in (1..).zip(commands()) {
        let mut command: Numbered<Entry> = raft::unseal(&command, raft::MAX_COMMAND_BYTES).unwrap();
        command.key = Key {
            client: [7; 16],
            serial,
        };
        command.since = serial - 1;
        state.apply(serial, command);
    }
    let at_rest = {
        let cluster = crate::state::example::at_rest(cluster(&["a", "b"], Durability::Async));
        let mut state = State::default();
        state
            .clusters
            .insert(ClusterName::new("demo").unwrap(), cluster);
        state
    };
    fuzz::target("state: snapshot")
        .example(state.encode())
        .sealed_record(u32::to_le_bytes)
        .run(
            |bytes| Deduplicated::<State>::decode(bytes).ok(),
            |state| {
                let written = state.encode();
                let again = Deduplicated::<State>::decode(&written).unwrap();
                assert_eq!(again.encode(), written);
            },
        );
    fuzz::target("state: clusters")
        .example(at_rest.encode())
        .example((*state).encode())
        .sealed_record(u32::to_le_bytes)
        .run(
            |bytes| State::decode(bytes).ok(),
            keeps_record(MAX_SNAPSHOT_BYTES),
        );
}

/// What an agent says to its leash.
#[test]
fn fuzz_leash_request() {
    fuzz::target("leash: request")
        .example("arm 1234")
        .example("exchange 1234")
        .example("state")
        .example("disarm")
        .words(&[" ", "\t", "-", "+", "18446744073709551616", "\u{3000}"])
        .run(
            |bytes| String::from_utf8_lossy(bytes).parse::<Request>().ok(),
            |request| assert_eq!(request.to_string().parse(), Ok(request)),
        );
}

/// What a leash answers.
#[test]
fn fuzz_leash_reply() {
    fuzz::target("leash: reply")
        .example("none")
        .example("armed 1234")
        .example("expired 1 2 3")
        .example("refused 3 processes are alive")
        .words(&[" ", "\t", "-", "+", "18446744073709551616", "\u{3000}"])
        .run(
            |bytes| String::from_utf8_lossy(bytes).parse::<Reply>().ok(),
            |reply| assert_eq!(reply.to_string().trim().parse(), Ok(reply)),
        );
}

/// What agents ask each other.
#[test]
fn fuzz_back_request() {
    let request = BackRequest {
        cluster: ClusterName::new("demo").unwrap(),
        instance: id("a"),
        group: "07070707-0707-0707-0707-070707070707".to_owned(),
        epoch: Epoch(4),
        receiving: true,
    };
    json("agent: who backs", &request).run(
        |bytes| serde_json::from_slice::<BackRequest>(bytes).ok(),
        keeps_json,
    );
}
