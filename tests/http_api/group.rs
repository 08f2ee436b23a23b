//! Three peers of one group in this process, and a caller who holds every answer against the document.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response};
use primacy::clock;
use primacy::dev::ports;
use primacy::model::{AccessRole, PeerId};
use primacy::security::authority::{CertificateAuthority, prepare_folder};
use primacy::security::{Credentials, Files, Tls, ToolName, Who, Wire};
use primacy::server::calls::Calls;
use primacy::server::{self, Config};
use raft::GroupId;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::document::Document;
use crate::leader_check;

pub const WITHIN: Duration = Duration::from_secs(60);

pub const GROUP: GroupId = GroupId::from_bytes([10; 16]);

pub struct Group {
    pub addresses: BTreeMap<u64, String>,
    pub folder: tempfile::TempDir,
    pub stop: BTreeMap<u64, oneshot::Sender<()>>,
    pub tasks: JoinSet<u64>,
    pub authority: CertificateAuthority,
    /// Of an admin.
    pub wire: Wire,
    pub calls: Calls,
    pub document: Document,
    /// `wan`, where a busy machine changes no leader, but for who looks at how fast it is in `lan`.
    pub network: &'static str,
    /// Whether anybody may speak HTTP without TLS, as raw sockets do.
    pub is_plain: bool,
    /// Whether every peer has one thread of its own, as in the product, instead of sharing those of the test.
    pub has_threads: bool,
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
    pub async fn start() -> Group {
        Group::prepare().started().await
    }

    /// All of them run and have a leader.
    pub async fn started(mut self) -> Group {
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
    pub fn prepare() -> Group {
        let address = || format!("127.0.0.1:{}", ports::reserve(0).unwrap());
        let addresses = (1..=3).map(|id| (id, address())).collect();
        let authority = CertificateAuthority::generate(GROUP, clock::wall_millis()).unwrap();
        let wire = Wire::Tls(tls_of(&authority, tool(AccessRole::Admin)));
        Group {
            calls: Calls::over(wire.clone()),
            wire,
            authority,
            addresses,
            folder: tempfile::tempdir().unwrap(),
            stop: BTreeMap::new(),
            tasks: JoinSet::new(),
            document: Document::read(),
            network: "wan",
            is_plain: false,
            has_threads: false,
        }
    }

    /// The same in plain HTTP.
    pub fn prepare_plain() -> Group {
        let mut group = Group::prepare();
        group.wire = Wire::Plain;
        group.calls = Calls::over(Wire::Plain);
        group.is_plain = true;
        group
    }

    pub fn run(&mut self, id: u64) {
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
        let peer = async move {
            let shutdown = async move {
                let _ = stopped.await;
            };
            server::run(config, leader_check::GATED, shutdown)
                .await
                .unwrap();
            id
        };
        match self.has_threads {
            false => self.tasks.spawn(peer),
            true => self.tasks.spawn_blocking(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.enable_all().build().unwrap().block_on(peer)
            }),
        };
    }

    /// Gives a peer its certificate, unless it has one.
    pub fn equip(&self, id: u64, folder: &Path) {
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

    pub async fn halt(&mut self, id: u64) {
        self.stop.remove(&id).unwrap().send(()).unwrap();
        assert_eq!(self.tasks.join_next().await.unwrap().unwrap(), id);
    }

    pub async fn call(&self, id: u64, method: Method, path: &str, body: &str) -> Response<Bytes> {
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

    pub async fn get(&self, id: u64, path: &str) -> (u16, Value) {
        let response = self.call(id, Method::GET, path, "").await;
        let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        (response.status().as_u16(), body)
    }

    pub async fn post(&self, id: u64, path: &str, body: &Value) -> (u16, Value) {
        let response = self.call(id, Method::POST, path, &body.to_string()).await;
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), body)
    }

    pub async fn delete(&self, id: u64, path: &str) -> (u16, Value) {
        let response = self.call(id, Method::DELETE, path, "").await;
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), body)
    }

    /// The leader that every running peer names.
    pub async fn leader(&self) -> u64 {
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

pub fn tool(role: AccessRole) -> Who {
    let name = ToolName::new("test").unwrap();
    Who::Tool { role, name }
}

/// A caller with a certificate of `authority` who takes the peers of [`GROUP`] for what they are.
pub fn tls_of(authority: &CertificateAuthority, who: Who) -> Tls {
    let now = clock::wall_millis();
    let issued = authority.issue(who, &[], now).unwrap();
    let trusted = [authority.certificate().clone()];
    Tls::new(Credentials::new(authority.group(), issued, &trusted, now).unwrap())
}

pub fn calls_of(authority: &CertificateAuthority, who: Who) -> Calls {
    Calls::over(Wire::Tls(tls_of(authority, who)))
}
