//! The tokens of people and their programs: `primacy-token-1.` and 32 random bytes, said with every request as
//! `Authorization: Bearer …`. What is recorded is a [`TokenRecord`] with the hash; the token is shown once, when it is
//! made.

use std::ops::Deref;
use std::time::Duration;

use super::error::SecurityError;
use super::secret::Secret;
use crate::model::{AccessRole, Action, Forbidden, Scope, SecretHash, TokenRecord};

const PREFIX: &str = "primacy-token-1.";
const SCHEME: &str = "Bearer ";

/// A token, as its owner holds it. `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BearerToken(Secret);

/// Why a request with or without a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token, or something that is none: HTTP 401.
    #[error("this needs a token, said as `Authorization: Bearer primacy-token-1.…`")]
    NoToken,
    /// Nobody made it here, or it was revoked: HTTP 401. Says no more, so that nothing is learnt by trying.
    #[error("the token is not valid here")]
    Unknown,
    /// It counts, but not for this: HTTP 403; one that expired: HTTP 401.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}

impl BearerToken {
    /// Makes a token and what is to be recorded of it. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecurityError::Random`].
    pub fn mint(
        name: &str,
        role: AccessRole,
        scope: Scope,
        now: u64,
        life: Duration,
    ) -> Result<(BearerToken, TokenRecord), SecurityError> {
        let secret = Secret::draw().map_err(SecurityError::Random)?;
        let record = TokenRecord {
            name: name.to_owned(),
            hash: secret.hash(),
            role,
            scope,
            created_at: now,
            expires_at: now.saturating_add(life.as_millis() as u64),
        };
        Ok((BearerToken(secret), record))
    }

    /// The text, for its owner alone.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", self.0.reveal_text())
    }

    /// Reads [`BearerToken::reveal`].
    pub fn parse(text: &str) -> Option<BearerToken> {
        let secret = text.trim().strip_prefix(PREFIX)?;
        Secret::from_text(secret).map(BearerToken)
    }

    /// What is recorded of it.
    pub fn hash(&self) -> SecretHash {
        self.0.hash()
    }
}

/// Whose token a request carries and that it permits `action`. `authorization` is the header, if there is one; `find`
/// gives the record of a hash; `now` is in milliseconds since 1970.
///
/// # Errors
/// [`Denied`].
pub fn authorize<R: Deref<Target = TokenRecord>>(
    authorization: Option<&str>,
    find: impl FnOnce(&SecretHash) -> Option<R>,
    action: Action<'_>,
    now: u64,
) -> Result<R, Denied> {
    let token = authorization
        .and_then(|header| header.strip_prefix(SCHEME))
        .and_then(BearerToken::parse)
        .ok_or(Denied::NoToken)?;
    let record = find(&token.hash()).ok_or(Denied::Unknown)?;
    record.permits(action, now)?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subject;

    const NOW: u64 = 1_700_000_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_token_opens_what_its_record_says_until_it_expires() {
        let minted = BearerToken::mint("ci", AccessRole::Operator, Scope::Everything, NOW, HOUR);
        let (token, record) = minted.unwrap();
        let header = format!("Bearer {}", token.reveal());
        let ask = |header: Option<&str>, needs, now| {
            let find = |hash: &SecretHash| (*hash == record.hash).then_some(&record);
            let action = Action {
                needs,
                on: Subject::Installation,
            };
            authorize(header, find, action, now).map(|record| record.name.clone())
        };
        assert_eq!(ask(Some(&header), AccessRole::Viewer, NOW).unwrap(), "ci");
        let forbidden = ask(Some(&header), AccessRole::Admin, NOW).unwrap_err();
        assert!(matches!(
            forbidden,
            Denied::Forbidden(Forbidden::Role { .. })
        ));
        let late = ask(Some(&header), AccessRole::Viewer, record.expires_at);
        assert_eq!(late, Err(Denied::Forbidden(Forbidden::Expired)));

        let minted = BearerToken::mint("ci", AccessRole::Admin, Scope::Everything, NOW, HOUR);
        let foreign = format!("Bearer {}", minted.unwrap().0.reveal());
        let unknown = ask(Some(&foreign), AccessRole::Viewer, NOW);
        assert_eq!(unknown, Err(Denied::Unknown));
        for header in [
            None,
            Some(""),
            Some("Bearer "),
            Some(&*token.reveal()),
            Some("Basic dXNlcjpwYXNz"),
            Some(&header[..header.len() - 1]),
        ] {
            let refused = ask(header, AccessRole::Viewer, NOW);
            assert_eq!(refused, Err(Denied::NoToken), "{header:?}");
        }
    }

    #[test]
    fn neither_a_token_nor_its_record_shows_the_secret() {
        let minted = BearerToken::mint("ci", AccessRole::Admin, Scope::Everything, NOW, HOUR);
        let (token, record) = minted.unwrap();
        let secret = token.0.reveal_text();
        let shown = format!("{token:?} {record:?}");
        assert!(!shown.contains(&secret), "{shown}");
        assert!(!shown.contains(&record.hash.to_string()), "{shown}");
        assert_eq!(BearerToken::parse(&token.reveal()), Some(token));
    }
}
