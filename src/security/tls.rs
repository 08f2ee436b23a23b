//! TLS connections of this process, and the transport of its Raft group.
//!
//! Credentials are looked up at each handshake, so that renewing a certificate or changing an authority interrupts
//! nothing: connections that stand go on, new ones use what is there. Sessions are never resumed, because a resumed
//! one is not judged anew: it would outlive the authority that it was accepted under.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use raft::{Accepting, Connecting, Stream, Transport, VerifiedPeer};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::certificate;
use super::credentials::Credentials;
use super::identity::{Identity, Who};
use super::verify::{Called, Callers, Expected, PROVIDER, Trust, Trusting, words};
use crate::model::PeerId;

/// A handshake is one round trip and some milliseconds of arithmetic. Enough for a lost packet, which is repeated
/// after a second, between distant zones.
const SHAKE_WITHIN: Duration = Duration::from_secs(3);
/// What we call ourselves in a handshake; nobody looks at it.
const NAME: &str = "primacy.internal";

/// The credentials of a process, replaceable while it runs. Clones share them.
#[derive(Clone)]
pub struct Tls {
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

struct Current(watch::Sender<Arc<Credentials>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(..)")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = self.credentials();
        let who = credentials.own().map(|own| &own.identity);
        f.debug_struct("Tls").field("who", &who).finish()
    }
}

impl Current {
    fn get(&self) -> Arc<Credentials> {
        self.0.borrow().clone()
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.get().own().map(|own| own.certified.clone())
    }
}

impl Trusting for Current {
    fn trust(&self) -> Arc<Trust> {
        self.get().trust().clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        self.get().own().is_some()
    }
}

impl Tls {
    /// Begins with these credentials.
    pub fn new(credentials: Credentials) -> Tls {
        let current = Arc::new(Current(watch::Sender::new(Arc::new(credentials))));
        let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider speaks TLS 1.3")
            .with_client_cert_verifier(Arc::new(Callers(current.clone())))
            .with_cert_resolver(current.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Tls {
            current,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// What is used now.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.current.get()
    }

    /// Uses these for every handshake from now on. Connections that stand go on.
    pub fn replace(&self, credentials: Credentials) {
        self.current.0.send_replace(Arc::new(credentials));
    }

    /// Shakes hands on `stream` as the one that called, and accepts nobody but `expected`.
    ///
    /// # Errors
    /// `InvalidData` with the reason if somebody else is there, `TimedOut`, or what the system says. In TLS 1.3 a
    /// refusal of *our* certificate comes with the first read.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        expected: Expected,
    ) -> io::Result<client::TlsStream<S>> {
        let verifier = Called {
            trusting: self.current.clone(),
            expected,
        };
        shake_as_caller(stream, Arc::new(verifier), Some(self.current.clone())).await
    }

    /// Shakes hands on `stream` as the one that was called. Says who called, if the caller showed a certificate; one
    /// that it showed and that is not ours ends the handshake.
    ///
    /// # Errors
    /// As [`Tls::connect`].
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(server::TlsStream<S>, Option<Identity>)> {
        let stream = in_time(self.acceptor.accept(stream)).await?;
        let (_, connection) = stream.get_ref();
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let caller = leaf.map(certificate::identity).transpose();
        let caller = caller.map_err(io::Error::other)?;
        Ok((stream, caller))
    }
}

/// Shakes hands as a caller. Without a `resolver` no certificate is shown.
pub(super) async fn shake_as_caller<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    verifier: Arc<dyn ServerCertVerifier>,
    resolver: Option<Arc<dyn ResolvesClientCert>>,
) -> io::Result<client::TlsStream<S>> {
    let config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match resolver {
        Some(resolver) => config.with_client_cert_resolver(resolver),
        None => config.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let name = ServerName::try_from(NAME).expect("a constant name");
    in_time(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Why one end does not speak to the other, if that is what `error` or a cause of it says. Nothing but the handshake was
/// heard then.
pub fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            match inner {
                // The last word of a handshake: the caller has sent its request behind it by then.
                Some(rustls::Error::AlertReceived(alert)) => {
                    return Some(format!("it refuses our certificate ({alert:?})"));
                }
                Some(error) => return Some(words(error)),
                None if error.kind() == io::ErrorKind::InvalidData => {
                    return Some(error.to_string());
                }
                None => {}
            }
        }
        next = cause.source();
    }
    None
}

async fn in_time<T>(shaking: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(SHAKE_WITHIN, shaking)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))?
        .map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            match inner.map(words) {
                Some(words) => io::Error::new(error.kind(), words),
                None => error,
            }
        })
}

/// Peers know each other by their certificates.
impl Transport for Tls {
    fn connect(&self, to: u64, address: String) -> Connecting<'_> {
        Box::pin(async move {
            let stream = raft::tcp(&address).await?;
            let expected = Expected::Exactly(Who::Peer(PeerId(to)));
            let stream = Tls::connect(self, stream, expected).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn accept(&self, stream: TcpStream) -> Accepting<'_> {
        Box::pin(async move {
            let (stream, caller) = Tls::accept(self, stream).await?;
            let peer = caller.and_then(|caller| match caller.who {
                Who::Peer(PeerId(id)) => Some(VerifiedPeer(id)),
                Who::Agent { .. } | Who::Tool { .. } => None,
            });
            Ok((Box::new(stream) as Box<dyn Stream>, peer))
        })
    }

    fn verifies(&self) -> bool {
        true
    }
}
