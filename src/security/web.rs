//! TLS with servers of the web, to which something is told: any server whose name an authority of the user's choice vouches for.

use std::path::Path;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use super::certificate;
use super::error::{SecurityError, invalid};
use super::verify::PROVIDER;

/// How servers are spoken to whose certificates these authorities signed; nobody is believed without any. Blocks.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub fn client(authorities: Option<&Path>) -> Result<ClientConfig, SecurityError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authorities {
        let text = std::fs::read(path).map_err(|source| SecurityError::Read {
            path: path.to_owned(),
            source,
        })?;
        let found = certificate::from_pem(&text);
        let found = found.map_err(|error| invalid(path, error.to_string()))?;
        // A bundle of a system may hold what rustls does not take.
        if roots.add_parsable_certificates(found).0 == 0 {
            return Err(invalid(path, "holds no certificate of an authority"));
        }
    }
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider speaks both");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
