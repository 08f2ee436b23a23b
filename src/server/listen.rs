//! The one port of a peer: which connections are taken in, and how they end.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::expect_no_panic;

/// A request line and its headers must arrive within this time.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of a request line with its headers.
const HEADERS_LIMIT: usize = 32 * 1024;
/// The most connections that are served at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// Before the next connection, if one was not to be had: too many open files do not go away at once.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long what was asked before the end may still be answered.
const DRAIN: Duration = Duration::from_secs(1);

/// Answers the peer's one port, until `leaving` and what was asked before is answered.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    leaving: CancellationToken,
) -> String {
    let connections = accept(&listener, &routes, leaving).await;
    drain(listener, connections, &routes).await;
    "it was stopped".to_owned()
}

/// Takes in connections until `leaving`; gives those that are open then.
pub(super) async fn accept(
    listener: &TcpListener,
    routes: &Router,
    leaving: CancellationToken,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = leaving.cancelled() => return connections,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, routes.clone(), leaving.clone()));
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
async fn drain(listener: TcpListener, old: JoinSet<()>, routes: &Router) {
    let (mut old, mut new) = (old, JoinSet::new());
    let closing = CancellationToken::new();
    let answered = async {
        while !old.is_empty() {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        new.spawn(connection(stream, routes.clone(), closing.clone()));
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
async fn connection(stream: TcpStream, routes: Router, closing: CancellationToken) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
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
