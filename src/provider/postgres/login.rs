//! As whom a provider signs in everywhere, and with which secret.

use std::fmt;
use std::path::PathBuf;

use super::passfile;
use crate::model::Address;
use crate::provider::{ProviderError, Result};
use crate::security::DatabaseTls;

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
}

/// A secret, or where it is. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// None: a certificate, or a server that trusts the address.
    None,
    /// This one.
    Text(String),
    /// The line of libpq's password file that fits, read for each session, so that it may change.
    File(PathBuf),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Password::None => f.write_str("None"),
            Password::Text(_) => f.write_str("Text(..)"),
            Password::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Password::Text("secret".to_owned()));
        assert_eq!(shown, "Text(..)");
    }
}
