//! A small HTTP server that answers only the calls of peers.
//!
//! A program with a server of its own mounts [`Consensus::handle`](crate::Consensus::handle) there instead.

use std::{convert::Infallible, future::Future, io};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Answers calls on `listener` by `handle` until `shutdown` resolves, then closes all connections.
///
/// # Errors
/// The error of `accept`, when the listener is of no more use. Dropping the future closes everything.
pub async fn serve<H, F>(
    listener: &TcpListener,
    handle: H,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    connections.spawn(connection(stream, handle.clone()));
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => return Err(error),
            },
            Some(ended) = connections.join_next() => ended.expect("answering a call does not panic"),
        }
    }
}

/// The error is about a connection that came to nothing, not about the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn connection<H, F>(stream: TcpStream, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(move |request| {
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
