//! Makes the connections of a client: TCP, then whatever this process speaks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use raft::Stream;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::security::{Expected, Wire};

/// A lost first packet is repeated after a second.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Connector(pub(super) Wire);

/// A connection that a client keeps.
pub(super) struct Opened(TokioIo<Box<dyn Stream>>);

impl Service<Uri> for Connector {
    type Response = Opened;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Opened>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let wire = self.0.clone();
        Box::pin(async move {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            let late = || io::Error::new(io::ErrorKind::TimedOut, "connecting took too long");
            let connected = timeout(CONNECT_WITHIN, TcpStream::connect(authority)).await;
            let stream = connected.map_err(|_| late())??;
            stream.set_nodelay(true)?;
            // Any peer answers for the group.
            let stream = wire.call(stream, Expected::AnyPeer).await?;
            Ok(Opened(TokioIo::new(stream)))
        })
    }
}

impl Connection for Opened {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Opened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
