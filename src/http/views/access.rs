//! Who may call.

use serde::{Deserialize, Serialize};

/// A token of a person or a program; its secret is known to its owner alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// What people call it.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// For which clusters; none if for the whole installation.
    pub clusters: Option<Vec<String>>,
    /// When it was made, RFC 3339, by the leader's wall clock.
    pub created_at: String,
    /// From when on it is of no use, RFC 3339.
    pub expires_at: String,
    /// Whether that moment has passed, by the wall clock of the peer that answered.
    pub expired: bool,
    /// What may be a slip: clusters that are not there.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A certificate that one newcomer may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestView {
    /// Who it will be, in words.
    pub guest: String,
    /// The Raft group.
    pub group: String,
    /// Where the present members answer.
    pub members: Vec<String>,
    /// SHA-256 of the certificate of the authority by which they are known, in hexadecimal digits.
    pub authority: String,
    /// When the invitation ends, RFC 3339, by the leader's wall clock.
    pub expires_at: String,
    /// What may be a slip: a cluster or an instance that is not there.
    #[serde(default)]
    pub warnings: Vec<String>,
}
