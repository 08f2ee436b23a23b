//! Three peers in this process, without any PostgreSQL: what their HTTP ports answer. Every answer is held
//! against `docs/openapi.json`.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod acceptance;
mod access;
mod bounds;
mod checks;
mod connections;
mod crowd;
mod directives;
mod document;
mod group;
mod heavy;
mod leader_check;
mod strangers;

use std::collections::BTreeMap;
use std::time::Duration;

use document::Document;
use group::{Group, WITHIN};
use hyper::Method;
use primacy::http;
use serde_json::{Value, json};

fn demo(name: &str) -> Value {
    let member = |n: u16| json!({"host": "127.0.0.1", "port": 5000 + n, "health_port": 8000 + n, "zone": format!("z{n}")});
    json!({
        "name": name, "durability": {"quorum": 1}, "first": "a",
        "members": {"a": member(1), "b": member(2), "c": member(3)},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_peer_answers_for_the_group() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();

    // Exactly one peer is the leader to a load balancer.
    let mut checks = BTreeMap::new();
    for id in 1..=3 {
        let (status, _) = group.get(id, "/api/leader-check").await;
        checks.insert(id, status);
        assert_eq!(group.get(id, "/api/raft-health").await.0, 200);
    }
    assert_eq!(checks.remove(&leader), Some(200));
    assert!(checks.values().all(|status| *status == 404));

    // A change at a follower is passed on, and the answer says who gave it.
    let body = demo("demo").to_string();
    let response = group
        .call(follower, Method::POST, "/api/v1/clusters", &body)
        .await;
    assert_eq!(response.status(), 201);
    assert_eq!(
        response.headers()["primacy-answered-by"],
        leader.to_string()
    );
    for id in 1..=3 {
        let (status, cluster) = group.get(id, "/api/v1/clusters/demo").await;
        assert_eq!((status, cluster["phase"].as_str()), (200, Some("creating")));
        assert_eq!(cluster["waiting"][0]["code"], "silent");
    }

    // What makes no sense is refused with a code, a sentence and a hint, and changes nothing.
    let mut cases = vec![("exists", 409, demo("demo"))];
    let mut change = |field: &str, value: Value, code: &'static str, status| {
        let mut body = demo("other");
        body[field] = value;
        cases.push((code, status, body));
    };
    change("name", json!("Not A Name"), "invalid", 422);
    change("durability", json!({"quorum": 3}), "invalid", 422);
    change("durability", json!({"quorum": 0}), "invalid", 422);
    change("durability", json!("sometimes"), "bad-body", 400);
    change("first", json!("z"), "invalid", 422);
    change("unknown", json!(1), "bad-body", 400);
    change("name", json!("other-with-the-same-servers"), "invalid", 422);
    change("members", json!({}), "invalid", 422);
    for (code, status, body) in cases {
        let (found, problem) = group.post(follower, "/api/v1/clusters", &body).await;
        assert_eq!(
            (found, problem["code"].as_str()),
            (status, Some(code)),
            "{problem}"
        );
        assert!(problem["hint"].is_string() && problem["detail"].is_string());
    }
    let (_, clusters) = group.get(follower, "/api/v1/clusters").await;
    assert_eq!(clusters.as_array().unwrap().len(), 1);

    let (status, problem) = group
        .post(
            follower,
            "/api/v1/clusters?consistency=lease",
            &demo("leased"),
        )
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (400, Some("bad-consistency"))
    );
    let (status, problem) = group.get(follower, "/api/v1/clusters/none").await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (404, Some("unknown-cluster"))
    );
    for name in ["Not%20A%20Name", "%ff"] {
        let path = format!("/api/v1/clusters/{name}/history");
        let (status, problem) = group.get(leader, &path).await;
        let expected = (404, Some("unknown-cluster"));
        assert_eq!((status, problem["code"].as_str()), expected);
    }
    for peer in [leader, follower] {
        let long = " ".repeat(http::BODY_LIMIT + 1);
        let response = group.call(peer, Method::POST, "/api/v1/clusters", &long);
        assert_eq!(response.await.status(), 413);
    }
    let (status, problem) = group.get(follower, "/api/v1/clusters/demo/primary").await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (503, Some("no-primary"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_claimed_and_nothing_changes() {
    let mut group = Group::start().await;
    let (status, _) = group.post(1, "/api/v1/clusters", &demo("demo")).await;
    assert_eq!(status, 201);
    // A follower applies a moment later than a majority has it.
    let deadline = tokio::time::Instant::now() + WITHIN;
    let stale = "/api/v1/clusters/demo?consistency=stale";
    while group.get(1, stale).await.0 != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "peer 1 falls behind"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    group.halt(2).await;
    group.halt(3).await;
    let (status, problem) = group.get(1, "/api/v1/leader").await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("no-leader")));
    let (status, problem) = group.post(1, "/api/v1/clusters", &demo("lost")).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("no-leader")));
    assert_eq!(group.get(1, "/api/leader-check").await.0, 404);
    assert_eq!(group.get(1, "/livez").await.0, 200);
    // One that led believes for a moment longer that it does.
    let deadline = tokio::time::Instant::now() + WITHIN;
    for (path, status) in [("/readyz", 503), ("/api/raft-health", 500)] {
        while group.get(1, path).await.0 != status {
            assert!(tokio::time::Instant::now() < deadline, "{path}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let (status, cluster) = group
        .get(1, "/api/v1/clusters/demo?consistency=stale")
        .await;
    assert_eq!((status, cluster["name"].as_str()), (200, Some("demo")));

    // The majority comes back with all that it had recorded.
    group.run(2);
    group.run(3);
    group.leader().await;
    let (_, clusters) = group.get(2, "/api/v1/clusters").await;
    assert_eq!(clusters.as_array().unwrap().len(), 1);
    let (_, history) = group.get(3, "/api/v1/clusters/demo/history").await;
    assert_eq!(history[0]["kind"], "creation");
    assert_eq!(history[0]["from"], Value::Null);
    assert!(history[0]["to"].is_string());
}

/// Leaves every field of a new cluster out, one at a time: the document says which may be.
#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_a_new_cluster_are_those_of_the_document() {
    let group = Group::start().await;
    let document = Document::read();
    let new = document.schema("NewCluster");
    let member = &new["properties"]["members"]["additionalProperties"];
    let mut created = 0;
    for (schema, is_member) in [(new, false), (member, true)] {
        let required: Vec<String> = serde_json::from_value(schema["required"].clone()).unwrap();
        for field in schema["properties"].as_object().unwrap().keys() {
            let mut body = demo(&format!("without-{}", field.replace('_', "-")));
            // No server belongs to two clusters.
            for member in ["a", "b", "c"] {
                body["members"][member]["host"] = json!(format!("{member}.{field}.test"));
            }
            body["members"]["a"]["health_host"] = json!("127.0.0.1");
            body["reads"] = json!("strict");
            let whole = if is_member {
                &mut body["members"]["a"]
            } else {
                &mut body
            };
            let left_out = whole.as_object_mut().unwrap().remove(field);
            assert!(left_out.is_some(), "{field} is not in the example");
            let deadline = tokio::time::Instant::now() + WITHIN;
            let (status, cluster) = loop {
                let answer = group.post(1, "/api/v1/clusters", &body).await;
                // A machine that is busy makes a group change its leader.
                if answer.1["code"] != "no-leader" {
                    break answer;
                }
                assert!(tokio::time::Instant::now() < deadline, "no leader");
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let expected = if required.contains(field) { 400 } else { 201 };
            assert_eq!(status, expected, "without {field}: {cluster}");
            if field == "durability" {
                let default = &schema["properties"][field]["default"];
                assert_eq!(*default, json!({"quorum": 1}));
                assert_eq!(cluster["durability"], "quorum 1");
            }
            created += usize::from(status == 201);
        }
    }
    let (_, clusters) = group.get(1, "/api/v1/clusters").await;
    assert_eq!(clusters.as_array().unwrap().len(), created);
}
