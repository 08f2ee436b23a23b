//! Acceptance checks of the HTTP API by their numbers; A20 and A21 stand with the leader check.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::bounds::post;
use super::demo;
use super::group::{Group, WITHIN};
use super::leader_check::isolate;

/// Asks until the answer is as wanted.
async fn until(group: &Group, id: u64, path: &str, wanted: (u16, Value)) {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        let answer = group.get(id, path).await;
        if answer == wanted {
            return;
        }
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "{path} at {id}: {answer:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All of `peers` are healthy and name one and the same leader.
async fn are_healthy(group: &Group, peers: &[u64]) {
    let leader = group.leader().await;
    for id in peers {
        until(group, *id, "/api/raft-health", (200, json!("healthy"))).await;
        let address = json!(group.addresses[&leader]);
        until(group, *id, "/api/raft-leader", (200, address.clone())).await;
        let (status, told) = group.get(*id, "/api/raft-status").await;
        assert_eq!((status, &told["Leader"]), (200, &address));
        assert_eq!(told["Healthy"], true);
        assert_eq!(told["RaftAdvertise"], group.addresses[id]);
        let (_, state) = group.get(*id, "/api/raft-state").await;
        assert_eq!(told["State"], state);
        assert_eq!(state == "Leader", *id == leader);
        for path in ["/api/health", "/api/status"] {
            let (status, health) = group.get(*id, path).await;
            assert_eq!((status, &health["Code"]), (200, &json!("OK")), "{path}");
            assert_eq!(health["Details"]["RaftLeader"], address);
            assert_eq!(health["Details"]["IsActiveNode"], *id == leader);
        }
        let (_, peers) = group.get(*id, "/api/raft-peers").await;
        let all: Vec<_> = group.addresses.values().collect();
        assert_eq!(peers, json!(all));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a22_raft_health_is_200_on_all_and_500_on_a_minority() {
    let mut group = Group::start().await;
    are_healthy(&group, &[1, 2, 3]).await;
    // A follower, then the leader.
    for leads in [false, true] {
        let leader = group.leader().await;
        let alone = if leads { leader } else { leader % 3 + 1 };
        isolate(&group, alone, true);
        until(
            &group,
            alone,
            "/api/raft-health",
            (500, json!("unhealthy: no leader is known")),
        )
        .await;
        assert_eq!(group.get(alone, "/api/raft-leader").await, (200, json!("")));
        let (status, health) = group.get(alone, "/api/health").await;
        assert_eq!((status, &health["Code"]), (500, &json!("ERROR")));
        assert_eq!(group.get(alone, "/readyz").await.0, 503);
        for path in ["/api/lb-check", "/api/_ping", "/livez", "/healthz"] {
            assert_eq!(group.get(alone, path).await, (200, json!("OK")), "{path}");
        }
        let others: Vec<_> = (1..=3).filter(|id| *id != alone).collect();
        // The one that is alone goes on asking whoever it believes in.
        let stop = group.stop.remove(&alone).unwrap();
        are_healthy(&group, &others).await;
        group.stop.insert(alone, stop);
        isolate(&group, alone, false);
        are_healthy(&group, &[1, 2, 3]).await;
    }
}

/// Every peer that answers knows of exactly these clusters.
async fn are_known(group: &Group, names: &[&str]) {
    for id in 1..=3 {
        let deadline = tokio::time::Instant::now() + WITHIN;
        let path = "/api/v1/clusters?consistency=stale";
        loop {
            let (_, clusters) = group.get(id, path).await;
            let known = clusters.as_array().unwrap().iter();
            let known: Vec<_> = known.filter_map(|it| it["name"].as_str()).collect();
            if known == names {
                break;
            }
            let now = tokio::time::Instant::now();
            assert!(now < deadline, "peer {id} knows {known:?}, not {names:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a23_a_change_at_a_follower_is_seen_by_all() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let follower = leader % 3 + 1;
    let body = demo("demo").to_string();
    let made = group.call(follower, Method::POST, "/api/v1/clusters", &body);
    let made = made.await;
    assert_eq!(made.status(), 201);
    assert_ne!(made.headers()["primacy-answered-by"], follower.to_string());
    // A read that follows sees it, wherever it is asked.
    for id in 1..=3 {
        assert_eq!(group.get(id, "/api/v1/clusters/demo").await.0, 200);
    }
    are_known(&group, &["demo"]).await;
}

/// Whoever leads: each change that waits in vain does so for 20 s in `wan`.
#[tokio::test(flavor = "multi_thread")]
async fn a23_without_a_quorum_there_is_no_change() {
    let mut group = Group::prepare();
    group.network = "lan";
    let mut group = group.started().await;
    let (status, _) = post(&group, "/api/v1/clusters", &demo("demo")).await;
    assert_eq!(status, 201);

    // A leader that has lost its majority.
    let leader = group.leader().await;
    isolate(&group, leader, true);
    let body = demo("lost").to_string();
    let lost = group.call(leader, Method::POST, "/api/v1/clusters", &body);
    let lost = lost.await;
    assert_eq!(lost.status(), 503);
    assert_eq!(lost.headers()["retry-after"], "1");
    isolate(&group, leader, false);
    // A follower that has nobody.
    let alone = group.leader().await % 3 + 1;
    for other in (1..=3).filter(|id| *id != alone) {
        group.halt(other).await;
    }
    let (status, problem) = group.post(alone, "/api/v1/clusters", &demo("lost")).await;
    assert_eq!((status, &problem["retryable"]), (503, &json!(true)));
    for other in (1..=3).filter(|id| *id != alone) {
        group.run(other);
    }
    group.leader().await;
    // Whatever was in a log has come to an end once a later change is there.
    let mut last = demo("last");
    for member in ["a", "b", "c"] {
        last["members"][member]["host"] = json!("other.test");
    }
    let (status, _) = post(&group, "/api/v1/clusters", &last).await;
    assert_eq!(status, 201);
    are_known(&group, &["demo", "last"]).await;
}
