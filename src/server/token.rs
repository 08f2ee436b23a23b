//! The token with which a newcomer joins: whom to ask, which group, and a one-time secret.
//!
//! `primacy-join-1:GROUP:SECRET:FINGERPRINT:ADDRESS,ADDRESS`. The secret is drawn where the token is made and never sent
//! before it is shown; the group keeps its digest alone.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use raft::GroupId;
use sha2::{Digest as _, Sha256};

use crate::state::peers::Digest;

const VERSION: &str = "primacy-join-1";
/// In place of the fingerprint of a certificate authority, while there is none.
const NO_FINGERPRINT: &str = "-";

/// A token, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The group to join.
    pub group: GroupId,
    /// The one-time secret.
    pub secret: Secret,
    /// Members, `host:port` each; any one of them will do.
    pub addresses: Vec<String>,
}

/// What is never shown by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token {
            group, addresses, ..
        } = self;
        write!(f, "token of group {group} at {addresses:?}")
    }
}

impl Secret {
    /// A new one.
    pub fn draw() -> Secret {
        Secret(super::propose::draw())
    }

    /// As it is sent: 64 hexadecimal digits.
    pub fn text(&self) -> String {
        hex(&self.0)
    }

    /// What [`Secret::text`] gave; none if it is something else.
    pub fn parse(text: &str) -> Option<Secret> {
        unhex(text).map(Secret)
    }

    /// Its digest. The secret is random, so a plain hash gives nothing away.
    pub fn digest(&self) -> Digest {
        Sha256::digest(self.0).into()
    }
}

/// A digest of some text that only has to differ where the text differs.
pub fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut digest = Sha256::new();
    for part in parts {
        // Lengths keep the parts apart.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// What [`hex`] gave; none if it is something else or of another length.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .ok()?
        .try_into()
        .ok()
}

impl Token {
    /// As it is handed over.
    pub fn text(&self) -> String {
        let (secret, addresses) = (self.secret.text(), self.addresses.join(","));
        format!(
            "{VERSION}:{}:{secret}:{NO_FINGERPRINT}:{addresses}",
            self.group
        )
    }

    /// Takes a token apart. Errors: one sentence that names what is wrong, and never the secret.
    pub fn parse(text: &str) -> Result<Token, String> {
        let wrong =
            |what: &str| format!("the token {what}; copy it whole from `primacy peers add`");
        let parts: Vec<_> = text.trim().splitn(5, ':').collect();
        let [version, group, secret, fingerprint, addresses] = parts[..] else {
            return Err(wrong("is cut short"));
        };
        if version != VERSION {
            return Err(wrong("is of another version of Primacy"));
        }
        if fingerprint != NO_FINGERPRINT {
            return Err(wrong(
                "names a certificate authority, and this version knows none",
            ));
        }
        let addresses: Vec<_> = addresses.split(',').map(str::to_owned).collect();
        if addresses.iter().any(|it| super::config::port(it).is_none()) {
            return Err(wrong("names an address that is not host:port"));
        }
        Ok(Token {
            group: group.parse().map_err(|_| wrong("names no group"))?,
            secret: Secret::parse(secret).ok_or_else(|| wrong("has no whole secret"))?,
            addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_its_faults_are_named() {
        let token = Token {
            group: GroupId::from_bytes([7; 16]),
            secret: Secret([0xab; 32]),
            addresses: vec!["10.0.0.1:7001".to_owned(), "[::1]:7001".to_owned()],
        };
        let text = token.text();
        assert_eq!(Token::parse(&format!(" {text}\n")), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("abab"));
        for (from, to, what) in [
            ("primacy-join-1", "primacy-join-2", "another version"),
            (":-:", ":sha256:", "certificate authority"),
            ("abab", "ab", "no whole secret"),
            ("0707", "07", "no group"),
            ("10.0.0.1:7001", "10.0.0.1", "not host:port"),
        ] {
            let why = Token::parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(why.contains(what) && !why.contains("abab"), "{why}");
        }
        assert!(
            Token::parse("primacy-join-1:x")
                .unwrap_err()
                .contains("cut short")
        );
    }
}
