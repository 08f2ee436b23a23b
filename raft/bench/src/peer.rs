//! One peer as a process: a map of keys to values, written by `PUT /kv/KEY`.

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use raft::{Config, Consensus, GroupId, Newborn, PATH_PREFIX, RecordError, StateMachine, Timing};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};

/// What a peer is told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where it keeps its log
    #[arg(long)]
    folder: PathBuf,
    /// Which of the addresses is its own, from 1
    #[arg(long)]
    id: u64,
    /// Where all peers answer
    addresses: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Write {
    key: String,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Map(BTreeMap<String, Vec<u8>>);

impl StateMachine for Map {
    type Command = Write;
    type Reply = ();

    fn apply(&mut self, _index: u64, Write { key, value }: Write) {
        self.0.insert(key, value);
    }

    fn encode(&self) -> Vec<u8> {
        raft::seal(&self.0).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        raft::unseal(bytes, raft::MAX_SNAPSHOT_BYTES).map(Self)
    }
}

/// Serves until it is killed.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let members: BTreeMap<u64, String> = (1..).zip(arguments.addresses).collect();
    let listener = TcpListener::bind(&members[&arguments.id]).await?;
    let config = Config {
        id: arguments.id,
        group: GroupId::from_bytes(*b"a group to time."),
        folder: arguments.folder,
        members,
        timing: Timing::lan(),
        transport: Arc::new(raft::Plain),
        // As `primacy server` has it.
        snapshot_every: 2_000,
        keep_before_snapshot: 500,
    };
    let newborn = Newborn::open(config)?;
    let consensus = Consensus::start_on(&listener, newborn, Map::default()).await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let consensus = consensus.clone();
        let answer = service_fn(move |request| {
            let consensus = consensus.clone();
            async move { Ok::<_, Infallible>(answer(consensus, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), answer);
        connections.spawn(connection);
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(consensus: Consensus<Map>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path.starts_with(PATH_PREFIX) {
        return consensus.handle(request).await;
    }
    let Some(key) = path.strip_prefix("/kv/").map(str::to_owned) else {
        return say(StatusCode::NOT_FOUND, "there is only /kv/KEY".to_owned());
    };
    let value = match request.into_body().collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(error) => return say(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match consensus.propose(Write { key, value }).await {
        Ok(_) => say(StatusCode::OK, String::new()),
        Err(error) => say(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn say(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
