//! What a peer refuses: folders that are not its own, and calls that are not for it or are too long.

use crate::peers::{self, GROUP, Numbers, Peers};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use raft::{Config, Consensus, GroupId, Newborn, ProposeError, StartError};

const OTHER_GROUP: GroupId = GroupId::from_bytes([2; 16]);

/// Runs a single peer until it holds data, stops it, and starts it again after `change`.
fn restarted(change: impl FnOnce(&mut Config)) -> StartError {
    let mut peers = Peers::start(1);
    peers.add(1);
    peers.shutdown(1);
    let mut config = peers.config(1);
    change(&mut config);
    start(&peers, config)
}

fn start(peers: &Peers, config: Config) -> StartError {
    let started = async { Consensus::start(Newborn::open(config)?, Numbers::default()).await };
    peers.wait(started).err().expect("the start is refused")
}

#[test]
fn a_folder_that_is_not_its_own_is_refused() {
    let other_peer = restarted(|config| config.id = 2);
    assert!(
        matches!(
            other_peer,
            StartError::OtherPeer {
                found: 1,
                expected: 2
            }
        ),
        "{other_peer}"
    );
    let other_group = restarted(|config| config.group = OTHER_GROUP);
    assert!(
        matches!(
            other_group,
            StartError::OtherGroup {
                found: GROUP,
                expected: OTHER_GROUP
            }
        ),
        "{other_group}"
    );
    let unmarked =
        restarted(|config| std::fs::remove_file(config.folder.join("identity")).unwrap());
    assert!(matches!(unmarked, StartError::Unmarked), "{unmarked}");
}

#[test]
fn an_empty_log_where_there_was_data_is_refused() {
    let lost = restarted(|config| std::fs::remove_dir_all(config.folder.join("log")).unwrap());
    assert!(matches!(lost, StartError::LogLost), "{lost}");
}

#[test]
fn a_snapshot_with_a_flipped_byte_is_refused() {
    let mut peers = Peers::start(1);
    peers.add(1);
    peers.wait(peers.consensus(1).trigger_snapshot()).unwrap();
    peers::is_soon("there is a snapshot", || {
        peers.status(1).snapshot_index.is_some()
    });
    peers.shutdown(1);
    let snapshot = peers.config(1).folder.join("snapshot");
    let mut bytes = std::fs::read(&snapshot).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    let error = start(&peers, peers.config(1));
    assert!(matches!(error, StartError::Snapshot(_)), "{error}");
}

#[test]
fn timings_that_contradict_each_other_are_refused() {
    let error = restarted(|config| config.timing.election_min = config.timing.election_max * 2);
    assert!(matches!(error, StartError::Config(_)), "{error}");
}

#[test]
fn a_command_over_the_limit_is_refused_before_it_enters() {
    let peers = Peers::start(1);
    let before = peers.add(1).index;
    let command = vec![0; raft::MAX_COMMAND_BYTES / 4];
    let refused = peers
        .wait(peers.consensus(1).propose(peers::Command::Many(command)))
        .unwrap_err();
    assert!(
        matches!(
            refused,
            ProposeError::TooLarge {
                limit: raft::MAX_COMMAND_BYTES,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(peers.add(2).index, before + 1);
}

#[test]
fn a_call_that_is_not_for_this_peer_or_is_too_long_is_refused() {
    let peers = Peers::start(1);
    let address = peers.config(1).members[&1].clone();
    let check = |path: &str, group: GroupId, to: u64, body: Vec<u8>, expected: (u16, &str)| {
        let request = Request::post(format!("http://{address}{path}"))
            .header("raft-protocol", 3)
            .header("raft-group", group.to_string())
            .header("raft-beginning", 0)
            .header("raft-from", 2)
            .header("raft-to", to)
            .header("raft-election-max", 400)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let (status, text) = peers.wait(async {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let answer = client.request(request).await.unwrap();
            let status = answer.status().as_u16();
            (
                status,
                answer.into_body().collect().await.unwrap().to_bytes(),
            )
        });
        assert_eq!(
            (status, String::from_utf8_lossy(&text).as_ref()),
            expected,
            "{path}"
        );
    };
    let small = vec![0; 16];
    let group = "this peer belongs to group 61206772-6f75-7020-6f66-207465737473";
    check("/raft/v1/vote", OTHER_GROUP, 1, small.clone(), (421, group));
    check(
        "/raft/v1/vote",
        GROUP,
        3,
        small.clone(),
        (421, "this is peer 1"),
    );
    check(
        "/raft/v1/vote",
        GROUP,
        1,
        small.clone(),
        (
            400,
            "record has format version 0, this program reads version 1",
        ),
    );
    check(
        "/raft/v1/vote",
        GROUP,
        1,
        vec![0; 100_000],
        (413, "body is over 65536 bytes"),
    );
    check(
        "/raft/v1/append",
        GROUP,
        1,
        vec![0; 5 << 20],
        (413, "body is over 4194304 bytes"),
    );
    check(
        "/raft/v1/other",
        GROUP,
        1,
        small,
        (404, "no call at /raft/v1/other"),
    );
    peers.add(1);
}
