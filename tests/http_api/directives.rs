//! What operators say of automation, and where it is shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::demo;
use super::group::{Group, WITHIN};

/// As soon as every peer is known to understand it.
async fn said(group: &Group, id: u64, path: &str, body: &Value) -> (u16, Value) {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        let (status, answer) = group.post(id, path, body).await;
        if answer["code"] != "feature-level" {
            return (status, answer);
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until(group: &Group, id: u64, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        let (_, answer) = group.get(id, path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn hold(seconds: u64) -> Value {
    json!({"seconds": seconds, "owner": "ana", "reason": "patch"})
}

const DEMO: &str = "/api/v1/clusters/demo";
const PAUSE: &str = "/api/v1/clusters/demo/pause";
const CHECK: &str = "/api/check-global-recoveries";

#[tokio::test(flavor = "multi_thread")]
async fn a31_a_pause_of_all_is_told_by_every_peer_until_it_ends() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let follower = leader % 3 + 1;
    group
        .post(follower, "/api/v1/clusters", &demo("demo"))
        .await;
    for id in 1..=3 {
        until(&group, id, CHECK, |it| it["Details"] == "enabled").await;
    }
    let (status, paused) = said(&group, follower, "/api/v1/pause", &hold(3_600)).await;
    assert_eq!((status, &paused["paused"]), (200, &json!(true)), "{paused}");
    for id in 1..=3 {
        until(&group, id, CHECK, |it| it["Details"] == "disabled").await;
        let path = format!("{DEMO}?consistency=stale");
        let cluster = until(&group, id, &path, |it| it["pause"].is_object()).await;
        assert_eq!(cluster["pause"]["owner"], "ana");
        assert_eq!(cluster["pause"]["everywhere"], true);
        let mut codes = cluster["findings"].as_array().unwrap().iter();
        assert!(codes.any(|it| it["code"] == "Paused"), "{cluster}");
    }
    // The one of a cluster does not end that of all.
    said(&group, follower, PAUSE, &hold(60)).await;
    let (status, cluster) = group.delete(follower, PAUSE).await;
    assert_eq!(
        (status, &cluster["pause"]["everywhere"]),
        (200, &json!(true))
    );
    let (status, resumed) = group.delete(leader, "/api/v1/pause").await;
    assert_eq!((status, &resumed["paused"]), (200, &json!(false)));
    for id in 1..=3 {
        until(&group, id, CHECK, |it| it["Details"] == "enabled").await;
    }
    // It ends by itself.
    let (_, cluster) = said(&group, follower, PAUSE, &hold(1)).await;
    assert_eq!(cluster["pause"]["everywhere"], false);
    until(&group, follower, DEMO, |it| it["pause"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downtimes_and_rules_are_shown_with_their_instance() {
    let group = Group::start().await;
    group.post(1, "/api/v1/clusters", &demo("demo")).await;
    let of = |instance: &str, what: &str| format!("{DEMO}/instances/{instance}/{what}");
    let shown = |cluster: &Value| cluster["instances"][1].clone();
    let (status, cluster) = said(&group, 2, &of("b", "downtime"), &hold(3_600)).await;
    assert_eq!(status, 200, "{cluster}");
    assert_eq!(shown(&cluster)["downtime"]["reason"], "patch");
    let rule = json!({"rule": "must_not", "seconds": 3_600});
    let (status, cluster) = said(&group, 2, &of("b", "rule"), &rule).await;
    assert_eq!(
        (status, &shown(&cluster)["promotion_rule"]),
        (200, &json!("must_not"))
    );
    assert!(shown(&cluster)["promotion_rule_until"].is_string());
    let (status, cluster) = group.delete(3, &of("b", "downtime")).await;
    assert_eq!((status, &shown(&cluster)["downtime"]), (200, &Value::Null));

    let priority = |priority: i32| json!({"priority": priority});
    let path = format!("{DEMO}/priority");
    let (status, cluster) = said(&group, 2, &path, &priority(-7)).await;
    assert_eq!((status, &cluster["priority"]), (200, &json!(-7)));
    until(&group, 3, DEMO, |it| it["priority"] == -7).await;

    for (path, body, status, code) in [
        (path.clone(), priority(101), 422, "invalid"),
        (path.clone(), priority(100_000), 400, "bad-body"),
        (
            path.replace("demo", "other"),
            priority(1),
            404,
            "unknown-cluster",
        ),
        (of("z", "downtime"), hold(1), 404, "unknown-instance"),
        (
            of("No%20Name", "downtime"),
            hold(1),
            404,
            "unknown-instance",
        ),
        (
            PAUSE.replace("demo", "other"),
            hold(1),
            404,
            "unknown-cluster",
        ),
        (PAUSE.to_owned(), hold(0), 422, "invalid"),
        (PAUSE.to_owned(), hold(31 * 86_400), 422, "invalid"),
        (PAUSE.to_owned(), json!({"seconds": 1}), 400, "bad-body"),
        (of("b", "rule"), json!({"rule": "must"}), 400, "bad-body"),
        (
            PAUSE.to_owned(),
            json!({"seconds": 1, "owner": "o".repeat(65), "reason": "r"}),
            422,
            "invalid",
        ),
    ] {
        let (found, problem) = said(&group, 1, &path, &body).await;
        assert_eq!(
            (found, problem["code"].as_str()),
            (status, Some(code)),
            "{path} {body}"
        );
    }
}
