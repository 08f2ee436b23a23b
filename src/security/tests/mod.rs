//! Installations with their authorities, and both ends of a connection in one process.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use raft::GroupId;
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::authority::{AUTHORITY_LIFE, Issued, LIFE, prepare_folder};
use super::certificate::validity;
use super::enrolment::{self, Enrol, Enrolled, MESSAGE_LIMIT, NewKey, Wish};
use super::verify::PROVIDER;
use super::*;
use crate::clock::wall_millis;
use crate::model::{AccessRole, ClusterName, InstanceId, PeerId};

mod keeping;
mod meeting;
mod newcomers;

const OURS: GroupId = GroupId::from_bytes([1; 16]);
const THEIRS: GroupId = GroupId::from_bytes([2; 16]);

fn authority(group: GroupId) -> CertificateAuthority {
    CertificateAuthority::generate(group, wall_millis()).unwrap()
}

fn peer(id: u64) -> Who {
    Who::Peer(PeerId(id))
}

fn agent() -> Who {
    Who::Agent {
        cluster: ClusterName::new("demo").unwrap(),
        instance: InstanceId::new("a").unwrap(),
    }
}

fn tool() -> Who {
    Who::Tool {
        role: AccessRole::Admin,
        name: ToolName::new("backup").unwrap(),
    }
}

fn credentials(
    signer: &CertificateAuthority,
    who: Who,
    trusted: &[&CertificateAuthority],
) -> Credentials {
    let issued = signer.issue(who, &[], wall_millis()).unwrap();
    let trusted: Vec<_> = trusted.iter().map(|a| a.certificate().clone()).collect();
    Credentials::new(signer.group(), issued, &trusted, wall_millis()).unwrap()
}

fn tls(authority: &CertificateAuthority, who: Who) -> Tls {
    Tls::new(credentials(authority, who, &[authority]))
}

type Ends = (
    tokio_rustls::server::TlsStream<DuplexStream>,
    tokio_rustls::client::TlsStream<DuplexStream>,
);

/// What both ends say of each other: the server who called; the caller whether it may talk.
async fn meet(
    server: &Tls,
    caller: &Tls,
    expected: Expected,
) -> (io::Result<Option<Identity>>, io::Result<Ends>) {
    let (near, far) = duplex(64 * 1024);
    let accepting = async {
        let (mut stream, identity) = server.accept(near).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        io::Result::Ok((stream, identity))
    };
    let calling = async {
        let mut stream = caller.connect(far, expected).await?;
        stream.read_u8().await?;
        io::Result::Ok(stream)
    };
    match tokio::join!(accepting, calling) {
        (Ok((near, identity)), Ok(far)) => (Ok(identity), Ok((near, far))),
        (accepted, Err(error)) => (accepted.map(|(_, identity)| identity), Err(error)),
        (Err(error), Ok(_)) => (Err(error), Err(io::Error::other("the server refused"))),
    }
}

async fn is_welcome(server: &Tls, caller: &Tls, expected: Expected) -> Option<Identity> {
    let (identity, ends) = meet(server, caller, expected).await;
    ends.unwrap();
    identity.unwrap()
}

/// Why the caller does not take the server.
async fn refusal(server: &Tls, caller: &Tls, expected: Expected) -> String {
    let (_, ends) = meet(server, caller, expected).await;
    ends.expect_err("it is refused").to_string()
}

/// Takes whoever answers: what an attacker's program does.
#[derive(Debug)]
struct TakesAnybody;

impl ServerCertVerifier for TakesAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A caller with what `signer` gave it. It keeps sessions, to resume them.
fn attacker(issued: Issued) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAnybody))
        .with_client_auth_cert(issued.chain, issued.key)
        .unwrap();
    TlsConnector::from(Arc::new(config))
}

/// Whether the server lets the attacker in, and how they shook hands.
async fn attack(
    server: &Tls,
    attacker: &TlsConnector,
) -> (io::Result<Option<Identity>>, Option<HandshakeKind>) {
    let (near, far) = duplex(64 * 1024);
    let accepting = async {
        let (mut stream, identity) = server.accept(near).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        Ok(identity)
    };
    let calling = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = attacker.connect(name, far).await.ok()?;
        // Tickets, if there are any, come with the first bytes.
        stream.read_u8().await.ok()?;
        stream.get_ref().1.handshake_kind()
    };
    tokio::join!(accepting, calling)
}
