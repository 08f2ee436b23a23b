//! A crowd of slow and greedy clients at one peer: the group goes on, and others are answered.

use std::time::Duration;

use hyper::Method;
use primacy::security::Wire;
use primacy::security::newcomer::ENROL_PATH;
use primacy::server::calls::Calls;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::access::wire_of_nobody;
use super::demo;
use super::group::{Group, WITHIN};
use super::leader_check::HANGS;

/// How long the crowd stays: several of the longest silences after which a follower stands for election.
const STAYS: Duration = Duration::from_secs(8);
/// More than the peer has places for.
const IDLE: usize = 1200;
/// More than are answered at once.
const READS: u64 = 300;
/// Less than anybody waits for a slow client, 10 s, or for a leader, 8 s.
const CHECKED_WITHIN: Duration = Duration::from_secs(6);

/// Connects, says `head`, then a byte at a time, until it is thrown out; and again.
async fn slow(address: String, head: &'static str) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let mut said = stream.write_all(head.as_bytes()).await;
            while said.is_ok() {
                sleep(Duration::from_millis(200)).await;
                said = stream.write_all(b"x").await;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Connects and says nothing, until it is thrown out; and again.
async fn idle(address: String, number: usize) {
    sleep(Duration::from_millis(2 * number as u64)).await;
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let _ = stream.read(&mut [0]).await;
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// Sends a body without an end.
async fn huge(address: String, head: &'static str) {
    let part = vec![b'x'; 64 * 1024];
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let mut said = stream.write_all(head.as_bytes()).await;
            while said.is_ok() {
                said = stream.write_all(&part).await;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Shakes hands, asks for what it has no right to, and goes; at once again.
async fn stranger(address: String, wire: Wire, path: &'static str) {
    loop {
        let request = hyper::Request::builder().uri(path);
        let request = match path {
            ENROL_PATH => request
                .method(Method::POST)
                .body(r#"{"secret":"x"}"#.into()),
            _ => request
                .header(
                    "authorization",
                    format!("Bearer primacy-token-1.{}", "a".repeat(43)),
                )
                .body(http_body_util::Full::default()),
        };
        let calls = Calls::over(wire.clone());
        if let Ok(answer) = calls.send(&address, request.unwrap(), WITHIN).await {
            assert!(answer.status().is_client_error() || answer.status() == 503);
        }
        yield_now().await;
    }
}

/// Of all whom a peer that speaks TLS may meet.
fn crowd_over_tls(group: &Group, address: &str) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    let at = || address.to_owned();
    for number in 0..IDLE {
        crowd.spawn(idle(at(), number));
    }
    for _ in 0..100 {
        // The beginning of a handshake, and what is none.
        crowd.spawn(slow(at(), "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}"));
        crowd.spawn(slow(at(), "GET /livez HTTP/1.1\r\n"));
    }
    for _ in 0..3 {
        crowd.spawn(huge(at(), "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}"));
        for path in [ENROL_PATH, "/api/v1/clusters", "/api/v1/leader"] {
            crowd.spawn(stranger(at(), wire_of_nobody(&group.authority), path));
        }
    }
    crowd
}

fn crowd_in_plain_text(address: &str) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    let at = || address.to_owned();
    for number in 0..IDLE {
        crowd.spawn(idle(at(), number));
    }
    for _ in 0..100 {
        crowd.spawn(slow(
            at(),
            "GET /api/v1/clusters HTTP/1.1\r\nhost: x\r\nslow: ",
        ));
        crowd.spawn(slow(
            at(),
            "POST /api/v1/clusters HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n",
        ));
    }
    for _ in 0..3 {
        for head in [
            "POST /api/v1/clusters HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
            "POST /raft/v1/snapshot HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
            "GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
        ] {
            crowd.spawn(huge(at(), head));
        }
    }
    crowd
}

/// What others saw while the crowd was there, at worst.
#[derive(Debug, Default)]
struct Worst {
    /// How old the state of a follower was: the time between two heartbeats, and a little more.
    staleness: Duration,
    /// How long an answer took.
    answer: Duration,
    answers: u32,
}

impl Worst {
    /// Asks on a connection of its own, as whoever comes anew.
    async fn ask(&mut self, group: &Group, id: u64, method: Method, path: &str) -> u16 {
        let begun = Instant::now();
        let request = hyper::Request::builder().method(method).uri(path);
        let request = request.body(http_body_util::Full::default()).unwrap();
        let calls = Calls::over(group.wire.clone());
        let answer = calls.send(&group.addresses[&id], request, WITHIN);
        let answer = answer.await.unwrap();
        self.answer = self.answer.max(begun.elapsed());
        self.answers += 1;
        let age = answer.headers().get("primacy-staleness-ms");
        let age = age.and_then(|age| age.to_str().unwrap().parse().ok());
        let age = Duration::from_millis(age.unwrap_or(0));
        self.staleness = self.staleness.max(age);
        answer.status().as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_slow_clients_causes_no_election_and_keeps_nobody_waiting() {
    endures(Group::prepare_plain(), |_, address| {
        crowd_in_plain_text(address)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_over_tls_causes_no_election_and_keeps_nobody_waiting() {
    endures(Group::prepare(), crowd_over_tls).await;
}

/// At a leader and at a follower: neither delays heartbeats, nor the answers for anybody else.
async fn endures(mut group: Group, crowd_at: impl Fn(&Group, &str) -> JoinSet<()>) {
    (1..=3).for_each(|id| group.run(id));
    let leader = group.leader().await;
    for crowded in [leader, leader % 3 + 1] {
        let (_, before) = group.get(leader, "/api/v1/leader").await;
        let mut crowd = crowd_at(&group, &group.addresses[&crowded]);
        let mut worst = Worst::default();
        let until = Instant::now() + STAYS;
        while Instant::now() < until {
            for id in 1..=3 {
                for (path, status) in [
                    ("/api/v1/leader", 200),
                    ("/api/v1/leader?consistency=stale", 200),
                    ("/api/raft-health", 200),
                    ("/livez", 200),
                ] {
                    let found = worst.ask(&group, id, Method::GET, path).await;
                    assert_eq!(found, status, "{path} at {id}: {worst:?}");
                }
                let path = "/api/v1/peers/99";
                let found = worst.ask(&group, id, Method::DELETE, path).await;
                assert_eq!(found, 404, "a change at {id}: {worst:?}");
            }
        }
        let response = group.call(crowded, Method::GET, "/metrics", "").await;
        let page = String::from_utf8(response.body().to_vec()).unwrap();
        let clients = super::checks::value(&page, "primacy_http_connections{of=\"clients\"} ");
        let displaced = super::checks::value(&page, "primacy_http_connections_displaced_total ");
        let (_, after) = group.get(leader, "/api/v1/leader").await;
        eprintln!("{worst:?}; {clients:?} clients, {displaced:?} made room");
        while let Some(gone) = crowd.try_join_next() {
            gone.unwrap();
        }
        crowd.shutdown().await;
        assert_eq!(after["term"], before["term"], "there was an election");
        assert_eq!(after["leader"], before["leader"]);
        assert!(worst.answer < CHECKED_WITHIN, "{worst:?}");
        assert!(clients.unwrap() <= 1024.0 && displaced.unwrap() > 0.0);
    }
}

/// A peer that cannot answer keeps few waiting, and tells the others at once when to ask again.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_one_too_many_is_told_at_once_and_checks_are_not_held_up() {
    let group = Group::prepare_plain().started().await;
    let asked = group.leader().await % 3 + 1;
    // It passes reads on to a leader that takes them and never answers.
    let others = group.addresses.iter().filter(|(id, _)| **id != asked);
    let others: Vec<_> = others.map(|(_, address)| address.clone()).collect();
    HANGS.lock().unwrap().extend(others.iter().cloned());
    let mut reads = JoinSet::new();
    for number in 0..READS {
        let (address, calls) = (group.addresses[&asked].clone(), Calls::over(Wire::Plain));
        reads.spawn(async move {
            sleep(Duration::from_millis(number)).await;
            let answer = loop {
                let request = hyper::Request::get("/api/v1/clusters");
                let request = request.body(http_body_util::Full::default()).unwrap();
                // A busy machine may be slow to connect.
                if let Ok(answer) = calls.send(&address, request, WITHIN).await {
                    break answer;
                }
            };
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            let again = answer.headers().get("retry-after").cloned();
            (answer.status().as_u16(), body["code"].clone(), again)
        });
    }
    let (mut busy, mut late) = (0, 0);
    while let Some(ended) = reads.join_next().await {
        let (status, code, again) = ended.unwrap();
        assert_eq!(status, 503, "{code}");
        assert_eq!(again.unwrap(), "1");
        match code == json!("busy") {
            true => busy += 1,
            false => late += 1,
        }
        // The others wait still.
        if busy == 1 && late == 0 {
            for path in ["/livez", "/api/lb-check", "/metrics"] {
                let checked = group.call(asked, Method::GET, path, "");
                let checked = timeout(CHECKED_WITHIN, checked).await;
                assert_eq!(checked.expect(path).status(), 200);
            }
        }
    }
    eprintln!("{busy} were told that the peer is busy, {late} that nobody leads");
    assert!(busy > 0 && late > 0);
    assert_eq!(busy + late, READS);
    // Places are free again, and a change takes effect.
    HANGS.lock().unwrap().retain(|it| !others.contains(it));
    group.leader().await;
    let (status, _) = group.post(asked, "/api/v1/clusters", &demo("demo")).await;
    assert_eq!(status, 201);
}
