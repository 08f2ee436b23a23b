//! A small HTTP server that answers only the calls of peers.
//!
//! A program with a server of its own mounts [`Newborn::handle`] and then [`Consensus::handle`] there instead.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{Consensus, Newborn, StartError, StateMachine, transport::Transport};

impl<S: StateMachine> Consensus<S> {
    /// [Starts](Self::start) the peer that `newborn` is, and answers on `listener` for it until it has started.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(
        listener: &TcpListener,
        newborn: Newborn,
        initial: S,
    ) -> Result<Self, StartError> {
        let transport = newborn.config().transport.clone();
        let asked = newborn.clone();
        let answer = move |request| {
            let newborn = asked.clone();
            async move { newborn.handle(request).await }
        };
        tokio::select! {
            started = Self::start(newborn, initial) => started,
            () = serve(listener, transport, answer, std::future::pending()) => {
                unreachable!("it serves until it is dropped")
            }
        }
    }

    /// Answers for this peer on `listener` until `shutdown` resolves, as [`serve`] does.
    pub async fn serve_on(&self, listener: &TcpListener, shutdown: impl Future<Output = ()>) {
        let consensus = self.clone();
        let answer = move |request| {
            let consensus = consensus.clone();
            async move { consensus.handle(request).await }
        };
        serve(listener, self.transport().clone(), answer, shutdown).await;
    }
}

/// Before the next connection, if one was not to be had: too many open files do not go away at once.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Answers calls on `listener`, over `transport`, by `handle` until `shutdown` resolves, then closes all connections;
/// dropping the future closes them too.
pub async fn serve<H, F>(
    listener: &TcpListener,
    transport: Arc<dyn Transport>,
    handle: H,
    shutdown: impl Future<Output = ()>,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, transport.clone(), handle.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(AGAIN_AFTER).await;
                }
            },
            Some(ended) = connections.join_next() => ended.expect("answering a call does not panic"),
        }
    }
}

async fn connection<H, F>(stream: TcpStream, transport: Arc<dyn Transport>, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (stream, caller) = match transport.accept(stream).await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(%error, "refused a connection");
            return;
        }
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let response = handle(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of a peer ended");
    }
}
