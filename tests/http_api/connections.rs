//! What is said over single connections: sessions of agents, renewals, callers that say nothing, and a peer that
//! starts.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{Empty, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use primacy::clock;
use primacy::control::{
    AgentMessage, PeerMessage, Run, SESSION_PATH, SESSION_PROTOCOL, decode, encode,
};
use primacy::model::{AccessRole, ClusterName, InstanceId};
use primacy::security::{Credentials, Expected, Tls, Who, newcomer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::access::{anonymous, asks};
use super::group::{GROUP, Group, WITHIN, calls_of, tls_of, tool};

fn agent(instance: &str) -> Who {
    Who::Agent {
        cluster: ClusterName::new("demo").unwrap(),
        instance: InstanceId::new(instance).unwrap(),
    }
}

/// What the peer says first to an agent with the certificate of `who` that says that it is `instance`; none if it hangs
/// up.
async fn greeted(address: &str, tls: &Tls, instance: &str) -> Option<PeerMessage> {
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = tls.connect(stream, Expected::AnyPeer).await.unwrap();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move { connection.with_upgrades().await });
    let request = Request::get(SESSION_PATH)
        .header("host", address)
        .header("connection", "upgrade")
        .header("upgrade", SESSION_PROTOCOL)
        .body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(answer).await.unwrap();
    let mut framed = Framed::new(TokioIo::new(upgraded), LengthDelimitedCodec::new());
    let hello = AgentMessage::Hello {
        cluster: ClusterName::new("demo").unwrap(),
        instance: InstanceId::new(instance).unwrap(),
        group: None,
        run: Run::draw(),
    };
    let hello = Bytes::from(encode(&hello).unwrap());
    framed.send(hello).await.unwrap();
    let said = timeout(WITHIN, framed.next()).await.unwrap()?;
    Some(decode(&said.ok()?).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_a_session_of_its_own_instance_alone() {
    let group = Group::start().await;
    let address = &group.addresses[&1];
    let tls = tls_of(&group.authority, agent("a"));
    let welcome = greeted(address, &tls, "a").await;
    assert!(
        matches!(welcome, Some(PeerMessage::Welcome { .. })),
        "{welcome:?}"
    );
    let other = greeted(address, &tls, "b").await;
    assert!(other.is_none(), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_given_its_next_certificate() {
    let group = Group::start().await;
    let tls = tls_of(&group.authority, agent("a"));
    for address in group.addresses.values() {
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = tls.connect(stream, Expected::AnyPeer).await.unwrap();
        let (issued, authorities) = newcomer::renew(stream, address).await.unwrap();
        let next = Credentials::new(GROUP, issued, &authorities, clock::wall_millis()).unwrap();
        assert_eq!(next.own().unwrap().identity.who, agent("a"));
    }
    // Nobody else's.
    let tool = tls_of(&group.authority, tool(AccessRole::Admin));
    let address = &group.addresses[&1];
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = tool.connect(stream, Expected::AnyPeer).await.unwrap();
    let refused = newcomer::renew(stream, address).await.unwrap_err();
    assert!(
        refused.to_string().contains("peers and agents"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_to_shake_hands_delays_nobody() {
    let group = Group::start().await;
    let address = &group.addresses[&1];
    let mut silent = vec![];
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Each of them has three seconds: the answer is there before the first is thrown out.
    let calls = calls_of(&group.authority, tool(AccessRole::Viewer));
    let mut nothing = [0];
    tokio::select! {
        biased;
        answer = calls.get(address, "/livez", WITHIN) => assert_eq!(answer.unwrap().0, 200),
        _ = silent[0].read(&mut nothing) => panic!("it waits for the first to be thrown out"),
    }
    assert!(group.leader().await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_peers_pass_requests_on() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    // A follower never passes on what was passed on; a tool cannot make it believe that.
    let request = Request::builder()
        .method(Method::GET)
        .uri("/api/v1/clusters")
        .header("primacy-forwarded", "2");
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let answer = group
        .calls
        .send(&group.addresses[&follower], request, WITHIN)
        .await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_take_part_yet_is_as_closed() {
    let mut group = Group::prepare();
    group.run(1);
    let nobody = anonymous(&group.authority);
    let address = group.addresses[&1].clone();
    let ask = async |path: &str| asks(&nobody, &address, (&Method::GET, path), (None, "")).await;
    let until = Instant::now() + WITHIN;
    while ask("/livez").await.is_err() {
        assert!(Instant::now() < until, "peer 1 does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ask("/livez").await.unwrap().0, 200);
    assert_eq!(ask("/readyz").await.unwrap().0, 503);
    for path in [
        "/api/v1/peers",
        "/api/v1/leader",
        "/internal/v1/peer",
        "/nothing",
    ] {
        let told = ask(path).await.unwrap();
        assert_eq!(told, (401, "unauthenticated".to_owned()), "{path}");
    }
}
