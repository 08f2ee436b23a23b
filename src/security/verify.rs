//! The one place that decides whether a certificate is accepted.
//!
//! Two questions, both of which must be answered with yes: did an authority that we trust sign it, for this use and
//! for now; and does it speak for somebody of this installation, in the role that is expected. Names of hosts play no
//! part: a peer may move, and whoever can answer at an address is not thereby a peer.

use std::fmt;
use std::sync::{Arc, LazyLock};

use raft::GroupId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::certificate::{Fingerprint, identity};
use super::error::SecurityError;
use super::identity::{Identity, Who};

/// The cryptography of this program: ring's.
pub(super) static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// Whom a connection is meant to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// This one and nobody else.
    Exactly(Who),
    /// Any peer of the installation.
    AnyPeer,
}

impl Expected {
    fn is_met_by(&self, who: &Who) -> bool {
        match self {
            Expected::Exactly(expected) => expected == who,
            Expected::AnyPeer => matches!(who, Who::Peer(_)),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Exactly(who) => fmt::Display::fmt(who, f),
            Expected::AnyPeer => f.write_str("a peer"),
        }
    }
}

/// A certificate that a trusted authority signed and that is refused nevertheless.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It does not say who its holder is.
    #[error("{0}")]
    Nobody(String),
    /// It is of another installation.
    #[error("this is {found}, and we are installation {ours}")]
    Installation {
        /// Whose it is.
        found: Identity,
        /// Ours.
        ours: GroupId,
    },
    /// It is of somebody else.
    #[error("this is {found}, not {expected}")]
    SomebodyElse {
        /// Whose it is.
        found: Who,
        /// Who was expected.
        expected: String,
    },
    /// No certificate of the chain is the authority that the token names.
    #[error(
        "nothing is signed by the authority that the token names; the address or the token is of another installation"
    )]
    Authority,
}

impl From<Stranger> for Error {
    fn from(stranger: Stranger) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(stranger))))
    }
}

/// Why a certificate or a connection is refused, in words: the library shows the reasons of others as code.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(stranger))) => {
            stranger.to_string()
        }
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "no authority that we trust signed the certificate".to_owned(),
        other => other.to_string(),
    }
}

/// Whom we trust.
#[derive(Debug)]
pub struct Trust {
    group: GroupId,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// These authorities, for installation `group`. Several while one takes the place of another.
    ///
    /// # Errors
    /// There is none, or one that cannot be read.
    pub fn new(
        group: GroupId,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Trust, SecurityError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| {
                SecurityError::Certificate(format!("of an authority cannot be used: {error}"))
            })?;
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), PROVIDER.clone())
            .build()
            .map_err(|_| {
                SecurityError::Certificate("of an authority to trust is missing".to_owned())
            })?;
        Ok(Trust {
            group,
            roots,
            clients,
        })
    }

    /// Judges the certificate of a caller.
    pub fn caller(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, Error> {
        self.clients.verify_client_cert(leaf, others, now)?;
        self.ours(leaf)
    }

    /// Judges the certificate of whom we called.
    pub fn called(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        expected: &Expected,
    ) -> Result<Identity, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = PROVIDER.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, algorithms)?;
        let found = self.ours(leaf)?;
        if !expected.is_met_by(&found.who) {
            let (found, expected) = (found.who, expected.to_string());
            return Err(Stranger::SomebodyElse { found, expected }.into());
        }
        Ok(found)
    }

    fn ours(&self, leaf: &CertificateDer<'_>) -> Result<Identity, Error> {
        let found = identity(leaf).map_err(|error| Stranger::Nobody(error.to_string()))?;
        if found.group != self.group {
            let ours = self.group;
            return Err(Stranger::Installation { found, ours }.into());
        }
        Ok(found)
    }
}

/// Where a verifier finds whom to trust at the moment of a handshake.
pub(super) trait Trusting: fmt::Debug + Send + Sync {
    fn trust(&self) -> Arc<Trust>;
}

/// Judges callers. One without a certificate is let in: what it may call is for the routes to say.
#[derive(Debug)]
pub(super) struct Callers(pub(super) Arc<dyn Trusting>);

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Callers have one certificate and need no hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.trust().caller(leaf, others, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// Judges whom we called.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) trusting: Arc<dyn Trusting>,
    pub(super) expected: Expected,
}

impl ServerCertVerifier for Called {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = self.trusting.trust();
        trust.called(leaf, others, now, &self.expected)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// Judges a peer of which nothing is known but the fingerprint of its authority, from a join token.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) group: GroupId,
    pub(super) authority: Fingerprint,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = others
            .iter()
            .find(|other| Fingerprint::of(other) == self.authority)
            .ok_or(Stranger::Authority)?;
        let trust = Trust::new(self.group, &[authority.clone().into_owned()])
            .map_err(|_| Stranger::Authority)?;
        trust.called(leaf, others, now, &Expected::AnyPeer)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

fn signed(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &PROVIDER.signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, algorithms)
}

fn schemes() -> Vec<SignatureScheme> {
    PROVIDER
        .signature_verification_algorithms
        .supported_schemes()
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is spoken".to_owned())
}
