//! What writes: one of the clients of an HTTP/2 connection to a peer, or to etcd over gRPC.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use h2::client;
use hyper::Request;
use tokio::{task::JoinSet, time::timeout};

use crate::{grpc, keys::Keys};

/// Longer than an election takes, so that only a refusal and a broken group end a write.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A writer.
pub enum Put {
    /// To a peer.
    Peer(Http),
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

/// A connection to a peer; clones share it.
#[derive(Clone)]
pub struct Http {
    sender: client::SendRequest<Bytes>,
    address: String,
}

impl Http {
    /// Connects; `driven` drives the connection.
    pub async fn connect(
        keys: &Keys,
        address: &str,
        driven: &mut JoinSet<Result<(), h2::Error>>,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = client::handshake(keys.connect(address).await?).await?;
        driven.spawn(connection);
        Ok(Self {
            sender,
            address: address.to_owned(),
        })
    }

    /// Has a value written; says why if it is not.
    pub async fn put(&mut self, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        let key = str::from_utf8(key)?;
        let request = Request::put(format!("https://{}/kv/{key}", self.address)).body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(request, false)?;
        body.send_data(Bytes::copy_from_slice(value), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut words = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            words.extend_from_slice(&part);
        }
        if !head.status.is_success() {
            bail!("{}: {}", head.status, String::from_utf8_lossy(&words));
        }
        Ok(())
    }
}
