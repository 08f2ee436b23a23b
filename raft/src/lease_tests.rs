use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::*;
use crate::{Config, GroupId, Newborn, Plain, once::tests::Sum};

/// Nothing that is waited for takes longer on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_suspension_voids_what_was_answered_before_it() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let hour = Duration::from_secs(3600);
    let mut seen = Seen {
        asleep: hour,
        woke: None,
    };
    seen.look(hour + READ_APART, at(1));
    assert_eq!(seen.woke, None);
    seen.look(hour + READ_APART * 2, at(2));
    assert_eq!(seen.woke, Some(at(2)));
    // It is noticed once; a reading that was interrupted hides no later one.
    seen.look(hour + READ_APART * 2, at(3));
    assert_eq!(seen.woke, Some(at(2)));
    seen.look(hour + READ_APART + Duration::from_millis(1), at(4));
    seen.look(hour + READ_APART * 2 + Duration::from_millis(2), at(5));
    assert_eq!(seen.woke, Some(at(5)));

    let wakefulness = Wakefulness::new();
    assert!(wakefulness.was_awake_since(start));
    wakefulness.0.lock().unwrap().woke = Some(at(10));
    assert!(!wakefulness.was_awake_since(at(9)));
    assert!(wakefulness.was_awake_since(at(11)));
}

#[test]
fn a_lease_ends_before_a_voter_may_vote_for_another() {
    for timing in KNOWN {
        // Also if the leader's clock counts seven seconds while the voter's counts eight.
        assert!(8 * timing.lease() <= 7 * timing.election_max);
        assert!(timing.lease() + READ_APART < timing.election_max);
        assert!(timing.lease() > 2 * timing.heartbeat);
    }
}

#[test]
fn what_was_granted_under_a_longer_timing_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (lan, wan) = (Timing::lan(), Timing::wan());
    let silent = |timing, has_data| {
        let noted = Granted::note(folder.path(), timing, has_data).unwrap();
        assert_eq!(Silence::new(noted, has_data).holds(), has_data);
        noted.longest()
    };
    assert_eq!(silent(lan, false), lan.election_max);
    assert_eq!(silent(lan, true), lan.election_max);
    assert_eq!(silent(wan, true), wan.election_max);
    assert_eq!(silent(lan, true), wan.election_max);
    // It stopped while it was silent.
    assert_eq!(silent(lan, true), wan.election_max);
    Granted::of(lan).write(folder.path()).unwrap();
    assert_eq!(silent(lan, true), lan.election_max);

    let path = folder.path().join(NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Granted::note(folder.path(), lan, true).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    // Of a peer that was made before there was such a note, the timing of before is not known.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(silent(lan, true), wan.election_max);
}

/// Two peers that are a group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_a_suspension_is_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let mut listeners = vec![];
    let mut members = BTreeMap::new();
    for id in [1, 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        members.insert(id, listener.local_addr().unwrap().to_string());
        listeners.push((id, listener));
    }
    let mut served = JoinSet::new();
    let (tell, mut told) = mpsc::channel(2);
    for (id, listener) in listeners {
        let config = Config {
            id,
            group: GroupId::from_bytes([1; 16]),
            beginning: 0,
            folder: folder.path().join(id.to_string()),
            members: members.clone(),
            timing: Timing::lan(),
            transport: Arc::new(Plain),
            snapshot_every: 5000,
            keep_before_snapshot: 1000,
        };
        let tell = tell.clone();
        served.spawn(async move {
            let newborn = Newborn::open(config).unwrap();
            let started = Consensus::start_on(&listener, newborn, Sum::default()).await;
            let started = started.unwrap();
            tell.send(started.clone()).await.unwrap();
            started.serve_on(&listener, std::future::pending()).await;
        });
    }
    let mut peers = vec![];
    for _ in 0..2 {
        let started = timeout(DEADLINE, told.recv()).await.unwrap();
        peers.push(started.unwrap());
    }
    let led = async || {
        loop {
            for peer in &peers {
                if peer.confirm_lease().await.is_ok() && peer.lease().is_some() {
                    return peer.clone();
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let leader = timeout(DEADLINE, led()).await.unwrap();

    // As if the machine had slept until after any answer of the next hour.
    let woke = |at| leader.parts().wakefulness.0.lock().unwrap().woke = Some(at);
    let before = Instant::now();
    woke(before + Duration::from_secs(3600));
    assert_eq!(leader.lease(), None);
    let refused = leader.confirm_lease().await;
    assert!(refused.is_err(), "{refused:?}");
    // What was answered after it woke counts.
    woke(before);
    timeout(DEADLINE, led()).await.unwrap();

    for peer in peers {
        peer.shutdown().await;
    }
    served.shutdown().await;
}
