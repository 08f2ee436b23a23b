//! What is refused for its size or number, and what is asked for in words that nobody knows.

use std::time::Duration;

use hyper::Method;
use primacy::security::Secret;
use primacy::server::hex::hex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::demo;
use super::group::{Group, WITHIN};

/// The answer of a leader, however long a busy machine takes to have one.
pub async fn post(group: &Group, path: &str, body: &Value) -> (u16, Value) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let answer = group.post(1, path, body).await;
        if answer.0 != 503 {
            return answer;
        }
        assert!(Instant::now() < deadline, "{}", answer.1);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Whether it is refused for what it says in `field`.
#[track_caller]
fn is_refused((status, problem): (u16, Value), field: &str) {
    assert_eq!((status, &problem["code"]), (422, &json!("invalid")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
}

fn invitation(address: &str) -> Value {
    json!({"address": address, "secret_sha256": "ab".repeat(32)})
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_a_host_is_longer_than_dns_allows() {
    let group = Group::start().await;
    let (longest, longer) = ("h".repeat(255), "h".repeat(256));
    for field in ["host", "health_host"] {
        let mut cluster = demo("demo");
        cluster["members"]["b"][field] = json!(longer);
        let refused = post(&group, "/api/v1/clusters", &cluster).await;
        is_refused(refused, &format!("members.b.{field}"));
    }
    let mut cluster = demo("demo");
    for number in 0..30 {
        let mut member = cluster["members"]["a"].clone();
        member["port"] = json!(10_000 + number);
        cluster["members"][format!("n{number}")] = member;
    }
    let refused = post(&group, "/api/v1/clusters", &cluster).await;
    is_refused(refused, "members");
    let mut cluster = demo("demo");
    for field in ["host", "health_host"] {
        cluster["members"]["b"][field] = json!(longest);
    }
    let (status, made) = post(&group, "/api/v1/clusters", &cluster).await;
    assert_eq!(status, 201, "{made}");

    let refused = post(
        &group,
        "/api/v1/peers",
        &invitation(&format!("{longer}:65535")),
    )
    .await;
    is_refused(refused, "address");
    let body = invitation(&format!("{longest}:65535"));
    let (status, invited) = post(&group, "/api/v1/peers", &body).await;
    assert_eq!(status, 201, "{invited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_peers_are_invited_at_once_and_no_more() {
    let group = Group::start().await;
    for number in 0..100 {
        let body = invitation(&format!("peer-{number}.test:7001"));
        let (status, invited) = post(&group, "/api/v1/peers", &body).await;
        assert_eq!(status, 201, "{invited}");
    }
    let refused = post(&group, "/api/v1/peers", &invitation("another.test:7001")).await;
    is_refused(refused, "address");
    // One takes the place of another.
    let again = invitation("peer-7.test:7001");
    let (status, invited) = post(&group, "/api/v1/peers", &again).await;
    assert_eq!(status, 201, "{invited}");
    // One that is withdrawn leaves room.
    // Whoever asks sees who was invited, and that nobody came.
    let promote = format!("/api/v1/peers/{}/promote", invited["id"]);
    let (status, refused) = post(&group, &promote, &serde_json::json!({})).await;
    assert_eq!((status, &refused["code"]), (412, &"not-joined".into()));
    let told = refused["detail"].as_str().unwrap();
    assert!(told.contains("is invited and has not joined yet"), "{told}");
    let leader = group.leader().await;
    let (_, listed) = group.get(leader, "/api/v1/peers").await;
    let listed = listed.as_array().unwrap();
    let is_invited = |it: &&Value| it["role"] == "invited" && it["invited_until"].is_string();
    assert_eq!(listed.iter().filter(is_invited).count(), 100);
    let path = format!("/api/v1/peers/{}", invited["id"]);
    let (status, one) = group.get(leader, &path).await;
    assert_eq!((status, &one["address"]), (200, &"peer-7.test:7001".into()));
    let response = group.call(1, Method::DELETE, &path, "").await;
    assert_eq!(response.status(), 200);
    let (status, _) = post(&group, "/api/v1/peers", &invitation("another.test:7001")).await;
    assert_eq!(status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_told_as_it_is_asked_for() {
    let mut group = Group::start().await;
    let leader = group.leader().await;
    let follower = leader % 3 + 1;
    for path in ["/api/v1/peers", "/api/v1/peers/1"] {
        for (asked, by) in [
            ("", follower),
            ("?consistency=stale", follower),
            ("?consistency=lease", leader),
            ("?consistency=linearizable", leader),
        ] {
            let path = format!("{path}{asked}");
            let response = group.call(follower, Method::GET, &path, "").await;
            assert_eq!(response.status(), 200, "{path}");
            let answered = &response.headers()["primacy-answered-by"];
            assert_eq!(*answered, by.to_string(), "{path}");
        }
        let path = format!("{path}?consistency=strong");
        let (status, problem) = group.get(follower, &path).await;
        let expected = (400, &json!("bad-consistency"));
        assert_eq!((status, &problem["code"]), expected, "{path}");
    }
    group.halt(2).await;
    group.halt(3).await;
    for path in ["/api/v1/peers", "/api/v1/peers/1"] {
        for asked in ["", "?consistency=stale"] {
            let path = format!("{path}{asked}");
            assert_eq!(group.get(1, &path).await.0, 200, "{path}");
        }
        for asked in ["lease", "linearizable"] {
            let path = format!("{path}?consistency={asked}");
            let deadline = Instant::now() + WITHIN;
            // A lease lasts for a moment still.
            while group.get(1, &path).await.0 != 503 {
                assert!(Instant::now() < deadline, "{path}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_and_not_there_is_told_and_no_reason_to_refuse() {
    let group = Group::start().await;
    let (status, _) = post(&group, "/api/v1/clusters", &demo("demo")).await;
    assert_eq!(status, 201);
    let token = |name: &str, role: &str, clusters: Value| {
        json!({
            "name": name, "role": role, "clusters": clusters,
            "secret_sha256": hex(&Secret::draw().unwrap().hash().0), "expires_in_seconds": 60,
        })
    };
    let agent = |cluster: &str, instance: &str| {
        json!({
            "guest": {"agent": {"cluster": cluster, "instance": instance}},
            "secret_sha256": hex(&Secret::draw().unwrap().hash().0),
        })
    };
    let many: Vec<String> = (0..65).map(|number| format!("c{number}")).collect();
    let refused = post(
        &group,
        "/api/v1/tokens",
        &token("t0", "viewer", json!(many)),
    )
    .await;
    is_refused(refused, "clusters");
    for (path, body, named) in [
        ("tokens", token("t1", "viewer", json!(["demo"])), None),
        ("tokens", token("t2", "viewer", Value::Null), None),
        (
            "tokens",
            token("t3", "viewer", json!(["demo", "dmeo"])),
            Some("no cluster dmeo"),
        ),
        ("invitations", agent("demo", "a"), None),
        ("invitations", agent("dmeo", "a"), Some("no cluster dmeo")),
        (
            "invitations",
            agent("demo", "x"),
            Some("no instance x, only a, b, c"),
        ),
    ] {
        let (status, made) = post(&group, &format!("/api/v1/{path}"), &body).await;
        assert_eq!(status, 201, "{made}");
        let warnings = made["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), usize::from(named.is_some()), "{made}");
        let first = warnings.first().and_then(Value::as_str).unwrap_or_default();
        assert!(first.contains(named.unwrap_or_default()), "{made}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_some_clusters_alone_is_refused_with_the_reason() {
    let group = Group::start().await;
    let body = json!({
        "name": "ci", "role": "admin", "clusters": ["demo"],
        "secret_sha256": hex(&Secret::draw().unwrap().hash().0), "expires_in_seconds": 60,
    });
    let (status, refused) = post(&group, "/api/v1/tokens", &body).await;
    assert_eq!((status, &refused["code"]), (422, &"invalid".into()));
    let why = refused["detail"].as_str().unwrap();
    assert!(
        why.contains("an admin is one of the whole installation"),
        "{why}"
    );
    let hint = refused["hint"].as_str().unwrap();
    assert!(hint.contains("no --cluster"), "{hint}");
}
