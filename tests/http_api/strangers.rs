//! Whoever says that it was invited and was not: it costs little, and takes no place of those who were, or of an admin.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use primacy::security::Secret;
use primacy::security::enrolment::{Enrol, NewKey, Wish};
use primacy::security::newcomer::{Asking, ENROL_PATH};
use primacy::server::calls::Calls;
use primacy::server::hex::hex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::access::anonymous;
use super::group::{Group, WITHIN};
use super::leader_check::HANGS;

/// So many strangers are answered at once.
const PLACES: usize = 8;
/// Less than anybody waits for a leader to be elected: 8 s.
const AT_ONCE: Duration = Duration::from_secs(6);

fn asking(secret: Secret) -> Bytes {
    let asking = Asking {
        enrol: Enrol {
            secret,
            wish: Wish::Peer,
            request: NewKey::draw().unwrap().request().to_vec(),
        },
        nonce: [7; 16],
    };
    Bytes::from(raft::seal(&asking).unwrap())
}

/// The status, and the code of the problem.
async fn enrols(calls: Calls, address: String, body: Bytes) -> (u16, String) {
    let request = Request::post(ENROL_PATH).body(Full::new(body)).unwrap();
    let answer = calls.send(&address, request, WITHIN).await.unwrap();
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    (answer.status().as_u16(), code)
}

/// Asks until the answer stands, as a newcomer does.
async fn enrols_at_last(calls: &Calls, address: &str, body: &Bytes) -> (u16, String) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let answer = enrols(calls.clone(), address.to_owned(), body.clone()).await;
        if answer.0 != 503 {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_wherever_it_asks_and_a_newcomer_is_not() {
    let group = Group::start().await;
    let calls = anonymous(&group.authority);
    let stranger = asking(Secret::draw().unwrap());
    for address in group.addresses.values() {
        let told = enrols_at_last(&calls, address, &stranger).await;
        assert_eq!(told, (403, "not-invited".to_owned()));
    }
    // Those who do not lead hear of an invitation a moment later: meanwhile nobody is refused.
    let secret = Secret::draw().unwrap();
    let invitation = json!({"address": "127.0.0.1:9", "secret_sha256": hex(&secret.hash().0)});
    let newcomer = asking(secret);
    let (status, invited) = group.post(1, "/api/v1/peers", &invitation).await;
    assert_eq!(status, 201, "{invited}");
    for address in group.addresses.values() {
        let (status, code) = enrols_at_last(&calls, address, &newcomer).await;
        assert_eq!(status, 200, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_leader_for_a_stranger_s_sake() {
    let mut group = Group::start().await;
    group.halt(2).await;
    group.halt(3).await;
    let calls = anonymous(&group.authority);
    let stranger = asking(Secret::draw().unwrap());
    let deadline = Instant::now() + WITHIN;
    loop {
        let begun = Instant::now();
        let address = group.addresses[&1].clone();
        let (status, code) = enrols(calls.clone(), address, stranger.clone()).await;
        let took = begun.elapsed();
        assert!(took < AT_ONCE, "{status} {code} after {took:?}");
        // One that led does so until its lease ends.
        if status == 503 {
            break;
        }
        assert!(Instant::now() < deadline, "{status} {code}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_few_places_of_their_own() {
    let group = Group::start().await;
    let asked = group.leader().await % 3 + 1;
    // What is passed on is not answered.
    let others = group.addresses.iter().filter(|(id, _)| **id != asked);
    let others: Vec<_> = others.map(|(_, address)| address.clone()).collect();
    HANGS.lock().unwrap().extend(others.iter().cloned());
    let calls = anonymous(&group.authority);
    let stranger = asking(Secret::draw().unwrap());
    let mut strangers = JoinSet::new();
    for _ in 0..=PLACES {
        let address = group.addresses[&asked].clone();
        strangers.spawn(enrols(calls.clone(), address, stranger.clone()));
    }
    let mut busy = 0;
    while let Some(ended) = strangers.join_next().await {
        let (status, code) = ended.unwrap();
        assert_eq!(status, 503, "{code}");
        busy += usize::from(code == "busy");
    }
    HANGS.lock().unwrap().retain(|it| !others.contains(it));
    assert_eq!(busy, 1);
}
