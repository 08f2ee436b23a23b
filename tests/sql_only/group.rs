//! Three peers in this process, in plain HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use primacy::dev::ports;
use primacy::http;
use primacy::security::Wire;
use primacy::server::calls::Calls;
use primacy::server::{self, Config};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::stage::LONG;

pub struct Group {
    pub addresses: BTreeMap<u64, String>,
    stop: BTreeMap<u64, oneshot::Sender<()>>,
    tasks: JoinSet<u64>,
    calls: Calls,
    _folder: tempfile::TempDir,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop.clear();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::task::block_in_place(|| Handle::current().block_on(ended));
    }
}

impl Group {
    /// `access` of a peer is its table `[postgresql]`.
    pub async fn start(access: impl Fn(u64) -> String) -> Group {
        Group::start_as('a', access).await
    }

    /// The same, of the group whose number ends with this digit.
    pub async fn start_as(digit: char, access: impl Fn(u64) -> String) -> Group {
        let address = |_| format!("127.0.0.1:{}", ports::reserve(0).unwrap());
        let addresses: BTreeMap<u64, String> = (1..).zip((0..3).map(address)).collect();
        let mut group = Group {
            addresses,
            stop: BTreeMap::new(),
            tasks: JoinSet::new(),
            calls: Calls::over(Wire::Plain),
            _folder: tempfile::tempdir().unwrap(),
        };
        let peers: Vec<_> = group
            .addresses
            .iter()
            .map(|(id, at)| format!("{id} = \"{at}\""))
            .collect();
        for (id, address) in group.addresses.clone() {
            let folder = group._folder.path().join(id.to_string());
            let text = format!(
                "id = {id}\ngroup = \"00000000-0000-0000-0000-00000000000{digit}\"\nzone = \"z{id}\"\nplain_http = true\n\
                 folder = \"{}\"\nlisten = \"{address}\"\n{}\n[peers]\n{}\n",
                folder.display(),
                access(id),
                peers.join("\n")
            );
            group.run(id, &text);
        }
        group.until_at_the_highest_level(3).await;
        group
    }

    /// One peer whose configuration names no group: that of an orchestrator.
    pub async fn alone(secret: &str) -> Group {
        let address = format!("127.0.0.1:{}", ports::reserve(0).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "zone = \"z1\"\nplain_http = true\nfolder = \"{}\"\nlisten = \"{address}\"\nProviderType = \"postgresql\"\n\
             PostgreSQLTopologyUser = \"watcher\"\nPostgreSQLTopologyPassword = \"{}\"\nPostgreSQLSSLMode = \"disable\"\n",
            folder.path().join("1").display(),
            secret.replace('\\', "\\\\")
        );
        let mut group = Group {
            addresses: BTreeMap::from([(1, address)]),
            stop: BTreeMap::new(),
            tasks: JoinSet::new(),
            calls: Calls::over(Wire::Plain),
            _folder: folder,
        };
        group.run(1, &text);
        group.until_at_the_highest_level(1).await;
        group
    }

    fn run(&mut self, id: u64, text: &str) {
        let config = Config::parse(text).unwrap();
        let (stop, stopped) = oneshot::channel();
        self.stop.insert(id, stop);
        self.tasks.spawn_blocking(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let shutdown = async move {
                    let _ = stopped.await;
                };
                server::run(config, http::PORT, shutdown).await.unwrap();
            });
            id
        });
    }

    async fn until_at_the_highest_level(&self, peers: usize) {
        let is_there = |it: &Value| it["feature_level"] == it["feature_level_spoken"];
        self.until("at the highest level", "/api/v1/peers", |all| {
            let all = all.as_array();
            all.is_some_and(|all| all.len() == peers && all.iter().all(is_there))
        })
        .await;
    }

    /// Stops a peer for good.
    pub fn halt(&mut self, id: u64) {
        self.stop.remove(&id);
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Option<(u16, Value)> {
        for id in self.stop.keys() {
            let request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(
                    "idempotency-key",
                    format!("{method} {path} {body} {:?}", Instant::now()),
                )
                .body(Full::new(Bytes::from(body.to_owned())))
                .unwrap();
            let told = self.calls.send(&self.addresses[id], request, LONG).await;
            if let Ok(response) = told {
                let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
                return Some((response.status().as_u16(), body));
            }
        }
        None
    }

    pub async fn get(&self, path: &str) -> Value {
        let told = self.ask(Method::GET, path, "").await;
        told.map_or(Value::Null, |(_, body)| body)
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, path, &body.to_string())
            .await
            .unwrap()
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.ask(Method::DELETE, path, "").await.unwrap()
    }

    /// What is at `path` as soon as it is as wanted.
    pub async fn until(&self, what: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LONG;
        loop {
            let found = self.get(path).await;
            if wanted(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "not {what}: {found:#}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
