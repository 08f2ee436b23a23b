//! The one connection that a caller keeps to its peer.
//!
//! HTTP/1.1 carries one call at a time, and a caller has one call at a time. A connection that fails in any way is
//! dropped, never reused. Making one goes on when the call that needed it has run out of time, so that a handshake
//! slower than a heartbeat is not begun anew with every heartbeat.

use std::{error::Error, io, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::transport::Transport;

type Sender = SendRequest<Full<Bytes>>;
/// Sends calls, and the task that moves their bytes; aborted when dropped.
type Opened = (Sender, JoinSet<()>);

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing was sent.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke, or the other end refuses us; the call may have taken effect.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// A connection to one peer, made when it is needed.
pub(crate) struct Connection {
    transport: Arc<dyn Transport>,
    peer: u64,
    /// `host:port`.
    address: String,
    opened: Option<Opened>,
    /// At most one task.
    opening: JoinSet<io::Result<Opened>>,
}

impl Connection {
    /// To `peer` at `address`; connects with the first call.
    pub(crate) fn new(transport: Arc<dyn Transport>, peer: u64, address: String) -> Self {
        Self {
            transport,
            peer,
            address,
            opened: None,
            opening: JoinSet::new(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends `request` and reads an answer of at most `limit` bytes. A future that is dropped takes the connection
    /// with it.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), CallError> {
        // Taken out: unless the answer is read to its end, the connection is of no more use.
        let kept = match self.opened.take() {
            Some((mut sender, driver)) => match sender.ready().await {
                Ok(()) => Some((sender, driver)),
                Err(_) => None,
            },
            None => None,
        };
        let (mut sender, driver) = match kept {
            Some(opened) => opened,
            None => self.open().await.map_err(CallError::Connect)?,
        };
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| CallError::Broken(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limit).collect().await;
        let body = body.map_err(CallError::Broken)?.to_bytes();
        self.opened = Some((sender, driver));
        Ok((status, body))
    }

    async fn open(&mut self) -> io::Result<Opened> {
        if self.opening.is_empty() {
            let (transport, peer) = (self.transport.clone(), self.peer);
            let address = self.address.clone();
            self.opening.spawn(async move {
                let stream = transport.connect(peer, address).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
                let mut driver = JoinSet::new();
                driver.spawn(async move {
                    // Its error is the error of the call under way, if there is one.
                    let _ = connection.await;
                });
                Ok((sender, driver))
            });
        }
        match self.opening.join_next().await {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => Err(io::Error::other(error)),
            None => unreachable!("a task was there or was spawned"),
        }
    }
}
