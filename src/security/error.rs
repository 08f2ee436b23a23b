//! What goes wrong with keys and certificates.

use std::io;
use std::path::{Path, PathBuf};

use crate::host;

/// Each is one sentence; those about files name the file and the next step.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write a key or certificate")]
    Write(#[source] host::Error),
    /// A file is not what it should be.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// A certificate cannot be used.
    #[error("the certificate {0}")]
    Certificate(String),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Issue(String),
    /// The system has no random bytes.
    #[error("the system has no random bytes")]
    Random(#[source] io::Error),
}

pub(super) fn invalid(path: &Path, why: impl Into<String>) -> SecurityError {
    SecurityError::File {
        path: path.to_owned(),
        why: why.into(),
    }
}
