//! One connection that writes: to a peer over HTTP/1.1, or to etcd over gRPC.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::grpc;

/// Longer than an election takes, so that only a refusal and a broken group end a write.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A writer.
pub enum Put {
    /// To a peer.
    Peer(Box<Http>),
    /// To a member of etcd.
    Etcd(grpc::Channel),
}

impl Put {
    /// Has a value written; returns when a majority has it.
    pub async fn put(&mut self, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        let put = async {
            match self {
                Self::Peer(http) => http.put(key, value).await,
                Self::Etcd(channel) => channel.put(key, value).await,
            }
        };
        timeout(ANSWER_WITHIN, put).await.context("no answer")?
    }
}

/// A connection to a peer.
pub struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Drives the connection.
    _connection: JoinSet<hyper::Result<()>>,
}

impl Http {
    /// Connects.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        Ok(Self {
            sender,
            _connection: driven,
        })
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        self.sender.ready().await?;
        let request = Request::put(format!("/kv/{}", str::from_utf8(key)?))
            .header("host", "peer")
            .body(Full::new(Bytes::copy_from_slice(value)))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}
