//! The built-in certificate authority.
//!
//! Each peer keeps it, so that any of them takes in newcomers and renews: one `authority.pem` with the key and its
//! certificate, whole or absent after a power cut, readable by its owner alone. Whoever holds it can be anybody in
//! this installation and nobody outside. Certificates live for thirty days, because there is no list of those that
//! were revoked. That is a limit for tools alone: an agent's is renewed for whoever has its key, and a peer has the authority.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft::GroupId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};

use super::certificate::{self, Fingerprint, Name, from_pem, pem, to_pem};
use super::error::{SecurityError, invalid};
use super::identity::{Identity, Who};
use super::secret::random;
use crate::host::durable;

/// How long a certificate of a peer, an agent or a tool counts.
pub const LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long the authority itself counts.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(3_650 * 24 * 3_600);
/// Certificates count from this long before they were made: the clock of whoever reads one may be behind.
pub(super) const BACKDATED: Duration = Duration::from_secs(24 * 3_600);
/// Its file in its folder.
const FILE: &str = "authority.pem";

/// Signs for one installation.
#[derive(Debug)]
pub struct CertificateAuthority {
    group: GroupId,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    life: Duration,
}

/// A key with its certificate, made together. `Debug` does not show the key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, then that of its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS #8.
    pub key: PrivateKeyDer<'static>,
}

impl CertificateAuthority {
    /// Makes the authority of the installation `group` and writes it into `folder`, which must exist. `now` is in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecurityError::File`] if there is one already, which is left as it is; else what the system or the library
    /// says.
    pub fn create(folder: &Path, group: GroupId, now: u64) -> Result<Self, SecurityError> {
        let authority = Self::generate(group, now)?;
        let path = folder.join(FILE);
        let content = authority.reveal();
        match durable::create(&path, content.as_bytes()).map_err(SecurityError::Write)? {
            true => Ok(authority),
            false => Err(invalid(
                &path,
                "there is an authority already; move it away if no certificate of it is needed any more",
            )),
        }
    }

    /// Makes an authority without writing it anywhere.
    ///
    /// # Errors
    /// [`SecurityError::Issue`], [`SecurityError::Random`].
    pub fn generate(group: GroupId, now: u64) -> Result<Self, SecurityError> {
        let key = new_key()?;
        let mut params = dated(now, AUTHORITY_LIFE)?;
        params.distinguished_name = common_name(&format!("Primacy {group}"));
        // None above leaves: what an authority signs cannot sign.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&authority_uri(group))?];
        let certificate = params.self_signed(&key).map_err(issue)?.der().clone();
        Ok(Self {
            group,
            certificate,
            issuer: Issuer::new(params, key),
            life: LIFE,
        })
    }

    /// Opens the authority in `folder`.
    ///
    /// # Errors
    /// [`SecurityError::Read`] if there is none; [`SecurityError::File`] if it is not whole or not ours.
    pub fn open(folder: &Path) -> Result<Self, SecurityError> {
        let path = folder.join(FILE);
        let text = durable::read_whole(&path).map_err(|source| SecurityError::Read {
            path: path.clone(),
            source,
        })?;
        Self::read(&text).map_err(|error| invalid(&path, format!("{error}; put back a copy")))
    }

