//! Who is who: certificates, TLS, join tokens and the tokens of people.
//!
//! Everything that Primacy says over a network it says over TLS 1.3, and both ends show a certificate; only people may
//! show a token instead. An authority of the installation's own signs the certificates, or one of the user's. A
//! certificate says in its names who its holder is ([`Identity`]); that it is signed by a trusted authority is not
//! enough, it must be of this installation and of the role that the caller wants. Which route may be called by whom is
//! for `http` to say, from the [`Identity`] of a connection or from a [`crate::model::TokenRecord`].
//!
//! | file | subject |
//! |---|---|
//! | `identity` | the names that a certificate speaks for |
//! | `certificate` | what is read from a certificate; PEM |
//! | `authority` | the built-in authority: create, open, issue |
//! | `credentials` | what a process shows and whom it trusts, read from files |
//! | `verify` | the one place that decides whether a certificate is accepted |
//! | `tls` | connections; credentials that change while the process runs; the transport of Raft |
//! | `database` | TLS with database servers, whose certificates are not ours |
//! | `web` | TLS with servers of others, to which something is told |
//! | `wire` | TLS or plain TCP: what the rest of the program speaks through |
//! | `token`, `enrolment` | how a newcomer gets its first certificate |
//! | `newcomer`, `invited` | the same over HTTP; the first peers, before there is a group |
//! | `renewal` | certificates are renewed, and read anew when their files change |
//! | `rotation` | another authority in place of the one there is |
//! | `secret`, `bearer` | random secrets, and what of them is kept; passwords |
//!
//! rcgen is named in `authority` and `enrolment`, x509-parser in `certificate`, rustls in this module alone. No key and no secret is shown by any `Debug` or error here.

pub mod authority;
pub mod bearer;
pub mod certificate;
pub mod credentials;
pub mod database;
pub mod enrolment;
mod error;
pub mod identity;
pub mod invited;
pub mod newcomer;
pub mod renewal;
pub mod rotation;
pub mod secret;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod token;
mod verify;
pub mod web;
pub mod wire;

pub use authority::CertificateAuthority;
pub use bearer::BearerToken;
pub use certificate::Fingerprint;
pub use credentials::{Credentials, Files};
pub use database::{DatabaseFiles, DatabaseStream, DatabaseTls, SslMode};
pub use error::SecurityError;
pub use identity::{Identity, ToolName, Who};
pub use invited::Invited;
pub use secret::{Password, Secret, password_file};
pub use tls::{Tls, refusal};
pub use token::{JoinKind, JoinToken};
pub use verify::{Expected, Stranger};
pub use wire::{Caller, Wire};
