//! Three peers in this process, without any PostgreSQL: what their HTTP ports answer. Every answer is held
//! against `docs/openapi.json`.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod acceptance;
mod access;
mod checks;
mod connections;
mod crowd;
mod document;
mod leader_check;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use document::Document;
use http_body_util::Full;
use hyper::{Method, Request, Response};
use primacy::model::{AccessRole, PeerId};
use primacy::security::authority::{CertificateAuthority, prepare_folder};
use primacy::security::{Credentials, Files, Tls, ToolName, Who, Wire};
use primacy::server::calls::Calls;
use primacy::server::{self, Config};
use primacy::{clock, http};
use raft::GroupId;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const WITHIN: Duration = Duration::from_secs(20);

const GROUP: GroupId = GroupId::from_bytes([10; 16]);

struct Group {
    addresses: BTreeMap<u64, String>,
    folder: tempfile::TempDir,
    stop: BTreeMap<u64, oneshot::Sender<()>>,
    tasks: JoinSet<u64>,
    authority: CertificateAuthority,
    /// Of an admin.
    calls: Calls,
    document: Document,
    network: &'static str,
    /// Whether anybody may speak HTTP without TLS, as raw sockets do.
    is_plain: bool,
}

/// A peer whose folder goes away while it flushes ends the whole process: the peers end first.
impl Drop for Group {
    fn drop(&mut self) {
        self.stop.clear();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::task::block_in_place(|| Handle::current().block_on(ended));
    }
}

impl Group {
    async fn start() -> Group {
        Group::prepare().started().await
    }

    /// All of them run and have a leader.
    async fn started(mut self) -> Group {
        for id in 1..=3 {
            self.run(id);
        }
        self.leader().await;
        // Who has only just voted for it has not heard it yet.
        let deadline = tokio::time::Instant::now() + WITHIN;
        for id in 1..=3 {
            while self.get(id, "/api/raft-health").await.0 != 200 {
                assert!(tokio::time::Instant::now() < deadline, "{id} hears nobody");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        self
    }

    /// None of them runs yet.
    fn prepare() -> Group {
        let held: Vec<_> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses = held
            .iter()
            .zip(1..)
            .map(|(listener, id)| (id, listener.local_addr().unwrap().to_string()))
            .collect();
        drop(held);
        let authority = CertificateAuthority::generate(GROUP, clock::wall_millis()).unwrap();
        let calls = calls_of(&authority, tool(AccessRole::Admin));
        Group {
            authority,
            addresses,
            folder: tempfile::tempdir().unwrap(),
            stop: BTreeMap::new(),
            tasks: JoinSet::new(),
            calls,
            document: Document::read(),
            network: "lan",
            is_plain: false,
        }
    }

    /// The same in plain HTTP.
    fn prepare_plain() -> Group {
        let mut group = Group::prepare();
        group.calls = Calls::over(Wire::Plain);
        group.is_plain = true;
        group
    }

    fn run(&mut self, id: u64) {
        let folder: PathBuf = self.folder.path().join(id.to_string());
        let peers: Vec<_> = self
            .addresses
            .iter()
            .map(|(id, address)| format!("{id} = \"{address}\""))
            .collect();
        if !self.is_plain {
            self.equip(id, &folder.join("tls"));
        }
        let text = format!(
            "id = {id}\ngroup = \"{GROUP}\"\nzone = \"z{id}\"\nnetwork = \"{}\"\n{}\
             folder = \"{}\"\nlisten = \"{}\"\n[peers]\n{}\n",
            self.network,
            if self.is_plain {
                "plain_http = true\n"
            } else {
                ""
            },
            folder.display(),
            self.addresses[&id],
            peers.join("\n")
        );
        let config = Config::parse(&text).unwrap();
        let (stop, stopped) = oneshot::channel();
        self.stop.insert(id, stop);
        self.tasks.spawn(async move {
            let shutdown = async move {
                let _ = stopped.await;
            };
            server::run(config, leader_check::GATED, shutdown)
                .await
                .unwrap();
            id
        });
    }

    /// Gives a peer its certificate, unless it has one.
    fn equip(&self, id: u64, folder: &Path) {
        let files = Files::built_in(folder);
        if !files.certificate.exists() {
            prepare_folder(folder).unwrap();
            self.authority.keep(folder).unwrap();
            let peer = Who::Peer(PeerId(id));
            let issued = self.authority.issue(peer, &[], clock::wall_millis());
            let trusted = [self.authority.certificate().clone()];
            files.keep(&issued.unwrap(), &trusted).unwrap();
        }
    }

    async fn halt(&mut self, id: u64) {
        self.stop.remove(&id).unwrap().send(()).unwrap();
        assert_eq!(self.tasks.join_next().await.unwrap().unwrap(), id);
    }

    async fn call(&self, id: u64, method: Method, path: &str, body: &str) -> Response<Bytes> {
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let address = &self.addresses[&id];
        let response = self.calls.send(address, request, WITHIN).await.unwrap();
        self.document.check(&method, path, &response);
        response
    }

    async fn get(&self, id: u64, path: &str) -> (u16, Value) {
        let response = self.call(id, Method::GET, path, "").await;
        let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        (response.status().as_u16(), body)
    }

    async fn post(&self, id: u64, path: &str, body: &Value) -> (u16, Value) {
        let response = self.call(id, Method::POST, path, &body.to_string()).await;
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), body)
    }

    /// The leader that every running peer names.
    async fn leader(&self) -> u64 {
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let mut named = BTreeSet::new();
            for id in self.stop.keys() {
                // One that was just started may not listen yet.
                let address = &self.addresses[id];
                let answer = self.calls.get(address, "/api/v1/leader", WITHIN).await;
                named.insert(answer.ok().and_then(|(_, body)| {
                    let body: Value = serde_json::from_slice(&body).ok()?;
                    body["leader"].as_u64()
                }));
            }
            if let (1, Some(Some(leader))) = (named.len(), named.first()) {
                return *leader;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "no leader: {named:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn tool(role: AccessRole) -> Who {
    let name = ToolName::new("test").unwrap();
    Who::Tool { role, name }
}

/// A caller with a certificate of `authority` who takes the peers of [`GROUP`] for what they are.
fn tls_of(authority: &CertificateAuthority, who: Who) -> Tls {
    let now = clock::wall_millis();
    let issued = authority.issue(who, &[], now).unwrap();
    let trusted = [authority.certificate().clone()];
    Tls::new(Credentials::new(authority.group(), issued, &trusted, now).unwrap())
}

fn calls_of(authority: &CertificateAuthority, who: Who) -> Calls {
    Calls::over(Wire::Tls(tls_of(authority, who)))
}

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
