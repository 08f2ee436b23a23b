//! What is read from a certificate, and PEM text.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::error::SecurityError;
use super::identity::Identity;

/// SHA-256 of a whole certificate, as `openssl x509 -fingerprint -sha256` shows it but for the colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    /// Reads what `Display` shows, and that with colons. Errors: it is something else.
    fn from_str(text: &str) -> Result<Fingerprint, ()> {
        let digits = text.replace(':', "");
        let bytes = HEXUPPER_PERMISSIVE.decode(digits.as_bytes());
        let bytes = bytes.map_err(|_| ())?.try_into().map_err(|_| ())?;
        Ok(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// From when to when a certificate counts, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From this moment on.
    pub from: u64,
    /// To this moment.
    pub to: u64,
}

impl Validity {
    /// The moment at which it should be renewed: two thirds through, so that whoever renews has a third of its life to
    /// be repaired in.
    pub fn renew_at(self) -> u64 {
        self.from + self.to.saturating_sub(self.from) / 3 * 2
    }
}

/// When `certificate` counts. Errors: it cannot be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, SecurityError> {
    let parsed = parse(certificate)?;
    let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
    Ok(Validity {
        from: millis(parsed.validity().not_before.timestamp()),
        to: millis(parsed.validity().not_after.timestamp()),
    })
}

/// The bytes of the public key in `certificate`. Errors: it cannot be read.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, SecurityError> {
    let parsed = parse(certificate)?;
    Ok(parsed.public_key().subject_public_key.data.to_vec())
}

/// Who `certificate` speaks for. That it may is not said here: see `verify`.
///
/// # Errors
/// It cannot be read, names nobody of any installation, or names several.
pub fn identity(certificate: &CertificateDer<'_>) -> Result<Identity, SecurityError> {
    let mut found: Option<Identity> = None;
    for name in identities(&names(certificate)?) {
        if found.as_ref().is_some_and(|other| *other != name) {
            return Err(SecurityError::Certificate(
                "names several identities; it must name one".to_owned(),
            ));
        }
        found = Some(name);
    }
    found.ok_or_else(|| {
        SecurityError::Certificate(
            "names nobody: it needs a URI such as primacy://<group>/peer/1 among its alternative names"
                .to_owned(),
        )
    })
}

/// A name that a certificate was given.
pub(super) enum Name {
    Uri(String),
    Dns(String),
}

fn identities(names: &[Name]) -> Vec<Identity> {
    let identity = |name: &Name| match name {
        Name::Uri(uri) => Identity::from_uri(uri),
        Name::Dns(name) => Identity::from_dns(name),
    };
    names.iter().filter_map(identity).collect()
}

/// The URIs and DNS names among the alternative names. Errors: the certificate cannot be read.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Result<Vec<Name>, SecurityError> {
    let parsed = parse(certificate)?;
    let extension = parsed
        .subject_alternative_name()
        .map_err(|error| unreadable(&error))?;
    let names = extension.map_or(&[][..], |found| &found.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(Name::Uri((*uri).to_owned())),
        GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
        _ => None,
    };
    Ok(names.iter().filter_map(name).collect())
}

/// The common name of a certificate that names no host and no address otherwise; none of any other. Errors: it cannot be
/// read.
pub(super) fn common_name_alone(
    certificate: &CertificateDer<'_>,
) -> Result<Option<String>, SecurityError> {
    let parsed = parse(certificate)?;
    let extension = parsed
        .subject_alternative_name()
        .map_err(|error| unreadable(&error))?;
    let names = extension.map_or(&[][..], |found| &found.value.general_names);
    let is_host = |name: &GeneralName<'_>| {
        matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))
    };
    if names.iter().any(is_host) {
        return Ok(None);
    }
    let mut found = parsed.subject().iter_common_name();
    let name = found.next().and_then(|name| name.as_str().ok());
    Ok(name.map(str::to_owned))
}

/// The hash of a certificate with the hash of its own signature, SHA-256 in the place of weaker ones (RFC 5929, section
/// 4.1). None if it cannot be read or is signed without one, as Ed25519 does.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = parse(certificate).ok()?;
    let signed = parsed.signature_algorithm.algorithm.to_id_string();
    Some(match signed.as_str() {
        // With MD5, SHA-1 or SHA-256, under RSA and ECDSA.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, SecurityError> {
    let (rest, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| unreadable(&error))?;
    match rest {
        [] => Ok(parsed),
        _ => Err(unreadable(&"bytes follow it")),
    }
}

fn unreadable(error: &dyn fmt::Display) -> SecurityError {
    SecurityError::Certificate(format!("cannot be read: {error}"))
}

/// A PEM block.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let body = BASE64.encode(der);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// PEM text of certificates, one after the other.
pub fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let block = |certificate: &CertificateDer<'_>| pem("CERTIFICATE", certificate);
    certificates.iter().map(block).collect()
}

/// Every certificate in PEM text, other blocks left out. Errors: a broken block.
pub fn from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(&error))
}
