//! The one connection that a caller keeps to its peer.
//!
//! HTTP/1.1 carries one call at a time, and a caller has one call at a time. So the caller moves its bytes itself, while
//! it calls: a task for that would cost two more wakes of a thread for every call. A connection that fails in any way is
//! dropped, never reused. Making one goes on when the call that needed it has run out of time, so that a handshake
//! slower than a heartbeat is not begun anew with every heartbeat.

use std::{error::Error, future::Future, io, pin::Pin, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, Connection as Driver, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::transport::{Stream, Transport};

/// Moves the bytes of a connection while it is polled.
type Moving = Driver<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// What sends calls, and what moves their bytes.
struct Opened {
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<Moving>>,
}

impl Opened {
    /// Whether it can carry a call; one that the other end has closed meanwhile cannot.
    async fn is_ready(&mut self) -> bool {
        tokio::select! {
            biased;
            _ended = &mut self.driver => false,
            ready = self.sender.ready() => ready.is_ok(),
        }
    }

    /// The result of what `using` does with the connection, whose bytes are moved meanwhile.
    async fn drive<'a, T, F>(
        &'a mut self,
        using: impl FnOnce(&'a mut SendRequest<Full<Bytes>>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let Opened { sender, driver } = self;
        let mut used = std::pin::pin!(using(sender));
        tokio::select! {
            biased;
            used = &mut used => used,
            ended = driver => {
                // It may have brought the answer with its last bytes.
                let why = ended.err().map_or_else(|| "it was closed".into(), Into::into);
                match futures_util::FutureExt::now_or_never(used) {
                    Some(used) => used,
                    None => Err(CallError::Broken(why)),
                }
            }
        }
    }
}

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

    /// Connects, unless there is a connection already. A future that is dropped goes on connecting for the next one.
    pub(crate) async fn ready(&mut self) -> io::Result<()> {
        if self.opened.is_none() {
            self.opened = Some(self.open().await?);
        }
        Ok(())
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
            Some(mut opened) => opened.is_ready().await.then_some(opened),
            None => None,
        };
        let mut opened = match kept {
            Some(opened) => opened,
            None => self.open().await.map_err(CallError::Connect)?,
        };
        let answered = opened.drive(async |sender| {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), limit).collect().await;
            Ok((status, body.map_err(CallError::Broken)?.to_bytes()))
        });
        let answer = answered.await?;
        self.opened = Some(opened);
        Ok(answer)
    }

    async fn open(&mut self) -> io::Result<Opened> {
        if self.opening.is_empty() {
            let (transport, peer) = (self.transport.clone(), self.peer);
            let address = self.address.clone();
            self.opening.spawn(async move {
                let stream = transport.connect(peer, address).await?;
                let (sender, driver) = http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
                let driver = Box::pin(driver);
                Ok(Opened { sender, driver })
            });
        }
        match self.opening.join_next().await {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => Err(io::Error::other(error)),
            None => unreachable!("a task was there or was spawned"),
        }
    }
}

fn broken(error: hyper::Error) -> CallError {
    CallError::Broken(error.into())
}
