//! What `/api/leader-check` promises a load balancer: at most one peer at a time answers 200.

use std::time::Duration;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::{Router, http::HeaderMap};
use primacy::http;
use primacy::server::calls::Calls;
use primacy::server::{Peer, Routes};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::group::{Group, WITHIN};

/// From whom to which address nothing comes through.
static CUT: Mutex<BTreeSet<(u64, String)>> = Mutex::new(BTreeSet::new());

/// The addresses where what other peers pass on is never answered.
pub static HANGS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The product's answers, but for those to peers that are cut off.
pub const GATED: Routes = Routes {
    starting: http::PORT.starting,
    serving: gated,
};

fn gated(peer: Arc<Peer>) -> Router {
    let at = peer.config.listen.to_string();
    let gate = move |request: Request, next: Next| {
        let sender = sender(request.headers());
        let is_cut = sender.is_some_and(|from| CUT.lock().unwrap().contains(&(from, at.clone())));
        let is_passed_on = request.headers().contains_key("primacy-forwarded");
        let hangs = is_passed_on && HANGS.lock().unwrap().contains(&at);
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            match is_cut {
                true => StatusCode::BAD_GATEWAY.into_response(),
                false => next.run(request).await,
            }
        }
    };
    super::access::serving(peer).layer(middleware::from_fn(gate))
}

/// The peer that sends a request on, or a call of the Raft group.
fn sender(headers: &HeaderMap) -> Option<u64> {
    let names = ["raft-from", "primacy-forwarded"];
    let sender = names.iter().find_map(|name| headers.get(*name))?;
    sender.to_str().ok()?.parse().ok()
}

pub fn isolate(group: &Group, peer: u64, is_cut: bool) {
    let mut cut = CUT.lock().unwrap();
    for other in (1..=3).filter(|other| *other != peer) {
        let of = |id: u64| group.addresses[&id].clone();
        for way in [(peer, of(other)), (other, of(peer))] {
            match is_cut {
                true => cut.insert(way),
                false => cut.remove(&way),
            };
        }
    }
}

/// The 200s of one peer.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    last_asked: Option<Instant>,
    first_answered: Option<Instant>,
}