    /// Reads [`CertificateAuthority::reveal`].
    ///
    /// # Errors
    /// [`SecurityError::Certificate`].
    pub fn read(text: &[u8]) -> Result<Self, SecurityError> {
        let refuse = |why: &str| SecurityError::Certificate(why.to_owned());
        let [certificate] = from_pem(text)?
            .try_into()
            .map_err(|_| refuse("is missing, or is not the only one"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text)
            .map_err(|_| refuse("has no readable key beside it"))?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| refuse("has a key of another kind than ECDSA P-256 beside it"))?;
        if certificate::public_key(&certificate)? != key.der_bytes() {
            return Err(refuse("and the key beside it do not belong together"));
        }
        let group = installation_of(&certificate)?
            .ok_or_else(|| refuse("is of no authority of Primacy"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(issue)?;
        Ok(Self {
            group,
            certificate,
            issuer,
            life: LIFE,
        })
    }

    /// Key and certificate as PEM text: for its file, and for a new peer of the same installation.
    pub fn reveal(&self) -> String {
        let key = pem("PRIVATE KEY", self.issuer.key().serialized_der());
        key + &to_pem(std::slice::from_ref(&self.certificate))
    }

    /// Writes it into `folder` in place of the one that is there. Errors: [`SecurityError::Write`].
    pub fn keep(&self, folder: &Path) -> Result<(), SecurityError> {
        durable::write(&folder.join(FILE), self.reveal().as_bytes()).map_err(SecurityError::Write)
    }

    /// The same authority, whose certificates count for so long.
    pub fn lasting(self, life: Duration) -> Self {
        Self { life, ..self }
    }

    /// The same authority signing for another installation, as one of a company does.
    #[cfg(test)]
    pub(super) fn signing_for(self, group: GroupId) -> Self {
        Self { group, ..self }
    }

    /// The installation it signs for.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// By which newcomers know it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Makes a key and a certificate for `who`, who is reached under `hosts` (DNS names and IP addresses, for programs
    /// that look at nothing else). `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecurityError::Issue`], also for a host that is no name of a host; [`SecurityError::Random`].
    pub fn issue(&self, who: Who, hosts: &[String], now: u64) -> Result<Issued, SecurityError> {
        let key = new_key()?;
        let certificate = self.sign(&key, who, hosts, now)?;
        Ok(Issued {
            chain: self.chain(certificate),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// Makes a certificate for the key of a signing request (PKCS #10, DER), whose signature proves that the asker has
    /// the key. Of what it asks for nothing else counts: `who` and `hosts` are the caller's to decide.
    ///
    /// # Errors
    /// As [`CertificateAuthority::issue`], and for a request that cannot be read or is not signed by its key.
    pub fn issue_for(
        &self,
        request: &[u8],
        who: Who,
        hosts: &[String],
        now: u64,
    ) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
        let request = CertificateSigningRequestDer::from(request);
        let asked = CertificateSigningRequestParams::from_der(&request)
            .map_err(|error| SecurityError::Issue(format!("the request is refused: {error}")))?;
        let certificate = self.sign(&asked.public_key, who, hosts, now)?;
        Ok(self.chain(certificate))
    }

    /// The authority comes along so that a newcomer that knows its fingerprint alone can check the rest.
    fn chain(&self, certificate: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        vec![certificate, self.certificate.clone()]
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        who: Who,
        hosts: &[String],
        now: u64,
    ) -> Result<CertificateDer<'static>, SecurityError> {
        let mut params = dated(now, self.life)?;
        params.distinguished_name = common_name(&match &who {
            Who::Peer(id) => format!("Primacy peer {id}"),
            Who::Agent { instance, .. } => format!("Primacy agent {instance}"),
            Who::Tool { .. } => "Primacy tool".to_owned(),
        });
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match who {
            Who::Peer(_) | Who::Agent { .. } => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            Who::Tool { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let group = self.group;
        params.subject_alt_names = vec![uri(&Identity { group, who }.uri())?];
        for host in hosts {
            params.subject_alt_names.push(host_name(host)?);
        }
        let certificate = params.signed_by(key, &self.issuer).map_err(issue)?;
        Ok(certificate.der().clone())
    }
}

/// Draws the number of a new installation: a random UUID.
///
/// # Errors
/// [`SecurityError::Random`].
pub fn new_installation() -> Result<GroupId, SecurityError> {
    let mut bytes = [0; 16];
    random(&mut bytes).map_err(SecurityError::Random)?;
    // Version 4, variant 1, so that other programs take it for one.
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(GroupId::from_bytes(bytes))
}

fn issue(error: rcgen::Error) -> SecurityError {
    SecurityError::Issue(error.to_string())
}

fn new_key() -> Result<KeyPair, SecurityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issue)
}

fn dated(now: u64, life: Duration) -> Result<CertificateParams, SecurityError> {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(now);
    let mut serial = [0; 16];
    random(&mut serial).map_err(SecurityError::Random)?;
    // Positive in DER.
    serial[0] &= 0x7F;
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn uri(text: &str) -> Result<SanType, SecurityError> {
    Ok(SanType::URI(text.try_into().map_err(issue)?))
}

/// A name by which a host is reached. One that would speak for somebody is refused.
fn host_name(host: &str) -> Result<SanType, SecurityError> {
    let refuse = || SecurityError::Issue(format!("'{host}' is not the name of a host"));
    match ServerName::try_from(host).map_err(|_| refuse())? {
        ServerName::IpAddress(address) => Ok(SanType::IpAddress(address.into())),
        ServerName::DnsName(name) if !name.as_ref().ends_with("primacy.internal") => {
            Ok(SanType::DnsName(host.try_into().map_err(issue)?))
        }
        _ => Err(refuse()),
    }
}

fn authority_uri(group: GroupId) -> String {
    format!("primacy://{group}/authority")
}

/// The installation that a built-in authority signs for; none if it is another authority. Errors: it cannot be read.
pub fn installation_of(authority: &CertificateDer<'_>) -> Result<Option<GroupId>, SecurityError> {
    let names = certificate::names(authority)?;
    Ok(names.iter().find_map(|name| match name {
        Name::Uri(uri) => authority_group(uri),
        Name::Dns(_) => None,
    }))
}

fn authority_group(uri: &str) -> Option<GroupId> {
    let group = uri.strip_prefix("primacy://")?.strip_suffix("/authority")?;
    group.parse().ok()
}

/// Prepares a folder for keys: made if it is not there, and open to its owner alone. Errors:
/// [`SecurityError::Read`].
pub fn prepare_folder(folder: &Path) -> Result<(), SecurityError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let failed = |source: io::Error| SecurityError::Read {
        path: PathBuf::from(folder),
        source,
    };
    // It lies in the folder of a peer or an agent, which is as closed; others may have to pass through those above.
    let is_named = |path: &&Path| !path.as_os_str().is_empty();
    let own = folder.parent().filter(is_named);
    let above = own.and_then(Path::parent).filter(is_named);
    above
        .map_or(Ok(()), std::fs::create_dir_all)
        .map_err(failed)?;
    for folder in own.into_iter().chain([folder]) {
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let mine = std::fs::Permissions::from_mode(0o700);
    // Above it may be a folder of somebody else's, who could have put a link here.
    let held = durable::Folder::open(folder).and_then(|held| held.reopen());
    held.and_then(|held| held.set_permissions(mine))
        .map_err(failed)
}
