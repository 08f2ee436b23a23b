//! The one port of an agent: health checks of anybody in plain HTTP, and questions of other agents over mutual TLS. Which of
//! the two a connection is, its first byte says.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use raft::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::backing::{self, Backer};
use super::health::{self, Health, Names};
use crate::control::backing::BACK_PATH;
use crate::security::{Caller, Wire};

/// How TLS begins.
const HANDSHAKE: u8 = 0x16;
/// The first byte, and a request line with its headers, must arrive within this time.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of a request line with its headers.
const HEADERS_LIMIT: usize = 16 * 1024;
/// The longest question.
const BODY_LIMIT: usize = 4 * 1024;
/// The most connections at once; further ones wait in the kernel's queue. Some load balancers, each with a few, and agents.
const CONNECTIONS: usize = 256;
/// Of these, of whom it is not known that they are agents; further ones are closed, so that the rest stays for agents.
const PLAIN: usize = 224;
/// Before the next connection, if one was not to be had.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Answers on this listener until dropped.
pub async fn serve(
    listener: TcpListener,
    wire: Wire,
    (health, names): (watch::Receiver<Health>, Names),
    backer: Backer,
) {
    let questions = Router::new()
        .route(BACK_PATH, post(backing::answer))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(backer);
    let routes = questions.merge(health::routes(health, names));
    let mut connections = JoinSet::new();
    let plain = Arc::new(Semaphore::new(PLAIN));
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, wire.clone(), routes.clone(), plain.clone()));
                }
                Err(error) => {
                    // Too many open files, or a connection that came to nothing: the listener lives.
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(AGAIN_AFTER).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, wire: Wire, routes: Router, plain: Arc<Semaphore>) {
    let Ok(place) = plain.try_acquire() else {
        return;
    };
    let Ok((stream, caller)) = taken_in(stream, &wire).await else {
        return;
    };
    let _place = match caller {
        Caller::Known(_) => {
            drop(place);
            None
        }
        Caller::Anonymous | Caller::Unchecked => Some(place),
    };
    let routes = TowerToHyperService::new(routes);
    let named = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert::<Caller>(caller.clone());
        routes.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), named);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Who calls. In plain HTTP nobody is known, unless everything is plain.
async fn taken_in(stream: TcpStream, wire: &Wire) -> std::io::Result<(Box<dyn Stream>, Caller)> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    let seen = timeout(HEADERS_WITHIN, stream.peek(&mut first)).await;
    let is_tls = seen.map_err(std::io::Error::other)?? == 1 && first[0] == HANDSHAKE;
    match wire {
        Wire::Tls(_) if !is_tls => Ok((Box::new(stream), Caller::Anonymous)),
        Wire::Tls(_) | Wire::Plain => wire.answer(stream).await,
    }
}
