//! One peer as a process: a map of keys to values, written by `PUT /kv/KEY`.

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use raft::{Config, Consensus, Newborn, PATH_PREFIX, RecordError, StateMachine, Timing, Transport};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::keys;

/// What a peer is told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where it keeps its log
    #[arg(long)]
    folder: PathBuf,
    /// Where its certificate is
    #[arg(long)]
    keys: PathBuf,
    /// Which of the addresses is its own, from 1
    #[arg(long)]
    id: u64,
    /// Where all peers answer
    addresses: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Write {
    key: String,
    value: Bytes,
}

#[derive(Debug, Clone, Default)]
struct Map(BTreeMap<String, Bytes>);

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
    let tls = keys::tls(&arguments.keys)?;
    let transport: Arc<dyn Transport> = Arc::new(tls);
    let config = Config {
        id: arguments.id,
        group: keys::GROUP,
        beginning: 0,
        folder: arguments.folder,
        members,
        timing: Timing::lan(),
        transport: transport.clone(),
        // As `primacy server` has it.
        snapshot_every: 10_000,
        keep_before_snapshot: 2_500,
    };
    let newborn = Newborn::open(config)?;
    let consensus = Consensus::start_on(&listener, newborn, Map::default()).await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(serve(stream, transport.clone(), consensus.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one connection: HTTP/1.1 of a peer, HTTP/2 of clients.
async fn serve(stream: TcpStream, transport: Arc<dyn Transport>, consensus: Consensus<Map>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok((stream, caller)) = transport.accept(stream).await else {
        return;
    };
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let consensus = consensus.clone();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        async move { Ok::<_, Infallible>(answer(consensus, request).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    // Its end is the client's to notice.
    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
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
        Ok(body) => body.to_bytes(),
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
