//! Every decoder of this crate under damaged and hostile input; see the package `fuzz`.

use std::collections::BTreeMap;

use fuzz::{golden, target};
use hyper::{
    HeaderMap, Method, Request,
    header::{HeaderName, HeaderValue},
};
use openraft::raft::{
    AppendEntriesRequest, TransferLeaderError, TransferLeaderRequest, VoteRequest,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    GroupId, MAX_SNAPSHOT_BYTES,
    birth::BirthQuestion,
    handle,
    identity::{Identity, IdentityFile},
    lease::{self, Granted},
    log, log_entry,
    log_parts::Joiner,
    record, saved,
    snapshot_file::Image,
    types::{Entry, LogId, TypeConfig, Vote},
    wire::{Call, MAX_ANSWER_BYTES, MAX_ENTRY_BYTES, PATH_PREFIX, Question, SnapshotRequest},
    witness,
};

const GOLDEN: &str = include_str!("formats.txt");
const GROUP: GroupId = GroupId::from_bytes([7; 16]);

/// A target for records, with the golden ones of these names as examples.
fn records(name: &str, examples: &[&str]) -> fuzz::Target {
    let start = target(name);
    let all = examples.iter().map(|example| golden(GOLDEN, example));
    all.fold(start, fuzz::Target::example)
        .sealed_record(u32::to_le_bytes)
}

/// What was decoded encodes to what decodes to the same.
fn keeps<T: Serialize + DeserializeOwned>(limit: usize) -> impl Fn(T) {
    move |value| {
        let written = record::seal(&value).unwrap();
        let again: T = record::unseal(&written, limit).unwrap();
        assert_eq!(record::seal(&again).unwrap(), written);
    }
}

fn question<Q: Question>(call: Call, target: fuzz::Target) {
    let limit = call.limit();
    target.run(|bytes| record::unseal::<Q>(bytes, limit).ok(), keeps(limit));
}

fn answer<Q: Question>(target: fuzz::Target) {
    target.run(
        |bytes| record::unseal::<Q::Answer>(bytes, MAX_ANSWER_BYTES).ok(),
        keeps(MAX_ANSWER_BYTES),
    );
}

type Append = AppendEntriesRequest<TypeConfig>;
type Voting = VoteRequest<TypeConfig>;
type Transfer = TransferLeaderRequest<TypeConfig>;

/// An append of so many bytes, full of the smallest entries that there are: what takes most memory for its bytes.
fn full_append(bytes: usize) -> Vec<u8> {
    let blank: Entry = record::unseal(&golden(GOLDEN, "blank-entry"), MAX_ENTRY_BYTES).unwrap();
    let mut append: Append =
        record::unseal(&golden(GOLDEN, "append"), Call::Append.limit()).unwrap();
    append.entries = vec![blank.clone()];
    let one = record::seal(&append).unwrap().len();
    append.entries.push(blank.clone());
    let each = record::seal(&append).unwrap().len() - one;
    append.entries = vec![blank; 1 + (bytes - one) / each];
    record::seal(&append).unwrap()
}

#[test]
fn fuzz_append() {
    let limit = Call::Append.limit();
    let target = records("raft: append", &["append"])
        .large(full_append(limit))
        .large(full_append(4 * limit));
    question::<Append>(Call::Append, target);
}

#[test]
fn fuzz_vote() {
    let target = records("raft: vote", &["vote-request"]);
    question::<Voting>(Call::Vote, target);
}

#[test]
fn fuzz_transfer() {
    question::<Transfer>(Call::Transfer, records("raft: transfer", &["transfer"]));
}

#[test]
fn fuzz_snapshot() {
    let target = records("raft: snapshot", &["snapshot-request"]);
    question::<SnapshotRequest>(Call::Snapshot, target);
}

#[test]
fn fuzz_birth() {
    question::<BirthQuestion>(Call::Birth, records("raft: birth", &["birth-question"]));
}

#[test]
fn fuzz_append_answer() {
    let examples = ["success", "partial", "conflict", "higher-vote"];
    let examples = examples.map(|example| format!("append-{example}"));
    let examples = examples.each_ref().map(String::as_str);
    answer::<Append>(records("raft: append answer", &examples));
}

#[test]
fn fuzz_vote_answer() {
    answer::<Voting>(records("raft: vote answer", &["vote-answer"]));
}

