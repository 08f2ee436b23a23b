//! Whether the certificate of a database server is accepted, as libpq would decide.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::super::certificate;
use super::super::verify::PROVIDER;
use super::SslMode;

/// What a mode accepts.
#[derive(Debug)]
pub(super) struct Verifier {
    pub mode: SslMode,
    pub roots: RootCertStore,
    /// The same as they were read.
    pub authorities: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn is_signed(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.authorities.iter().any(|known| known == leaf) {
            return is_of_now(leaf, now);
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = PROVIDER.signature_verification_algorithms.all;
        let roots = &self.roots;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, now, algorithms).map_err(
            |error| match error {
                // One that signs itself and that was not named: nobody else signed it.
                Error::InvalidCertificate(CertificateError::Other(why))
                    if why.to_string() == "CaUsedAsEndEntity" =>
                {
                    CertificateError::UnknownIssuer.into()
                }
                other => other,
            },
        )
    }
}

/// Whether a certificate that is trusted as a whole counts now.
fn is_of_now(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = certificate::validity(leaf);
    let validity = validity.map_err(|_| CertificateError::BadEncoding)?;
    let now = now.as_secs().saturating_mul(1_000);
    if now < validity.from {
        return Err(CertificateError::NotValidYet.into());
    }
    match now > validity.to {
        true => Err(CertificateError::Expired.into()),
        false => Ok(()),
    }
}

/// Whether it is of this host: by its alternative names, else, without any, by its common name, as libpq has it.
fn is_of(leaf: &CertificateDer<'_>, host: &ServerName<'_>) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    let refused = match verify_server_name(&parsed, host) {
        Ok(()) => return Ok(()),
        Err(refused) => refused,
    };
    let name = certificate::common_name_alone(leaf);
    let name = name.map_err(|_| CertificateError::BadEncoding)?;
    match name.is_some_and(|name| matches(&name, &host.to_str())) {
        true => Ok(()),
        false => Err(refused),
    }
}

/// A star is the first label and stands for one.
fn matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) => !label.is_empty() && rest == domain,
        (Some(_), None) => false,
        (None, _) => pattern == host,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.mode {
            SslMode::Disable | SslMode::Require => {}
            SslMode::VerifyCa => self.is_signed(leaf, others, now)?,
            SslMode::VerifyFull => {
                self.is_signed(leaf, others, now)?;
                is_of(leaf, host)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    // That the server holds the key is verified in every mode: without it, binding a password to the channel would bind
    // it to nothing.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names() {
        for (pattern, host, expected) in [
            ("db", "DB", true),
            ("db", "db.x", false),
            ("*.x.y", "db.x.y", true),
            ("*.x.y", "a.db.x.y", false),
            ("*.x", "x", false),
            ("*", "db", false),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
