//! TLS with database servers: libpq's SSL modes, with their real differences.
//!
//! Not of our own installation: a database has a certificate of its user's, or one that it made itself. So TLS 1.2 is
//! spoken too, which servers of PostgreSQL 12 on old systems need, and what is accepted is what libpq accepts
//! (PostgreSQL's manual, "SSL Support"), with two limits of rustls: no certificates of X.509 version 1, and none that is
//! signed with SHA-1 where it is verified.

mod verifier;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate;
use super::error::{SecurityError, invalid};
use super::verify::{PROVIDER, words};
use verifier::Verifier;

/// libpq's `sslmode`, without those that fall back to plain text by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Plain text.
    Disable,
    /// Encrypted; whoever answers is believed, unless authorities are named: then as `VerifyCa`.
    Require,
    /// Signed by an authority that is named, whatever its name.
    VerifyCa,
    /// And of the host that was called.
    VerifyFull,
}

/// It is no SSL mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be disable, require, verify-ca or verify-full")]
pub struct UnknownSslMode;

impl FromStr for SslMode {
    type Err = UnknownSslMode;

    fn from_str(text: &str) -> Result<SslMode, UnknownSslMode> {
        match text {
            "disable" => Ok(SslMode::Disable),
            "require" => Ok(SslMode::Require),
            "verify-ca" => Ok(SslMode::VerifyCa),
            "verify-full" => Ok(SslMode::VerifyFull),
            _ => Err(UnknownSslMode),
        }
    }
}

/// Files in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseFiles {
    /// `sslrootcert`: authorities, or the server's own certificate.
    pub authorities: Option<PathBuf>,
    /// `sslcert` and `sslkey`: what we show, if the server asks.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How database servers are spoken to. Clones share it.
#[derive(Clone)]
pub struct DatabaseTls {
    mode: SslMode,
    config: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for DatabaseTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseTls")
            .field("mode", &self.mode)
            .finish()
    }
}

impl DatabaseTls {
    /// Plain text.
    pub fn disabled() -> DatabaseTls {
        DatabaseTls {
            mode: SslMode::Disable,
            config: None,
        }
    }

    /// This mode, with what is in these files now. Blocks.
    ///
    /// # Errors
    /// A file that cannot be used, or none for authorities although they are to be verified.
    pub fn read(mode: SslMode, files: &DatabaseFiles) -> Result<DatabaseTls, SecurityError> {
        let authorities = match &files.authorities {
            Some(path) => certificates(path)?,
            None => vec![],
        };
        let mode = match mode {
            SslMode::Disable => return Ok(DatabaseTls::disabled()),
            SslMode::Require if !authorities.is_empty() => SslMode::VerifyCa,
            SslMode::VerifyCa | SslMode::VerifyFull if authorities.is_empty() => {
                return Err(SecurityError::Certificate(
                    "of an authority to verify the server with is missing; name its file"
                        .to_owned(),
                ));
            }
            mode => mode,
        };
        let mut roots = RootCertStore::empty();
        // A server's own certificate need not be fit to sign others; it is compared as a whole too.
        roots.add_parsable_certificates(authorities.iter().cloned());
        let verifier = Verifier {
            mode,
            roots,
            authorities,
        };
        let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider speaks both")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &files.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let text = read(key)?;
                let own = PrivateKeyDer::from_pem_slice(&text)
                    .map_err(|error| invalid(key, format!("holds no readable key: {error}")))?;
                builder
                    .with_client_auth_cert(chain, own)
                    .map_err(|error| invalid(certificate, words(&error)))?
            }
        };
        config.resumption = Resumption::disabled();
        Ok(DatabaseTls {
            mode,
            config: Some(Arc::new(config)),
        })
    }

    /// Whether it is plain text.
    pub fn is_disabled(&self) -> bool {
        self.config.is_none()
    }

    /// Whether who answers is verified, if only by an authority that is named.
    pub fn is_verified(&self) -> bool {
        matches!(self.mode, SslMode::VerifyCa | SslMode::VerifyFull)
    }

    /// Shakes hands with the server of this host on a connection where it has said that it will.
    ///
    /// # Errors
    /// The certificate is not accepted, in words; or what the system says. A server that does not accept *our*
    /// certificate may say so with the first read only. In plain mode `Unsupported`.
    pub async fn shake(&self, stream: TcpStream, host: &str) -> io::Result<DatabaseStream> {
        let config = self.config.clone().ok_or(io::ErrorKind::Unsupported)?;
        let name = ServerName::try_from(host.to_owned());
        let (config, name) = match (name, self.mode) {
            (Ok(name), _) => (config, name),
            (Err(_), SslMode::VerifyFull) => {
                return Err(io::Error::other(format!(
                    "'{host}' is no name that a certificate could be of"
                )));
            }
            (Err(_), _) => {
                let mut nameless = ClientConfig::clone(&config);
                nameless.enable_sni = false;
                let name = ServerName::try_from("server.invalid").expect("a constant name");
                (Arc::new(nameless), name)
            }
        };
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        shaken.map(DatabaseStream).map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            match inner.map(words) {
                Some(words) => io::Error::new(error.kind(), words),
                None => error,
            }
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SecurityError> {
    std::fs::read(path).map_err(|source| SecurityError::Read {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let found = certificate::from_pem(&read(path)?);
    let found = found.map_err(|error| invalid(path, error.to_string()))?;
    match found.is_empty() {
        true => Err(invalid(path, "holds no certificate")),
        false => Ok(found),
    }
}

/// A connection to a database server over TLS.
#[derive(Debug)]
pub struct DatabaseStream(TlsStream<TcpStream>);

impl DatabaseStream {
    /// RFC 5929's `tls-server-end-point`, to which SCRAM binds a password; none if the server's certificate is signed
    /// without a hash of its own.
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        let (_, connection) = self.0.get_ref();
        let leaf = connection.peer_certificates()?.first()?;
        certificate::end_point(leaf)
    }
}

impl AsyncRead for DatabaseStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for DatabaseStream {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_verifies_must_say_against_what() {
        let files = DatabaseFiles::default();
        for (mode, works) in [
            ("disable", true),
            ("require", true),
            ("verify-ca", false),
            ("verify-full", false),
        ] {
            let mode = mode.parse().unwrap();
            assert_eq!(DatabaseTls::read(mode, &files).is_ok(), works, "{mode:?}");
        }
        assert_eq!("prefer".parse::<SslMode>(), Err(UnknownSslMode));
    }
}