#[test]
fn fuzz_transfer_answer() {
    let vote = Vote::new(3, 2);
    let examples: [<Transfer as Question>::Answer; 3] = [
        Ok(()),
        Err(TransferLeaderError::VoteChanged {
            expected: vote,
            actual: vote,
        }),
        Err(TransferLeaderError::LogNotFlushed {
            expected: None,
            actual: None,
        }),
    ];
    let start = target("raft: transfer answer");
    let sealed = examples
        .iter()
        .map(|example| record::seal(example).unwrap());
    let target = sealed.fold(start, fuzz::Target::example);
    answer::<Transfer>(target.sealed_record(u32::to_le_bytes));
}

#[test]
fn fuzz_snapshot_answer() {
    answer::<SnapshotRequest>(records("raft: snapshot answer", &["snapshot-answer"]));
}

#[test]
fn fuzz_birth_answer() {
    answer::<BirthQuestion>(records("raft: birth answer", &["birth-answer"]));
}

/// The path and the headers of a call, as lines.
#[test]
fn fuzz_call() {
    let request = |bytes: &[u8]| {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let path = String::from_utf8_lossy(lines.next()?).into_owned();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse().ok()?;
        // hyper takes a hundred.
        let headers = lines.take(100).map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
        });
        *request.headers_mut() = headers.collect::<Option<HeaderMap>>()?;
        Some(request)
    };
    let example = format!(
        "{PATH_PREFIX}append\nraft-protocol:3\nraft-group:{GROUP}\nraft-beginning:0\nraft-from:1\nraft-to:2\nraft-election-max:400"
    );
    let config = crate::Config {
        id: 2,
        group: GROUP,
        beginning: 0,
        folder: fuzz::folder().to_owned(),
        members: BTreeMap::new(),
        timing: crate::Timing::lan(),
        transport: std::sync::Arc::new(crate::Plain),
        snapshot_every: 5_000,
        keep_before_snapshot: 1_000,
    };
    target("raft: call")
        .example(example)
        .words(&[
            "raft-from:",
            "-",
            "+",
            "\n",
            "18446744073709551616",
            "/raft/v1/vote",
        ])
        .run(
            |bytes| {
                let request = request(bytes)?;
                handle::accept(&request, &config).ok()
            },
            |call| {
                assert_eq!(
                    Call::at(&format!("{PATH_PREFIX}{}", call.name())),
                    Some(call)
                )
            },
        );
}

#[test]
fn fuzz_identity_file() {
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let path = folder.path().join("identity");
    records("raft: identity file", &["identity"]).run(
        |bytes| {
            std::fs::write(&path, bytes).unwrap();
            let owner = IdentityFile::owner(folder.path()).ok()?;
            Some((owner, record::unseal::<Identity>(bytes, 1024).unwrap()))
        },
        |(owner, identity)| {
            assert_eq!(owner, identity);
            keeps(1024)(identity);
        },
    );
}

#[test]
fn fuzz_lease_file() {
    records("raft: lease file", &["granted"]).run(
        |bytes| record::unseal::<Granted>(bytes, lease::LIMIT).ok(),
        keeps(lease::LIMIT),
    );
}

#[test]
fn fuzz_witness_note() {
    let slot = |record: &[u8]| {
        let mut slot = u16::try_from(record.len()).unwrap().to_le_bytes().to_vec();
        slot.extend(record);
        slot
    };
    target("raft: witness note")
        .example(slot(&golden(GOLDEN, "witness-note")))
        .sealed(move |bytes| {
            let body = bytes.split_off(bytes.len().min(7));
            let mut sealed = record::seal(&()).unwrap()[..1].to_vec();
            sealed.extend(crc32c::crc32c(&body).to_le_bytes());
            sealed.extend(body);
            sealed.truncate(u16::MAX.into());
            *bytes = slot(&sealed);
        })
        .run(witness::note_in, keeps(4096));
}

#[test]
fn fuzz_snapshot_file() {
    records("raft: snapshot file", &["snapshot"])
        .run(|bytes| Image::decode(bytes).ok(), keeps(MAX_SNAPSHOT_BYTES));
}