async fn look(calls: Calls, address: String, seen: watch::Sender<Seen>) {
    loop {
        let asked = Instant::now();
        let answer = calls.get(&address, "/api/leader-check", WITHIN).await;
        if answer.is_ok_and(|(status, _)| status == StatusCode::OK) {
            seen.send_modify(|seen| {
                seen.last_asked = Some(asked);
                seen.first_answered.get_or_insert_with(Instant::now);
            });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Looks at all peers while `disturb` takes the leadership from `old`; gives how long nobody answered 200.
async fn succeeds(group: &mut Group, old: u64, disturb: impl AsyncFnOnce(&mut Group)) -> Duration {
    let mut looks = JoinSet::new();
    let mut look_at = |id: u64| {
        let (seen, shown) = watch::channel(Seen::default());
        looks.spawn(look(
            group.calls.clone(),
            group.addresses[&id].clone(),
            seen,
        ));
        shown
    };
    let mut last = look_at(old);
    let others: Vec<_> = (1..=3).filter(|id| *id != old).map(look_at).collect();
    let answered = last.wait_for(|seen| seen.last_asked.is_some());
    drop(tokio::time::timeout(WITHIN, answered).await.unwrap());
    disturb(group).await;
    let begun = Instant::now();
    let first = loop {
        let answered = others
            .iter()
            .filter_map(|seen| seen.borrow().first_answered);
        if let Some(first) = answered.min() {
            break first;
        }
        assert!(begun.elapsed() < WITHIN, "no other peer answers 200");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    // Long enough for an answer that should not come.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let last = last.borrow().last_asked.unwrap();
    assert!(
        last < first,
        "peer {old} was asked {:?} after that",
        last - first
    );
    looks.shutdown().await;
    first - last
}

#[tokio::test(flavor = "multi_thread")]
async fn a20_one_leader_check_is_200_and_a_new_one_5_s_after_the_leader_died() {
    let mut group = Group::prepare();
    group.network = "lan";
    let mut group = group.started().await;
    let leader = group.leader().await;
    for id in 1..=3 {
        let (plain, chosen) = if id == leader { (200, 200) } else { (404, 503) };
        assert_eq!(group.get(id, "/api/leader-check").await.0, plain);
        assert_eq!(group.get(id, "/api/leader-check/503").await.0, chosen);
        assert_eq!(group.get(id, "/api/leader-check/200").await.0, plain);
        for (path, status) in [
            ("/api/leader-check?standbyok=true", 200),
            ("/api/leader-check/503?standbyok=true", 200),
            ("/api/leader-check?standbyok=other", plain),
        ] {
            assert_eq!(group.get(id, path).await.0, status, "{path} at {id}");
        }
    }
    let dark = succeeds(&mut group, leader, async |group| group.halt(leader).await).await;
    assert!(dark < Duration::from_secs(5), "{dark:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a21_a_leader_that_is_cut_off_is_not_200_when_the_majority_s_is() {
    let mut group = Group::start().await;
    for _ in 0..3 {
        let leader = group.leader().await;
        succeeds(&mut group, leader, async |group| {
            isolate(group, leader, true)
        })
        .await;
        // The same for reads by lease.
        let path = "/api/v1/clusters?consistency=lease";
        let (status, problem) = group.get(leader, path).await;
        assert_eq!((status, problem["code"].as_str()), (503, Some("no-lease")));
        isolate(&group, leader, false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_who_gave_it_and_how_old_it_is() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    for (path, by) in [
        ("/api/v1/leader", leader),
        ("/api/v1/leader?consistency=lease", leader),
        ("/api/v1/leader?consistency=stale", follower),
    ] {
        let response = group.call(follower, hyper::Method::GET, path, "").await;
        assert_eq!(response.status(), 200, "{path}");
        let number = |name: &str| -> u64 {
            let value = response.headers()[name].to_str().unwrap();
            value.parse().unwrap()
        };
        assert_eq!(number("primacy-answered-by"), by, "{path}");
        assert!(number("primacy-raft-term") > 0);
        number("primacy-raft-index");
        let staleness = number("primacy-staleness-ms");
        assert!(by == follower || staleness == 0, "{path}: {staleness}");
        let view: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(view["leader"], leader);
        assert!(view["since"].is_string(), "{view}");
        assert!(by == follower || view["lease_until"].is_string(), "{view}");
    }
    // Until when it leads, a follower says as well, by when it heard it.
    let deadline = Instant::now() + WITHIN;
    loop {
        let path = "/api/v1/leader?consistency=stale";
        let (_, view) = group.get(follower, path).await;
        assert_eq!(view["answered_by"], follower);
        if let Some(left) = view["lease_remaining_ms"].as_u64() {
            let whole = raft::Timing::wan().lease().as_millis();
            assert!(u128::from(left) <= whole, "{view}");
            assert!(view["lease_until"].is_string(), "{view}");
            break;
        }
        assert!(Instant::now() < deadline, "{view}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_take_part_yet_says_whom_it_waits_for() {
    let mut group = Group::prepare();
    group.run(1);
    group.run(2);
    let deadline = Instant::now() + WITHIN;
    let said = "peer 1 does not take part yet: waiting for peer 3 to answer";
    loop {
        // It may not listen yet.
        let answer = group
            .calls
            .get(&group.addresses[&1], "/api/v1/clusters", WITHIN)
            .await;
        if let Ok((status, body)) = answer {
            assert_eq!(status, 503);
            if String::from_utf8_lossy(&body).contains(said) {
                break;
            }
        }
        assert!(Instant::now() < deadline, "it does not say so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 503),
        ("/api/leader-check", 404),
        ("/api/raft-health", 500),
    ] {
        assert_eq!(group.get(1, path).await.0, status, "{path}");
    }
    let (_, peers) = group.get(2, "/api/v1/peers").await;
    assert_eq!(peers[0]["role"], "starting");
    assert!(peers[0]["warnings"][0].as_str().unwrap().contains(said));
    assert_eq!(peers[2]["reachable"], false);
    group.run(3);
    group.leader().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_a_follower_is_asked_for_happens_once() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let follower = leader % 3 + 1;
    let (_, before) = group.get(leader, "/api/v1/leader").await;
    let (status, told) = group
        .post(follower, "/api/v1/leader/transfer", &json!({}))
        .await;
    assert_eq!(status, 200, "{told}");
    let (_, after) = group.get(leader, "/api/v1/leader").await;
    assert_ne!(told["leader"], before["leader"]);
    assert_eq!(after["leader"], told["leader"]);
    assert_eq!(after["term"], before["term"].as_u64().unwrap() + 1);
}
