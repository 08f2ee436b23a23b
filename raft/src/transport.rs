//! How the peers of a group reach each other: in plain TCP, or over whatever the caller brings.
//!
//! This crate knows nothing of certificates. A transport that checks who is at the other end says so, and then no
//! call is answered that does not come with a [`VerifiedPeer`]: forgetting to pass it on closes the door, not opens it.

use std::{fmt, future::Future, io, pin::Pin, time::Duration};

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// Limit for making a TCP connection: several round trips between distant zones, and less than the second after
/// which a lost first packet is repeated.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// A connection whose other end has acknowledged nothing for so long is given up, in milliseconds: after a cut the next
/// call makes a new one, rather than wait for the repetitions of the old.
const UNHEARD_MILLIS: u32 = 3_000;

/// A connection between two peers.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// A connection that is being taken in, and who called.
pub type Accepting<'a> =
    Pin<Box<dyn Future<Output = io::Result<(Box<dyn Stream>, Option<VerifiedPeer>)>> + Send + 'a>>;

/// The peer at the other end of a connection, as its transport has proven it. Whoever mounts
/// [`Consensus::handle`](crate::Consensus::handle) puts it among the extensions of each request of that connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedPeer(pub u64);

/// Makes and takes connections between peers.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Connects to peer `to` at `address`, a `host:port`. Without Nagle's delay, and within a deadline of its own.
    /// A transport that verifies gives no connection to anybody but that peer.
    fn connect(&self, to: u64, address: String) -> Connecting<'_>;

    /// Takes in a connection that [`serve`](crate::serve) accepted, within a deadline of its own.
    fn accept(&self, stream: TcpStream) -> Accepting<'_>;

    /// Whether it proves who is at the other end.
    fn verifies(&self) -> bool;
}

/// Plain TCP: anybody who reaches the port may speak for any peer. For networks that nobody else is on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Transport for Plain {
    fn connect(&self, _to: u64, address: String) -> Connecting<'_> {
        Box::pin(async move {
            let stream = tcp(&address).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn accept(&self, stream: TcpStream) -> Accepting<'_> {
        Box::pin(async move { Ok((Box::new(stream) as Box<dyn Stream>, None)) })
    }

    fn verifies(&self) -> bool {
        false
    }
}

/// A TCP connection to `address`, a `host:port`, without Nagle's delay.
///
/// # Errors
/// What the system says, or `TimedOut` after [`CONNECT_TIMEOUT`].
pub async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "connecting took too long"))??;
    stream.set_nodelay(true)?;
    set_tcp_user_timeout(&stream, UNHEARD_MILLIS)?;
    Ok(stream)
}
