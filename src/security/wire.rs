//! How this process speaks with others: over TLS, or in plain TCP on the loopback of a developer's machine.

use std::io;
use std::sync::Arc;

use raft::{Stream, Transport};
use tokio::net::TcpStream;

use super::identity::{Identity, Who};
use super::tls::Tls;
use super::verify::Expected;

/// How this process speaks. Clones share what they show and trust.
#[derive(Debug, Clone)]
pub enum Wire {
    /// Anybody who reaches the port may say that he is anybody.
    Plain,
    /// Both ends are known, or known to be unknown.
    Tls(Tls),
}

/// Who is at the other end of a connection that was taken in. Every request carries it among its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody was asked: [`Wire::Plain`].
    Unchecked,
    /// Over TLS, without a certificate: what it may is for a token to say.
    Anonymous,
    /// Whom its certificate speaks for.
    Known(Identity),
}

impl Caller {
    /// Whom its certificate speaks for, if it showed one.
    pub fn who(&self) -> Option<&Who> {
        match self {
            Caller::Known(identity) => Some(&identity.who),
            Caller::Unchecked | Caller::Anonymous => None,
        }
    }
}

impl Wire {
    /// Speaks over a connection that was made, to nobody but `expected`.
    ///
    /// # Errors
    /// As [`Tls::connect`]; none in plain TCP.
    pub async fn call(&self, stream: TcpStream, expected: Expected) -> io::Result<Box<dyn Stream>> {
        match self {
            Wire::Plain => Ok(Box::new(stream)),
            Wire::Tls(tls) => Ok(Box::new(tls.connect(stream, expected).await?)),
        }
    }

    /// Speaks over a connection that was accepted.
    ///
    /// # Errors
    /// As [`Tls::accept`]; none in plain TCP.
    pub async fn answer(&self, stream: TcpStream) -> io::Result<(Box<dyn Stream>, Caller)> {
        match self {
            Wire::Plain => Ok((Box::new(stream), Caller::Unchecked)),
            Wire::Tls(tls) => {
                let (stream, caller) = tls.accept(stream).await?;
                let caller = caller.map_or(Caller::Anonymous, Caller::Known);
                Ok((Box::new(stream), caller))
            }
        }
    }

    /// The same for the peers of a Raft group.
    pub fn transport(&self) -> Arc<dyn Transport> {
        match self {
            Wire::Plain => Arc::new(raft::Plain),
            Wire::Tls(tls) => Arc::new(tls.clone()),
        }
    }
}
