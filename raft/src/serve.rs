//! A small HTTP server that answers only the calls of peers.
//!
//! A program with a server of its own mounts [`Consensus::handle`] there instead.

use std::{convert::Infallible, future::Future, io};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{Consensus, StateMachine};

/// Answers calls on `listener` until `shutdown` resolves, then closes all connections.
///
/// # Errors
/// The error of `accept`, when the listener is of no more use. Dropping the future closes everything.
pub async fn serve<S: StateMachine>(
    listener: TcpListener,
    consensus: Consensus<S>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, consensus.clone()));
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

async fn connection<S: StateMachine>(stream: TcpStream, consensus: Consensus<S>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (stream, caller) = match consensus.transport().accept(stream).await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(peer = consensus.id(), %error, "refused a connection");
            return;
        }
    };
    let consensus = &consensus;
    let service = service_fn(|mut request: Request<Incoming>| {
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        async move { Ok::<_, Infallible>(consensus.handle(request).await) }
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
