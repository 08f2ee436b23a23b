//! How a newcomer gets its first certificate.
//!
//! It has a join token and nothing else. It connects to a peer that the token names, accepts it only if the token's
//! authority signed its certificate as one of a peer, and only then says the secret, with a signing request for a key
//! that it has just made and that never leaves it. The peer has the secret redeemed, once, and answers with a
//! certificate and with whom to trust. A renewal is the same request over a connection that shows the old certificate,
//! without a secret.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use raft::GroupId;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::{CertificateAuthority, Issued};
use super::credentials::Files;
use super::error::SecurityError;
use super::identity::{ToolName, Who};
use super::secret::Secret;
use super::tls::shake_as_caller;
use super::token::{JoinKind, JoinToken};
use super::verify::Pinned;
use crate::model::{ClusterName, InstanceId};

/// Most bytes of a sealed [`Enrol`] or [`Enrolled`].
pub const MESSAGE_LIMIT: usize = 32 * 1024;

/// What a newcomer asks for. Sent as a record ([`raft::seal`]), so that it carries its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// Of the token.
    pub secret: Secret,
    /// What it wants to be.
    pub wish: Wish,
    /// PKCS #10 in DER, of its new key.
    pub request: Vec<u8>,
}

/// What a newcomer wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// A peer, under a number that the group gives it.
    Peer,
    /// The agent of this instance.
    Agent {
        /// The cluster of the instance.
        cluster: ClusterName,
        /// The instance.
        instance: InstanceId,
    },
    /// A program of the user, under this name.
    Tool(ToolName),
}

impl Wish {
    /// What a token must invite to.
    pub fn kind(&self) -> JoinKind {
        match self {
            Wish::Peer => JoinKind::Peer,
            Wish::Agent { .. } => JoinKind::Agent,
            Wish::Tool(_) => JoinKind::Tool,
        }
    }
}

/// What a newcomer gets. Sent as a record ([`raft::seal`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Its certificate, then that of the authority; DER.
    pub chain: Vec<Vec<u8>>,
    /// Every authority to trust; DER.
    pub authorities: Vec<Vec<u8>>,
    /// For a peer: the authority with its key, because every peer takes in newcomers.
    pub authority: Option<AuthorityText>,
}

/// [`CertificateAuthority::reveal`]. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityText(pub String);

impl fmt::Debug for AuthorityText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorityText(..)")
    }
}

/// A key that was just made, and the request to have it certified. `Debug` does not show the key.
#[derive(Debug)]
pub struct NewKey {
    key: PrivateKeyDer<'static>,
    request: Vec<u8>,
}

impl NewKey {
    /// Makes one. Errors: [`SecurityError::Issue`].
    pub fn draw() -> Result<NewKey, SecurityError> {
        let issue = |error: rcgen::Error| SecurityError::Issue(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issue)?;
        // Who the key speaks for is for the authority to say.
        let request = CertificateParams::default();
        let request = request.serialize_request(&key).map_err(issue)?;
        Ok(NewKey {
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            request: request.der().to_vec(),
        })
    }

    /// PKCS #10 in DER.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The key with its certificate, and whom to trust.
    pub fn certified(self, enrolled: &Enrolled) -> (Issued, Vec<CertificateDer<'static>>) {
        let der = |bytes: &Vec<u8>| CertificateDer::from(bytes.clone());
        let issued = Issued {
            chain: enrolled.chain.iter().map(der).collect(),
            key: self.key,
        };
        (issued, enrolled.authorities.iter().map(der).collect())
    }
}

/// What a peer signs with, and whom newcomers are to trust.
#[derive(Debug)]
pub struct Issuer {
    /// The built-in authority.
    pub authority: CertificateAuthority,
    /// Every authority that is trusted.
    pub trusted: Vec<CertificateDer<'static>>,
}

