//! A crowd that asks for what takes a peer long, as it may: no heartbeat is late for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use primacy::security::Wire;
use primacy::server::calls::Calls;
use serde_json::json;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use super::access::wire_of_nobody;
use super::demo;
use super::group::{Group, WITHIN};

/// How long the crowd stays: several of the longest silences after which a follower stands for election.
const STAYS: Duration = Duration::from_secs(8);
const CLUSTERS: usize = 20;
/// Who asks how many times at once.
const CROWD: [(&str, usize); 3] = [
    ("/metrics", 128),
    ("/api/v1/clusters?consistency=stale", 40),
    ("/api/v1/clusters/cluster-7/history?consistency=stale", 40),
];

/// Asks again and again on a connection of its own, and counts the whole answers.
async fn reader(wire: Wire, address: String, path: &'static str, whole: Arc<AtomicU64>) {
    let calls = Calls::over(wire);
    loop {
        match calls.get(&address, path, WITHIN).await {
            Ok((StatusCode::OK, _)) => {
                whole.fetch_add(1, Ordering::Relaxed);
            }
            // There was no place.
            Ok((status, _)) => assert_eq!(status, 503, "{path}"),
            // The connection made room for another one.
            Err(_) => {}
        }
        yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_heavy_readers_causes_no_election() {
    let mut group = Group::prepare();
    // One thread does all that a peer does, so that whatever holds it delays heartbeats too.
    group.has_threads = true;
    let group = group.started().await;
    for number in 0..CLUSTERS {
        let mut cluster = demo(&format!("cluster-{number}"));
        for member in ["a", "b", "c"] {
            cluster["members"][member]["host"] = json!(format!("{member}.{number}.test"));
        }
        let (status, made) = group.post(1, "/api/v1/clusters", &cluster).await;
        assert_eq!(status, 201, "{made}");
    }
    let leader = group.leader().await;
    for crowded in [leader, leader % 3 + 1] {
        let (_, before) = group.get(leader, "/api/v1/leader").await;
        let mut crowd = JoinSet::new();
        let mut counts = vec![];
        for (path, readers) in CROWD {
            let whole = Arc::new(AtomicU64::new(0));
            counts.push((path, whole.clone()));
            for _ in 0..readers {
                // Anybody may ask for metrics.
                let wire = match path {
                    "/metrics" => wire_of_nobody(&group.authority),
                    _ => group.wire.clone(),
                };
                let address = group.addresses[&crowded].clone();
                crowd.spawn(reader(wire, address, path, whole.clone()));
            }
        }
        let until = Instant::now() + STAYS;
        while Instant::now() < until {
            for id in 1..=3 {
                assert_eq!(group.get(id, "/livez").await.0, 200);
            }
            sleep(Duration::from_millis(50)).await;
        }
        while let Some(gone) = crowd.try_join_next() {
            gone.unwrap();
        }
        crowd.shutdown().await;
        let (_, after) = group.get(leader, "/api/v1/leader").await;
        eprintln!("at {crowded}, whole answers: {counts:?}");
        assert_eq!(after["term"], before["term"], "there was an election");
        assert_eq!(after["leader"], before["leader"]);
        for (path, whole) in counts {
            assert!(whole.load(Ordering::Relaxed) > 0, "nobody got {path}");
        }
    }
}
