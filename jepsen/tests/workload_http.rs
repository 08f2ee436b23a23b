//! The workloads that ask peers and agents, against answers as the API gives them.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::net::Ipv4Addr;
use std::time::Duration;

use jepsen::checker::{self, Verdict};
use jepsen::history::{Consistency, History, Operation, Outcome, Process, Recorder};
use jepsen::history::{Durability, Setup};
use jepsen::workload::status::{self, Endpoint};
use jepsen::workload::{Pace, lease, peers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// So many requests are answered before the work is told to stop.
const REQUESTS: u32 = 20;

/// Answers every request by its path, a path without an answer with 503, and counts them.
async fn answer(
    listener: TcpListener,
    answers: impl Fn(&str) -> Option<String>,
    count: &watch::Sender<u32>,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request[..length]).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match answers(path) {
            Some(body) => ("200 OK", body),
            None => ("503 Service Unavailable", "{}".to_owned()),
        };
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(response.as_bytes()).await.unwrap();
        count.send_modify(|count| *count += 1);
    }
}

/// What is recorded while `work` runs against a server with such answers.
fn recorded(
    answers: impl Fn(&str) -> Option<String>,
    work: impl AsyncFnOnce(Endpoint, &Recorder, Pace),
) -> History {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(folder.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = Endpoint {
            name: "p1".to_owned(),
            address: listener.local_addr().unwrap().to_string(),
            certificate: None,
        };
        let (stop, stopped) = watch::channel(false);
        let pace = Pace {
            stopped,
            every: Duration::from_millis(10),
        };
        let (count, mut counted) = watch::channel(0);
        let end = async {
            let enough = counted.wait_for(|count| *count >= REQUESTS);
            let enough = tokio::time::timeout(Duration::from_secs(30), enough).await;
            drop(enough.unwrap().unwrap());
            stop.send(true).unwrap();
        };
        tokio::select! {
            () = answer(listener, answers, &count) => {}
            _ = async { tokio::join!(work(endpoint, &recorder, pace), end) } => {}
        }
    });
    recorder.history().unwrap()
}

fn answered(history: &History) -> Vec<Operation> {
    let calls = history.calls().unwrap();
    let ok = calls.into_iter().filter(|call| call.outcome == Outcome::Ok);
    ok.map(|call| call.operation).collect()
}

#[test]
fn both_questions_are_asked_with_their_consistency() {
    let answers = |path: &str| {
        let (path, consistency) = path.split_once("?consistency=").unwrap();
        assert_eq!(consistency, "stale");
        match path {
            "/api/v1/leader" => Some(r#"{"term": 3, "leader": 2, "answered_by": 1}"#.to_owned()),
            "/api/v1/clusters/main" => Some(r#"{"epoch": 7, "primary": null}"#.to_owned()),
            other => panic!("{other}"),
        }
    };
    let history = recorded(answers, async |peer, recorder, pace| {
        let stale = Consistency::Stale;
        let work = status::run(vec![peer], "main", stale, recorder, pace);
        work.await.unwrap();
    });
    let found: Vec<_> = answered(&history)
        .into_iter()
        .map(|operation| match operation {
            Operation::Status(status) => (status.register, status.number, status.holder),
            other => panic!("{other:?}"),
        })
        .collect();
    let leader = ("leader".to_owned(), Some(3), Some("2".to_owned()));
    assert_eq!(found[..2], [("primary".to_owned(), Some(7), None), leader]);
    assert_eq!(
        checker::judge(&history).unwrap(),
        [("staleness", Verdict::Valid)]
    );
}

#[test]
fn a_peer_that_cannot_answer_fails_the_question() {
    let history = recorded(
        |_| None,
        async |peer, recorder, pace| {
            let consistency = Consistency::Linearizable;
            let work = status::run(vec![peer], "main", consistency, recorder, pace);
            work.await.unwrap();
        },
    );
    assert!(history.events().len() > 4);
    assert!(answered(&history).is_empty());
    let judged = checker::judge(&history).unwrap();
    assert_eq!(judged, [("linearizability", Verdict::Valid)]);
}

#[test]
fn peers_and_recoveries_are_watched() {
    let answers = |path: &str| match path {
        "/api/v1/peers/1" => Some(
            r#"{"id": 1, "role": "leader", "term": 4, "applied_index": 9, "warnings": []}"#
                .to_owned(),
        ),
        "/api/v1/clusters/main/history" => Some(
            r#"[{"id": 2, "kind": "handover", "epoch": 5, "from": "a", "to": "b", "cause": "x",
                "outcome": "done", "entries": [{"event": "began"}, {"event": "promoted"}]},
                {"id": 1, "kind": "creation", "epoch": 1, "to": "a", "outcome": "done",
                "entries": []}]"#
                .to_owned(),
        ),
        other => panic!("{other}"),
    };
    let history = recorded(answers, async |peer, recorder, pace| {
        let one = peers::watch_peer(peer.clone(), recorder, pace.clone());
        let other = peers::watch_recoveries(vec![peer], "main", recorder, pace);
        let (one, other) = tokio::join!(one, other);
        one.unwrap();
        other.unwrap();
    });
    let remarks: Vec<_> = history
        .events()
        .iter()
        .filter_map(|event| match &event.operation {
            Operation::Recovery(it) => Some((it.id, it.promoted.clone(), it.outcome.is_some())),
            _ => None,
        })
        .collect();
    let promoted = Some("b".to_owned());
    assert_eq!(remarks, [(2, promoted, true), (1, None, true)]);
    assert!(answered(&history).iter().all(|operation| {
        matches!(operation, Operation::Peer(it) if it.leads && it.term == 4 && it.applied == Some(9))
    }));
    let judged = checker::judge(&history).unwrap();
    assert_eq!(
        judged,
        [("recovery", Verdict::Valid), ("raft", Verdict::Valid)]
    );
}

#[test]
fn a_lease_and_a_fence_are_recorded_as_far_as_they_are_proven() {
    let body = |role: &str, lease: u64| {
        format!(
            r#"{{"state": "running", "role": "{role}", "primacy": {{"epoch": 4, "lease_remaining_ms": {lease}}}}}"#
        )
    };
    let watch_agent = async |agent: Endpoint, recorder: &Recorder, pace: Pace| {
        let setup = Setup {
            durability: Durability::Async,
            ..Setup::default()
        };
        let mut log = recorder.client("setup").unwrap();
        log.remark(Process::nemesis(), Operation::Setup(setup))
            .unwrap();
        lease::run(agent, recorder, pace).await.unwrap();
    };
    let history = recorded(|_| Some(body("primary", 60_000)), watch_agent);
    let leases = history
        .events()
        .iter()
        .filter_map(|it| match &it.operation {
            Operation::Lease(lease) => Some(lease),
            _ => None,
        });
    let leases: Vec<_> = leases.collect();
    assert!(leases.len() > 3);
    for lease in leases {
        assert_eq!((lease.holder.as_str(), lease.epoch), ("p1", 4));
        let surely = lease.until - lease.from;
        assert!(surely <= 60_000_000_000 && surely > 500_000_000, "{surely}");
    }
    assert_eq!(
        checker::judge(&history).unwrap(),
        [("lease", Verdict::Valid)]
    );

    let history = recorded(|_| Some(body("replica", 0)), watch_agent);
    let fences: Vec<_> = history
        .events()
        .iter()
        .filter(|it| matches!(it.operation, Operation::Fence(_) | Operation::Unfence(_)))
        .collect();
    let [from, until] = fences[..] else {
        panic!("{fences:?}");
    };
    assert!(matches!(from.operation, Operation::Fence(_)) && from.time < until.time);
}
