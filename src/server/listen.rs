//! The one port of a peer: which connections are taken in, and how they end.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use raft::VerifiedPeer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::expect_no_panic;
use super::limits::{self, Seats};
use crate::clock;
use crate::model::{PeerId, Timestamp};
use crate::security::{Caller, Who, Wire};

/// A request line and its headers must arrive within this time.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of a request line with its headers.
const HEADERS_LIMIT: usize = 32 * 1024;
/// The most connections at once; further ones wait in the kernel's queue. More than [`limits`] gives places to, for those
/// that are about to end.
const CONNECTIONS: usize = 4096;
/// Before the next connection, if one was not to be had: too many open files do not go away at once.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Between two refused connections that are told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long what was asked before the end may still be answered.
const DRAIN: Duration = Duration::from_secs(1);

/// What is spoken on the port, and what it answers.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) wire: Wire,
    pub(super) routes: Router,
    pub(super) refusals: Refusals,
}

/// When a refused connection was told last: a stranger must not fill the log. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<Option<Timestamp>>>);

impl Refusals {
    /// Whether this one is to be told.
    fn is_one_to_tell(&self) -> bool {
        let now = clock::monotonic();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = told.is_none_or(|told| now.since(told) >= TELL_EVERY);
        if is_silent {
            *told = Some(now);
        }
        is_silent
    }
}

/// Answers the peer's one port, until `leaving` and what was asked before is answered.
pub(super) async fn serve(listener: TcpListener, port: Port, leaving: CancellationToken) -> String {
    let connections = accept(&listener, &port, leaving).await;
    drain(listener, connections, &port).await;
    "it was stopped".to_owned()
}

/// Takes in connections until `leaving`; gives those that are open then.
pub(super) async fn accept(
    listener: &TcpListener,
    port: &Port,
    leaving: CancellationToken,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let seats = Seats::new();
    loop {
        tokio::select! {
            // Whoever comes from then on is not taken in, to be turned away.
            biased;
            () = leaving.cancelled() => return connections,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    limits::bound(&stream);
                    let (port, leaving) = (port.clone(), leaving.clone());
                    connections.spawn(seats.seated(&port.routes.clone(), |routes| {
                        connection(stream, Port { routes, ..port }, leaving)
                    }));
                }
                Err(error) => {
                    // Too many open files, or a connection that came to nothing: the listener lives.
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(AGAIN_AFTER).await;
                }
            },
            Some(ended) = connections.join_next() => {
                expect_no_panic(ended);
            }
        }
    }
}

/// Ends connections in order: the `old` ones are answered while the port still takes in the calls of the other peers,
/// without which a proposal of before is never known to be committed; then those that came meanwhile.
async fn drain(listener: TcpListener, old: JoinSet<()>, port: &Port) {
    let (mut old, mut new) = (old, JoinSet::new());
    let closing = CancellationToken::new();
    let seats = Seats::new();
    let answered = async {
        while !old.is_empty() {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (port, closing) = (port.clone(), closing.clone());
                        new.spawn(seats.seated(&port.routes.clone(), |routes| {
                            connection(stream, Port { routes, ..port }, closing)
                        }));
                    }
                    Err(_) => sleep(AGAIN_AFTER).await,
                },
                Some(ended) = old.join_next() => {
                    expect_no_panic(ended);
                }
            }
        }
    };
    // What is not answered by then is cut off: its caller asks another peer.
    let _ = timeout(DRAIN, answered).await;
    drop(listener);
    closing.cancel();
    let ended = async {
        while let Some(ended) = new.join_next().await {
            expect_no_panic(ended);
        }
    };
    let _ = timeout(DRAIN, ended).await;
}

/// Serves one connection; once `closing`, what was asked on it is still answered.
async fn connection(stream: TcpStream, port: Port, closing: CancellationToken) {
    let (Ok(()), Ok(from)) = (stream.set_nodelay(true), stream.peer_addr()) else {
        return;
    };
    // Here and not where connections are accepted: whoever is slow with it keeps nobody else waiting. Also once it is closing:
    // the other end sends its request behind its last word of the handshake, and would not know what became of it.
    let answered = port.wire.answer(stream).await;
    let (stream, caller) = match answered {
        Ok(answered) => answered,
        // Somebody whose certificate we do not accept, or who does not accept ours, may be an agent that is cut off.
        Err(error) if error.kind() == ErrorKind::InvalidData && port.refusals.is_one_to_tell() => {
            tracing::warn!(%error, from = %from, "a connection was refused; others like it are not told for some seconds");
            return;
        }
        Err(error) => {
            tracing::debug!(%error, from = %from, "a connection was refused");
            return;
        }
    };
    let routes = TowerToHyperService::new(port.routes);
    let named = service_fn(move |mut request: Request<Incoming>| {
        if let Some(Who::Peer(PeerId(id))) = caller.who() {
            request.extensions_mut().insert(VerifiedPeer(*id));
        }
        request.extensions_mut().insert::<Caller>(caller.clone());
        routes.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), named)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = closing.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
