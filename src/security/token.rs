//! The text that lets a newcomer in: where the peers are, how to know them, and a secret that counts once.
//!
//! `primacy-join-1.` and base64url of one record, whose checksum tells a damaged copy from a wrong token.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use raft::GroupId;
use serde::{Deserialize, Serialize};

use super::certificate::Fingerprint;
use super::secret::Secret;

const PREFIX: &str = "primacy-join-";
const VERSION: &str = "1";
/// Most bytes of the record: some hundred addresses.
const LIMIT: usize = 8 * 1024;

/// What a newcomer may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKind {
    /// A peer of the Raft group.
    Peer,
    /// The agent of an instance.
    Agent,
    /// A program of the user.
    Tool,
}

impl fmt::Display for JoinKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinKind::Peer => "peer",
            JoinKind::Agent => "agent",
            JoinKind::Tool => "tool",
        })
    }
}

/// What a newcomer is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Where peers answer, `host:port` each; at least one.
    pub addresses: Vec<String>,
    /// Of the authority that signed their certificates.
    pub authority: Fingerprint,
    /// The installation.
    pub group: GroupId,
    /// What the newcomer may become.
    pub kind: JoinKind,
    /// Counts once.
    pub secret: Secret,
}

/// Why a text is no join token, with the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else.
    #[error(
        "this is no join token: one begins with {PREFIX}{VERSION}. ; copy the whole line that invited this host"
    )]
    Foreign,
    /// Of another version of Primacy.
    #[error(
        "this join token is of version {0} and this program knows {VERSION}; install the version of the peers"
    )]
    Version(String),
    /// A part is missing or changed.
    #[error(
        "this join token is damaged, a part of it is missing or was changed; copy it again as a whole"
    )]
    Damaged,
    /// It names no peer.
    #[error("this join token names no address of a peer; ask for another one")]
    NoAddress,
    /// It invites to something else.
    #[error("this join token invites: {found}, not: {wanted}; ask for one of the right kind")]
    Kind {
        /// What it is for.
        found: JoinKind,
        /// What it should be for.
        wanted: JoinKind,
    },
}

impl JoinToken {
    /// The text, secret included: for the eyes of whoever runs the new host.
    pub fn reveal(&self) -> String {
        let record = raft::seal(self).expect("a token is plain values");
        format!("{PREFIX}{VERSION}.{}", BASE64URL_NOPAD.encode(&record))
    }

    /// Reads [`JoinToken::reveal`]; white space around it does not matter.
    ///
    /// # Errors
    /// [`TokenError`]; none shows the text.
    pub fn parse(text: &str) -> Result<JoinToken, TokenError> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError::Foreign)?;
        let (version, record) = rest.split_once('.').ok_or(TokenError::Damaged)?;
        let is_number = !version.is_empty() && version.bytes().all(|c| c.is_ascii_digit());
        if version != VERSION {
            return Err(match is_number && version.len() <= 4 {
                true => TokenError::Version(version.to_owned()),
                false => TokenError::Foreign,
            });
        }
        let record = BASE64URL_NOPAD
            .decode(record.as_bytes())
            .map_err(|_| TokenError::Damaged)?;
        let token: JoinToken = raft::unseal(&record, LIMIT).map_err(|_| TokenError::Damaged)?;
        match token.addresses.is_empty() {
            true => Err(TokenError::NoAddress),
            false => Ok(token),
        }
    }

    /// The token, if it invites to `wanted`. Errors: [`TokenError::Kind`].
    pub fn of_kind(self, wanted: JoinKind) -> Result<JoinToken, TokenError> {
        match self.kind == wanted {
            true => Ok(self),
            false => Err(TokenError::Kind {
                found: self.kind,
                wanted,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            addresses: vec!["10.0.0.1:7001".to_owned(), "db-2:7001".to_owned()],
            authority: Fingerprint([0xCA; 32]),
            group: GroupId::from_bytes([7; 16]),
            kind: JoinKind::Agent,
            secret: Secret::from_bytes([0x5E; 32]),
        }
    }

    #[test]
    fn a_token_keeps_its_text_and_shows_its_secret_to_nobody() {
        let token = token();
        let text = token.reveal();
        assert_eq!(text, include_str!("token.txt").trim());
        assert_eq!(JoinToken::parse(&format!(" {text}\n")), Ok(token.clone()));
        let shown = format!("{token:?}");
        assert!(
            shown.contains("Secret(..)") && !shown.contains("94"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_token_is_named() {
        let text = token().reveal();
        let record = text.split_once('.').unwrap().1;
        let cut = &text[..text.len() - 4];
        let changed = match text.ends_with('A') {
            true => format!("{}B", &text[..text.len() - 1]),
            false => format!("{}A", &text[..text.len() - 1]),
        };
        let nowhere = JoinToken {
            addresses: vec![],
            ..token()
        };
        for (text, error) in [
            ("", TokenError::Foreign),
            ("primacy-token-1.abc", TokenError::Foreign),
            (record, TokenError::Foreign),
            ("primacy-join-1", TokenError::Damaged),
            ("primacy-join-1.", TokenError::Damaged),
            (cut, TokenError::Damaged),
            (&changed, TokenError::Damaged),
            (&text.replacen('.', ". ", 1), TokenError::Damaged),
            (
                &text.replacen("-1.", "-2.", 1),
                TokenError::Version("2".to_owned()),
            ),
            (&nowhere.reveal(), TokenError::NoAddress),
        ] {
            assert_eq!(JoinToken::parse(text), Err(error), "{text}");
        }
        let kind = token().of_kind(JoinKind::Peer).unwrap_err();
        assert!(kind.to_string().contains("agent, not: peer"));
    }

    #[test]
    fn no_text_makes_it_panic() {
        let text = token().reveal();
        for end in 0..text.len() {
            assert!(JoinToken::parse(&text[..end]).is_err());
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(JoinToken::parse(&changed).is_err(), "{changed}");
        }
    }
}
