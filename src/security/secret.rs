//! Secrets of 32 random bytes: what invites a newcomer, and what a person's token is made of. And those that people
//! chose: passwords of database roles.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::SecretHash;

/// 32 random bytes that nobody may see: `Debug` does not show them, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Drawn from the operating system. Errors: it has no random bytes, which no running system says.
    pub fn draw() -> std::io::Result<Secret> {
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        Ok(Secret(bytes))
    }

    /// Made of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// The bytes, to be shown to nobody but their owner.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes as 43 characters of base64url, to be shown to nobody but their owner.
    pub fn reveal_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Reads [`Secret::reveal_text`]; `None` if it is anything else.
    pub fn from_text(text: &str) -> Option<Secret> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Secret)
    }

    /// What is kept of it: SHA-256. No slow hash with salt, which protects what people can remember: 256 random bits
    /// cannot be guessed at any speed, and a fast hash keeps a flood of wrong tokens cheap. Two equal hashes are two
    /// equal secrets, so a record is found by its hash and the secrets themselves are never compared.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a role of a database signs in with, or where it is. `Debug` does not show it, and there is no `Display`.
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

/// Why a password file is of no use, and the next step.
#[derive(Debug, thiserror::Error)]
pub enum UnusablePasswordFile {
    /// Nothing is there.
    #[error(
        "there is no such file; make it for user {user}, who runs this, with mode 0600 and lines HOST:PORT:DATABASE:USER:PASSWORD"
    )]
    Absent {
        /// Who wants to read it.
        user: u32,
    },
    /// It belongs to somebody else, or lies in a folder that is closed.
    #[error(
        "user {user}, who runs this, may not read it; give it to that user, with mode 0600 and in a folder open to that user"
    )]
    Denied {
        /// Who wants to read it.
        user: u32,
    },
    /// A folder, say.
    #[error("it is no plain file; name one")]
    NotPlain,
    /// libpq takes no notice of a file that others may use.
    #[error("others may read it; give it mode 0600")]
    Open,
    /// Anything else.
    #[error("it cannot be read ({0}); correct that")]
    Unread(io::Error),
}

/// What stands in libpq's password file, by libpq's own rules. Blocks.
///
/// # Errors
/// [`UnusablePasswordFile`].
pub fn password_file(path: &Path) -> Result<Vec<u8>, UnusablePasswordFile> {
    let user = rustix::process::geteuid().as_raw();
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => UnusablePasswordFile::Absent { user },
        io::ErrorKind::PermissionDenied => UnusablePasswordFile::Denied { user },
        _ => UnusablePasswordFile::Unread(error),
    };
    let found = std::fs::metadata(path).map_err(unread)?;
    match (found.is_file(), found.mode() & 0o077) {
        (false, _) => Err(UnusablePasswordFile::NotPlain),
        (true, 0) => std::fs::read(path).map_err(unread),
        (true, _) => Err(UnusablePasswordFile::Open),
    }
}

/// Fills `bytes` from the operating system.
pub(super) fn random(bytes: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Password::Text("secret".to_owned()));
        assert_eq!(shown, "Text(..)");
    }

    #[test]
    fn a_secret_is_shown_to_its_owner_only() {
        let secret = Secret::from_bytes([0xAB; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(
            Secret::from_text(&secret.reveal_text()),
            Some(secret.clone())
        );
        assert_eq!(Secret::from_text("q6ur"), None);
        assert_eq!(Secret::from_text(&secret.reveal_text()[1..]), None);
        let hash = secret.hash();
        // `printf '\253%.0s' $(seq 32) | sha256sum`
        assert_eq!(
            hash.to_string(),
            "9a2db2e23f1504cd056606553ac049c5e718e8f9ce9233876df1a7a1821af885"
        );
        assert_ne!(Secret::draw().unwrap(), Secret::draw().unwrap());
    }
}