#[test]
fn fuzz_log_entry() {
    let examples = ["blank-entry", "command-entry", "membership-entry"];
    let linked = |mut record: Vec<u8>| {
        let link = record::link(7, &record);
        record.extend(link.to_le_bytes());
        record
    };
    let all = examples.map(|example| linked(golden(GOLDEN, example)));
    all.into_iter()
        .fold(target("raft: log entry"), fuzz::Target::example)
        .sealed(move |bytes| {
            bytes.truncate(bytes.len().saturating_sub(4));
            let body = bytes.split_off(bytes.len().min(5));
            let mut sealed = record::seal(&()).unwrap()[..1].to_vec();
            sealed.extend(crc32c::crc32c(&body).to_le_bytes());
            sealed.extend(body);
            *bytes = linked(sealed);
        })
        .run(
            |bytes| log_entry::load(7, bytes, Some(7)).ok(),
            |(entry, link)| {
                assert_eq!(entry.log_id.index, 7);
                let (written, again) = log_entry::store(&entry, 7).unwrap();
                let (read, _) = log_entry::load(7, &written, Some(7)).unwrap();
                assert_eq!(read, entry);
                // A map with one key twice is written in fewer bytes.
                assert_ne!((again, link), (0, 0));
            },
        );
}

/// Parts as sled gives them: a length, a key of ten bytes, a value.
#[test]
fn fuzz_log_parts() {
    let part = |index: u64, number: u16, value: &[u8]| {
        let mut part = vec![u8::try_from(10 + value.len()).unwrap()];
        part.extend(index.to_be_bytes());
        part.extend(number.to_be_bytes());
        part.extend(value);
        part
    };
    let endless = (0..=u16::MAX).map(|number| part(7, number, &[0]));
    let endless = endless.collect::<Vec<_>>().concat();
    target("raft: log parts")
        .example(
            [
                part(7, 0, &[0, 1, 2]),
                part(7, 1, &[1, 3]),
                part(8, 0, &[1]),
            ]
            .concat(),
        )
        .found(endless)
        .run(
            |mut bytes| {
                let mut joiner = Joiner::default();
                let mut joined = vec![];
                while let [length, rest @ ..] = bytes {
                    let (part, after) = rest.split_at_checked(usize::from(*length))?;
                    let (key, value) = part.split_at_checked(10)?;
                    joined.extend(joiner.push(key, value).ok()?);
                    bytes = after;
                }
                Some((joined, joiner.unfinished()))
            },
            |(joined, _)| {
                for (index, record) in joined.into_iter().filter(|(_, it)| !it.is_empty()) {
                    let mut joiner = Joiner::default();
                    let parts = crate::log_parts::cut(index, &record);
                    let again = parts.filter_map(|(key, value)| joiner.push(&key, &value).unwrap());
                    assert_eq!(again.collect::<Vec<_>>(), [(index, record.clone())]);
                }
            },
        );
}

#[test]
fn fuzz_log_mark() {
    records("raft: log mark", &["vote"]).run(
        |bytes| record::unseal::<Vote>(bytes, log::MARK_LIMIT).ok(),
        keeps(log::MARK_LIMIT),
    );
    records("raft: log place", &["log-id", "committed"]).run(
        |bytes| match record::unseal::<Option<LogId>>(bytes, log::MARK_LIMIT) {
            Ok(place) => Some(place),
            Err(_) => record::unseal(bytes, log::MARK_LIMIT).ok().map(Some),
        },
        keeps(log::MARK_LIMIT),
    );
}

/// The state of these tests: some text for each number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Texts(BTreeMap<u64, String>);

impl crate::StateMachine for Texts {
    type Command = ();
    type Reply = ();

    fn apply(&mut self, _index: u64, (): ()) {}

    fn encode(&self) -> Vec<u8> {
        record::seal(&self.0).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Self, crate::RecordError> {
        record::unseal(bytes, MAX_SNAPSHOT_BYTES).map(Texts)
    }
}

#[test]
fn fuzz_saved_file() {
    let state = crate::StateMachine::encode(&Texts([(1, "one".to_owned())].into()));
    let mut example: saved::SavedFile =
        record::unseal(&golden(GOLDEN, "saved"), MAX_SNAPSHOT_BYTES).unwrap();
    example.image.state = state.into();
    target("raft: saved file")
        .example(record::seal(&example).unwrap())
        .sealed_record(u32::to_le_bytes)
        .run(
            |bytes| saved::decoded::<Texts>(bytes).ok(),
            |saved| {
                let state = crate::StateMachine::encode(&saved.state);
                let again = <Texts as crate::StateMachine>::decode(&state).unwrap();
                assert_eq!(again, saved.state);
            },
        );
}
