//! As whom a provider signs in everywhere, and with which secret.

use std::fmt;

use super::passfile;
use crate::model::Address;
use crate::provider::{ProviderError, Result};
use crate::security::{DatabaseTls, Password};

/// As whom, and how.
#[derive(Debug, Clone)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its secret.
    pub password: Password,
    /// The database to sign in to; `postgres` is everywhere.
    pub database: String,
    /// TLS.
    pub tls: DatabaseTls,
    /// As what its sessions are shown by the server. Those of peers begin with [`INSTALLATION`].
    pub application_name: String,
}

/// What the sessions of peers are called, before the group that they are of: by that others know who looks after a server.
pub const INSTALLATION: &str = "primacy ";

impl Login {
    /// The secret for a server; none without one. Errors: `AuthFailed` if the file cannot be used.
    pub(super) async fn secret(&self, of: &Address) -> Result<Option<String>> {
        let path = match &self.password {
            Password::None => return Ok(None),
            Password::Text(secret) => return Ok(Some(secret.clone())),
            Password::File(path) => path,
        };
        let unusable = |why: &dyn fmt::Display| {
            ProviderError::AuthFailed(format!("the password file {}: {why}", path.display()))
        };
        let found = tokio::fs::metadata(path)
            .await
            .map_err(|it| unusable(&it))?;
        // libpq takes no notice of a file that others may read.
        if std::os::unix::fs::MetadataExt::mode(&found) & 0o077 != 0 {
            return Err(unusable(&"others may read it; give it mode 0600"));
        }
        let text = tokio::fs::read(path).await.map_err(|it| unusable(&it))?;
        let text = String::from_utf8_lossy(&text);
        Ok(passfile::find(&text, of, &self.database, &self.user))
    }
}