impl Issuer {
    /// Opens the authority in `folder`; `files` say whom the peer trusts.
    ///
    /// # Errors
    /// [`SecurityError::Read`] if there is none; [`SecurityError::File`].
    pub fn open(folder: &Path, files: &Files) -> Result<Issuer, SecurityError> {
        let authority = CertificateAuthority::open(folder)?;
        let trusted = files.trusted()?;
        Ok(Issuer { authority, trusted })
    }

    /// As [`enrol`].
    ///
    /// # Errors
    /// As [`enrol`].
    pub fn enrol(
        &self,
        request: &[u8],
        who: Who,
        hosts: &[String],
        now: u64,
    ) -> Result<Enrolled, SecurityError> {
        enrol(&self.authority, &self.trusted, request, who, hosts, now)
    }
}

/// What a peer answers a newcomer whose secret was redeemed and who is `who` from now on, reached under `hosts`.
/// `trusted` are all authorities that the installation trusts. `now` is in milliseconds since 1970.
///
/// # Errors
/// [`SecurityError::Issue`]: the request is refused.
pub fn enrol(
    authority: &CertificateAuthority,
    trusted: &[CertificateDer<'_>],
    request: &[u8],
    who: Who,
    hosts: &[String],
    now: u64,
) -> Result<Enrolled, SecurityError> {
    let is_peer = matches!(who, Who::Peer(_));
    let chain = authority.issue_for(request, who, hosts, now)?;
    let der = |certificate: &CertificateDer<'_>| certificate.to_vec();
    Ok(Enrolled {
        chain: chain.iter().map(der).collect(),
        authorities: trusted.iter().map(der).collect(),
        authority: is_peer.then(|| AuthorityText(authority.reveal())),
    })
}

/// Connects to a peer as a newcomer: to `address`, one of those of the token.
///
/// # Errors
/// As [`super::Tls::connect`]. Nothing of the secret has been said then.
pub async fn connect(token: &JoinToken, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let verifier = Pinned {
        group: token.group,
        authority: token.authority,
    };
    let stream = raft::tcp(address).await?;
    shake_as_caller(stream, Arc::new(verifier), None).await
}

/// A token that invites one newcomer, with a fresh secret.
///
/// # Errors
/// [`SecurityError::Random`].
pub fn invite(
    authority: &CertificateAuthority,
    addresses: Vec<String>,
    kind: JoinKind,
) -> Result<JoinToken, SecurityError> {
    let group: GroupId = authority.group();
    Ok(JoinToken {
        addresses,
        authority: authority.fingerprint(),
        group,
        kind,
        secret: Secret::draw().map_err(SecurityError::Random)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_keeps_its_bytes() {
        let secret = Secret::from_bytes([0x5E; 32]);
        let enrol = |wish| Enrol {
            secret: secret.clone(),
            wish,
            request: vec![1, 2, 3],
        };
        let agent = Wish::Agent {
            cluster: ClusterName::new("demo").unwrap(),
            instance: InstanceId::new("a").unwrap(),
        };
        let tool = Wish::Tool(ToolName::new("backup").unwrap());
        let enrolled = Enrolled {
            chain: vec![vec![4], vec![5, 6]],
            authorities: vec![vec![7]],
            authority: Some(AuthorityText("pem".to_owned())),
        };
        let hex = |bytes: Result<Vec<u8>, raft::RecordError>| -> String {
            let bytes = bytes.unwrap();
            assert!(bytes.len() < MESSAGE_LIMIT);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let written = [
            ("peer", hex(raft::seal(&enrol(Wish::Peer)))),
            ("agent", hex(raft::seal(&enrol(agent)))),
            ("tool", hex(raft::seal(&enrol(tool)))),
            ("enrolled", hex(raft::seal(&enrolled))),
        ]
        .map(|(name, hex)| format!("{name} {hex}\n"))
        .concat();
        assert_eq!(
            written,
            include_str!("enrolment.txt"),
            "written now:\n{written}"
        );
    }
}
