//! What checks by other methods and other protocols get, the leader check through any peer, and the metrics.

use std::time::Duration;

use std::io::{Read, Write};
use std::net::TcpStream;

use hyper::Method;
use serde_json::json;

use super::group::{Group, WITHIN};
use super::leader_check::isolate;

/// The status of a check as HAProxy makes it, and all that comes with it.
fn ask_plainly(address: &str, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    stream
        .write_all(format!("{head}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_s_default_check_finds_the_leader_and_nobody_else() {
    let group = Group::prepare_plain().started().await;
    let leader = group.leader().await;
    for (id, address) in &group.addresses {
        let (plain, chosen) = if *id == leader {
            (200, 200)
        } else {
            (404, 503)
        };
        for method in ["OPTIONS", "HEAD", "GET"] {
            for (path, expected) in [
                ("/api/leader-check", plain),
                ("/api/leader-check/503", chosen),
                ("/api/routed-leader-check", 200),
                ("/api/raft-health", 200),
                ("/api/lb-check", 200),
            ] {
                let head = format!("{method} {path} HTTP/1.0");
                let (status, answer) = ask_plainly(address, &head);
                assert_eq!(status, expected, "{head} at {id}");
                let body = answer.split_once("\r\n\r\n").unwrap().1;
                assert_eq!(body.is_empty(), method == "HEAD", "{head} at {id}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routed_leader_check_is_200_wherever_the_leader_can_be_asked() {
    let mut group = Group::start().await;
    let leader = group.leader().await;
    for id in 1..=3 {
        for path in ["/api/routed-leader-check", "/api/routed-leader-check/503"] {
            assert_eq!(group.get(id, path).await, (200, json!("OK")), "{path}");
        }
    }
    // A leader that holds no lease is none, whoever asks it.
    isolate(&group, leader, true);
    let deadline = tokio::time::Instant::now() + WITHIN;
    while group.get(leader, "/api/routed-leader-check").await.0 != 404 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    isolate(&group, leader, false);
    group.leader().await;
    for id in [1, 2] {
        group.halt(id).await;
    }
    let refused = (503, json!("Not leader"));
    // A standby that hears nobody passes for nobody.
    for path in [
        "/api/routed-leader-check/503",
        "/api/leader-check/503?standbyok=true",
    ] {
        let deadline = tokio::time::Instant::now() + WITHIN;
        while group.get(3, path).await != refused {
            assert!(tokio::time::Instant::now() < deadline, "{path}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The value of a line of the metrics.
pub fn value(page: &str, line: &str) -> Option<f64> {
    let found = page.lines().find_map(|it| it.strip_prefix(line));
    found.map(|value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_the_group_the_clusters_and_the_requests() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let (status, _) = group
        .post(1, "/api/v1/clusters", &super::demo("demo"))
        .await;
    assert_eq!(status, 201);
    for number in 0..50 {
        let path = format!("/api/v1/clusters/unknown-{number}?consistency=stale");
        group.get(leader, &path).await;
        group.get(leader, &format!("/nowhere/{number}")).await;
        // Statuses of the caller's choice are no labels.
        let path = format!("/api/leader-check/{}", 450 + number);
        let address = &group.addresses[&(leader % 3 + 1)];
        group.calls.get(address, &path, WITHIN).await.unwrap();
    }
    for id in 1..=3 {
        let response = group.call(id, Method::GET, "/metrics", "").await;
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"));
        let page = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(page.ends_with("# EOF\n"));
        let value = |line: &str| value(&page, line).unwrap_or_else(|| panic!("{line} in {page}"));
        // On a busy machine another one may lead by now.
        let leads = value("primacy_raft_is_leader ") == 1.0;
        assert_eq!(leads, value("primacy_raft_role{role=\"leader\"} ") == 1.0);
        assert!(value("primacy_raft_has_leader ") <= 1.0);
        assert_eq!(value("primacy_peer_takes_part "), 1.0);
        assert!(value("primacy_raft_term ") >= 1.0);
        assert_eq!(value("primacy_raft_members{vote=\"yes\"} "), 3.0);
        assert!(value("primacy_raft_log_writes_total ") > 0.0);
        assert_eq!(value("primacy_http_places{kind=\"snapshot\"} "), 2.0);
        // This very request.
        assert_eq!(
            value("primacy_http_requests_in_progress{kind=\"metrics\"} "),
            1.0
        );
        assert!(value("primacy_http_connections{of=\"clients\"} ") >= 1.0);
        let of_raft = "primacy_http_request_duration_seconds_count{kind=\"raft\"} ";
        if id == leader {
            // One line for a route, whatever is asked for there.
            let of = |route: &str, status: &str| {
                let labels = format!("{{route=\"{route}\",status=\"{status}\"}}");
                value(&format!("primacy_http_requests_total{labels} "))
            };
            assert_eq!(of("/api/v1/clusters/{cluster}", "4xx"), 50.0);
            assert_eq!(of("none", "4xx"), 50.0);
            assert!(page.lines().count() < 400, "{page}");
        } else {
            assert!(value(of_raft) > 0.0);
        }
        let lease = value("primacy_raft_leader_lease_remaining_seconds ");
        assert!(leads || lease == 0.0, "{lease}");
    }
    let response = group.call(leader, Method::GET, "/metrics", "").await;
    let page = String::from_utf8(response.body().to_vec()).unwrap();
    for line in [
        "primacy_cluster_has_primary{cluster=\"demo\"} 0",
        "primacy_cluster_primaries_observed{cluster=\"demo\"} 0",
        "primacy_cluster_epoch{cluster=\"demo\"} 1",
        "primacy_cluster_failover_possible{cluster=\"demo\"} 0",
        "primacy_recoveries_total{cluster=\"demo\"} 1",
        "primacy_member_role{cluster=\"demo\",member=\"a\",zone=\"z1\",role=\"none\"} 1",
        "primacy_member_role{cluster=\"demo\",member=\"a\",zone=\"z1\",role=\"primary\"} 0",
        "primacy_member_connected{cluster=\"demo\",member=\"c\",zone=\"z3\"} 0",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} in {page}");
    }
    // Nobody would take its place, so nothing is told of whom and of what would be lost.
    for name in ["candidate", "loss_bytes"] {
        let name = format!("primacy_cluster_failover_{name}{{");
        assert!(!page.contains(&name), "{name} in {page}");
    }
}
