//! Who is the primary is told to those who ask no peer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use data_encoding::BASE64;
use primacy::security::Wire;
use primacy::server::calls::Calls;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, is_installed};
use crate::stage::LONG;

const ROOT: &str = "pg/primary/demo";

/// A key of the store: base64 of its value, flags, and when it was changed.
#[derive(Clone)]
struct Kept {
    value: String,
    flags: u64,
    index: u64,
}

/// What a Consul and a receiver of webhooks keep.
#[derive(Default)]
struct Store {
    keys: BTreeMap<String, Kept>,
    index: u64,
    tokens: Vec<String>,
    events: Vec<Value>,
    is_broken: bool,
}

type Shared = Arc<Mutex<Store>>;

/// `GET /v1/kv/KEY[?recurse]`.
async fn read(State(store): State<Shared>, Path(key): Path<String>, uri: Uri) -> Response {
    let store = store.lock().unwrap();
    if store.is_broken {
        return (StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader").into_response();
    }
    let recurse = uri.query() == Some("recurse");
    let fits = |it: &str| it == key || (recurse && it.starts_with(&key));
    let found = store.keys.iter().filter(|(it, _)| fits(it));
    let found: Vec<Value> = found
        .map(|(key, it)| {
            json!({"LockIndex": 0, "Key": key, "Flags": it.flags, "Value": it.value,
                   "CreateIndex": 1, "ModifyIndex": it.index})
        })
        .collect();
    match found.is_empty() {
        true => StatusCode::NOT_FOUND.into_response(),
        false => axum::Json(found).into_response(),
    }
}

/// `PUT /v1/txn`: all or nothing.
async fn transact(
    State(store): State<Shared>,
    headers: axum::http::HeaderMap,
    axum::Json(operations): axum::Json<Vec<Value>>,
) -> Response {
    let mut store = store.lock().unwrap();
    if store.is_broken {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let token = headers.get("x-consul-token").unwrap();
    store.tokens.push(token.to_str().unwrap().to_owned());
    let mut keys = store.keys.clone();
    let index = store.index + 1;
    for operation in &operations {
        let operation = &operation["KV"];
        let key = operation["Key"].as_str().unwrap().to_owned();
        let now = keys.get(&key).map_or(0, |it| it.index);
        match operation["Verb"].as_str().unwrap() {
            "cas" if operation["Index"] != now => return StatusCode::CONFLICT.into_response(),
            "cas" | "set" => {
                let value = operation["Value"].as_str().unwrap().to_owned();
                let flags = operation["Flags"].as_u64().unwrap_or(0);
                let kept = Kept {
                    value,
                    flags,
                    index,
                };
                keys.insert(key, kept);
            }
            "delete" => drop(keys.remove(&key)),
            other => panic!("{other}"),
        }
    }
    store.keys = keys;
    store.index = index;
    axum::Json(json!({"Results": [], "Errors": null})).into_response()
}

async fn hear(
    State(store): State<Shared>,
    headers: axum::http::HeaderMap,
    body: String,
) -> StatusCode {
    let kind = headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/cloudevents+json"), "{kind}");
    let mut store = store.lock().unwrap();
    store.events.push(serde_json::from_str(&body).unwrap());
    StatusCode::NO_CONTENT
}

fn text(store: &Shared, part: &str) -> Option<String> {
    let store = store.lock().unwrap();
    let kept = store.keys.get(&format!("{ROOT}{part}"))?;
    String::from_utf8(BASE64.decode(kept.value.as_bytes()).unwrap()).ok()
}

async fn until(what: &str, wanted: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !wanted().await {
        assert!(Instant::now() < deadline, "not {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a30_every_peer_consul_and_webhooks_are_told_of_the_new_primary() {
    if !is_installed() {
        return;
    }
    let store = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/v1/kv/{*key}", get(read))
        .route("/v1/txn", put(transact))
        .route("/hook/s3cret", post(hear))
        .with_state(store.clone());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "t0ken\n").unwrap();
    let publish = format!(
        "[publish]\nconsul = \"http://{at}\"\nconsul_token_file = \"{}\"\nwebhooks = [\"http://{at}/hook/s3cret\"]\n",
        token.display()
    );
    store.lock().unwrap().is_broken = true;
    let mut rig = Rig::start_with(false, &publish).await;
    // It is broken until the first warning and no longer: each attempt waits twice as long as the one before.
    let warned = async {
        let is_warned = |it: &Value| it.to_string().contains("consul at");
        let peers = rig.group.until("warned of", "/api/v1/peers", is_warned);
        let peers = peers.await.to_string();
        store.lock().unwrap().is_broken = false;
        peers
    };
    let (_, peers) = tokio::join!(rig.adopt_in_quorum(), warned);
    assert!(peers.contains("No cluster leader"), "{peers}");
    assert!(!peers.contains("t0ken"), "{peers}");
    let old = rig.servers[0].address.to_string();
    until("written", async || text(&store, "") == Some(old.clone())).await;
    let no_warning = |it: &Value| !it.to_string().contains("consul at");
    rig.group
        .until("no warning", "/api/v1/peers", no_warning)
        .await;
    let calls = Calls::over(Wire::Plain);
    let told_by = async |id: u64, part: &str| {
        let path = format!("/v1/kv/{ROOT}{part}?raw");
        let told = calls.get(&rig.group.addresses[&id], &path, LONG).await;
        let (status, body) = told.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (status == StatusCode::OK).then_some(body)
    };
    for id in 1..=3 {
        assert_eq!(told_by(id, "").await, Some(old.clone()));
    }
    let epoch: u64 = text(&store, "/epoch").unwrap().parse().unwrap();

    rig.kill_postmaster(0);
    let cluster = rig
        .until("replaced", |it| {
            let name = it["primary"].as_str().unwrap_or_default();
            it["phase"] == "serving" && name.starts_with('s')
        })
        .await;
    let promoted = Instant::now();
    let new = cluster["primary_address"].as_str().unwrap().to_owned();
    let everywhere = async || {
        let mut told = text(&store, "") == Some(new.clone());
        for id in 1..=3 {
            told &= told_by(id, "").await == Some(new.clone());
            let of: Option<String> = told_by(id, "/epoch").await;
            told &= of.is_some_and(|it| it.parse::<u64>().unwrap() > epoch);
        }
        let events = store.lock().unwrap().events.clone();
        told && events
            .iter()
            .any(|it| it["data"]["primary"] == cluster["primary"])
    };
    until("told everywhere", everywhere).await;
    eprintln!("told everywhere after {:?}", promoted.elapsed());
    assert_eq!(text(&store, "/instance").unwrap(), cluster["primary"]);
    assert_eq!(
        text(&store, "/port").unwrap(),
        new.rsplit(':').next().unwrap()
    );

    // Whoever leads next finds all of it told, and tells a webhook the same event again under the same id.
    let leader = rig.group.get("/api/v1/leader").await["leader"]
        .as_u64()
        .unwrap();
    let heard = |events: &[Value]| {
        events
            .iter()
            .filter(|it| it["data"]["primary"] == cluster["primary"])
            .count()
    };
    let before = heard(&store.lock().unwrap().events);
    let written = store.lock().unwrap().index;
    rig.group.halt(leader);
    until("told again", async || {
        heard(&store.lock().unwrap().events) > before
    })
    .await;
    let store = store.lock().unwrap();
    let of_new = store.events.iter();
    let ids = of_new.filter(|it| it["data"]["epoch"] == cluster["epoch"]);
    let mut ids: Vec<&Value> = ids.map(|it| &it["id"]).collect();
    assert!(ids.len() > 1);
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(store.index, written, "nothing is written that is there");
    assert!(store.tokens.iter().all(|it| it == "t0ken"));
}
