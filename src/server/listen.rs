//! The one port of a peer: which connections are taken in, and how they end.

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
use crate::model::PeerId;
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
/// How long what was asked before the end may still be answered.
const DRAIN: Duration = Duration::from_secs(1);

/// What is spoken on the port, and what it answers.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) wire: Wire,
    pub(super) routes: Router,
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
                    let (wire, leaving) = (port.wire.clone(), leaving.clone());
                    connections.spawn(seats.seated(&port.routes, |routes| {
                        connection(stream, Port { wire, routes }, leaving)
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
                        let (wire, closing) = (port.wire.clone(), closing.clone());
                        new.spawn(seats.seated(&port.routes, |routes| {
                            connection(stream, Port { wire, routes }, closing)
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
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // Here and not where connections are accepted: whoever is slow with it keeps nobody else waiting.
    let answered = tokio::select! {
        answered = port.wire.answer(stream) => answered,
        () = closing.cancelled() => return,
    };
    let (stream, caller) = match answered {
        Ok(answered) => answered,
        Err(error) => {
            tracing::debug!(%error, "a connection was refused");
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
