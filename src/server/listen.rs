//! The one port of a peer: which connections are taken in, and how they end.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{expect_no_panic, leaving};

/// A request line and its headers must arrive within this time.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of a request line with its headers.
const HEADERS_LIMIT: usize = 32 * 1024;
/// The most connections that are served at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// Answers the peer's one port, until `leaving` and what was asked before is answered.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    leaving: CancellationToken,
) -> String {
    let connections = accept(&listener, &routes, leaving).await;
    let anew = |stream, closing| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(connection(stream, routes.clone(), closing))
    };
    leaving::drain(listener, connections, anew).await;
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
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(ended) = connections.join_next() => {
                expect_no_panic(ended);
            }
        }
    }
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
