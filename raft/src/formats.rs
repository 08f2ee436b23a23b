//! The bytes of everything that is stored or sent, held against a golden file.
//!
//! A difference means that an older or newer peer cannot read what this one writes: give the record a new version,
//! or take back what changed (openraft's own types are in here too). Then, and only then, renew `formats.txt`.

use std::time::Duration;

use openraft::{
    BasicNode, EntryPayload, Membership,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        VoteRequest, VoteResponse,
    },
};
use serde::Serialize;

use crate::{
    Deduplicated, GroupId, StateMachine, Timing,
    birth::{Birth, BirthQuestion, Numbers, Told},
    identity::Identity,
    lease::Granted,
    log_entry,
    once::tests::{Sum, numbered},
    record,
    saved::SavedFile,
    snapshot_file::Image,
    types::{CommandBytes, Entry, LogId, StoredMembership, TypeConfig, Vote},
    wire::{Call, PATH_PREFIX, Route, SnapshotRequest},
    witness::{Note, Testimony},
};

fn line(name: &str, value: &impl Serialize) -> String {
    bytes_line(name, &record::seal(value).unwrap())
}

fn bytes_line(name: &str, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {hex}\n")
}

/// The body of a snapshot as peers have it: the state, and what was applied.
fn snapshot_body() -> Vec<u8> {
    let mut machine = Deduplicated::<Sum>::default();
    machine.apply(5, numbered(1, 9, 4));
    machine.apply(6, numbered(2, 8, 4));
    machine.encode()
}

fn paths() -> String {
    let calls = [
        Call::Append,
        Call::Vote,
        Call::PreVote,
        Call::Snapshot,
        Call::Transfer,
        Call::Birth,
    ];
    let paths = calls.map(|call| format!("{PATH_PREFIX}{}", call.name()));
    paths.join("\n")
}

/// The headers of every call, by name.
fn headers() -> String {
    let route = Route {
        group: GroupId::from_bytes([7; 16]),
        beginning: 3,
        from: 1,
        to: 2,
        election_max: Duration::from_millis(400),
    };
    let headers = route.headers();
    let lines = headers.iter();
    let mut lines: Vec<String> = lines
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn stored_and_sent_bytes_are_as_ever() {
    let leader = openraft::vote::leader_id_adv::LeaderId {
        term: 3,
        node_id: 2,
    };
    let log_id: LogId = LogId::new(leader, 7);
    let vote = Vote::new(3, 2);
    let nodes = [(1, BasicNode::new("one:1")), (2, BasicNode::new("two:2"))];
    let membership =
        Membership::new(vec![[1, 2].into()], std::collections::BTreeMap::from(nodes)).unwrap();
    let stored = StoredMembership::new(Some(log_id), membership.clone());
    let entry = |payload| Entry { log_id, payload };
    let command = entry(EntryPayload::Normal(CommandBytes(
        b"command".as_slice().into(),
    )));
    let image = Image {
        applied: Some(log_id),
        membership: stored,
        state: b"state".as_slice().into(),
    };

    let saved = SavedFile {
        group: GroupId::from_bytes(*b"0123456789abcdef"),
        peer: 2,
        image: Image::decode(&image.encode().unwrap()).unwrap(),
    };
    let note = Note {
        number: 9,
        testimony: Testimony {
            vote: Some(vote),
            last: Some(log_id),
        },
    };
    let birth = Birth {
        number: 5,
        first: Numbers::from([(1, 5), (2, 6)]),
    };

    let lines = [
        line("vote", &vote),
        line("log-id", &log_id),
        line("committed", &Some(log_id)),
        line("blank-entry", &entry(EntryPayload::Blank)),
        line("command-entry", &command),
        bytes_line("stored-entry", &log_entry::store(&command, 7).unwrap().0),
        line(
            "membership-entry",
            &entry(EntryPayload::Membership(membership)),
        ),
        line("snapshot", &image),
        bytes_line("snapshot-body", &snapshot_body()),
        line("witness-note", &note),
        line("saved", &saved),
        line(
            "append",
            &AppendEntriesRequest::<TypeConfig> {
                vote,
                prev_log_id: Some(log_id),
                entries: vec![command],
                leader_commit: Some(log_id),
            },
        ),
        line(
            "append-success",
            &AppendEntriesResponse::<TypeConfig>::Success,
        ),
        line(
            "append-partial",
            &AppendEntriesResponse::<TypeConfig>::PartialSuccess(Some(log_id)),
        ),
        line(
            "append-conflict",
            &AppendEntriesResponse::<TypeConfig>::Conflict,
        ),
        line(
            "append-higher-vote",
            &AppendEntriesResponse::<TypeConfig>::HigherVote(vote),
        ),
        line(
            "vote-request",
            &VoteRequest::<TypeConfig>::new(vote, Some(log_id)),
        ),
        line(
            "vote-answer",
            &VoteResponse::<TypeConfig>::new(vote, Some(log_id), true),
        ),
        line(
            "transfer",
            &TransferLeaderRequest::<TypeConfig>::new(vote, 2, Some(log_id)),
        ),
        line(
            "snapshot-request",
            &SnapshotRequest {
                vote,
                meta: image.meta(),
                image: b"image".as_slice().into(),
            },
        ),
        line(
            "snapshot-answer",
            &SnapshotResponse::<TypeConfig>::new(vote),
        ),
        line(
            "identity",
            &Identity {
                group: GroupId::from_bytes([7; 16]),
                beginning: 3,
                id: 2,
                holds_data: true,
                birth: birth.clone(),
            },
        ),
        line("granted", &Granted::of(Timing::lan())),
        line("birth-question", &BirthQuestion),
        line(
            "birth-answer",
            &Told {
                birth,
                takes_part: true,
                members: [(1, "one:1".to_owned()), (2, "two:2".to_owned())].into(),
            },
        ),
        // Not records: text, its lines as they go before the body of a call.
        bytes_line("paths", paths().as_bytes()),
        bytes_line("headers", headers().as_bytes()),
    ];
    let written = lines.concat();
    assert_eq!(
        written,
        include_str!("formats.txt"),
        "written now:\n{written}"
    );
}
