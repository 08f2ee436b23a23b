//! As whom a provider signs in everywhere, and with which secret.

use super::passfile;
use crate::model::Address;
use crate::provider::{ProviderError, Result};
use crate::security::{DatabaseTls, Password, password_file};

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
    /// The secret for a server; none without one. Errors: `Precondition` if the file cannot be used.
    pub(super) async fn secret(&self, of: &Address) -> Result<Option<String>> {
        let path = match &self.password {
            Password::None => return Ok(None),
            Password::Text(secret) => return Ok(Some(secret.clone())),
            Password::File(path) => path,
        };
        let unusable = |why: &dyn std::fmt::Display| {
            let why = format!("the password file {}: {why}", path.display());
            ProviderError::Precondition(why)
        };
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || password_file(&file)).await;
        let text = read.map_err(|it| unusable(&it))?;
        let text = text.map_err(|it| unusable(&it))?;
        let text = String::from_utf8_lossy(&text);
        Ok(passfile::find(&text, of, &self.database, &self.user))
    }

    /// Of a server that asks for a password where there is none for it.
    pub(super) fn has_none(&self, of: &Address) -> ProviderError {
        let (user, database) = (&self.user, &self.database);
        match &self.password {
            Password::File(path) => ProviderError::Precondition(format!(
                "no line of the password file {} matches {of}, database {database}, as {user}; add one",
                path.display()
            )),
            Password::None | Password::Text(_) => ProviderError::AuthFailed(format!(
                "it asks for the password of {user}, and none was given"
            )),
        }
    }
}
