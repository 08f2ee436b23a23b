//! A server that is looked at before it is adopted.

use std::path::PathBuf;

use clap::Args;

/// Whom to ask, and as whom.
#[derive(Debug, Args)]
pub(in crate::cli) struct Preflight {
    /// host or host:port
    pub host: String,
    /// The role to sign in as
    #[arg(long, default_value = "primacy")]
    pub user: String,
    /// libpq's password file
    #[arg(long, env = "PGPASSFILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The database to sign in to
    #[arg(long, default_value = "postgres")]
    pub database: String,
    /// disable, require, verify-ca or verify-full
    #[arg(long, env = "PGSSLMODE", default_value = "require")]
    pub ssl_mode: String,
    /// Authorities that the server's certificate is verified with
    #[arg(long, env = "PGSSLROOTCERT", value_name = "FILE")]
    pub ssl_root_cert: Option<PathBuf>,
    /// A certificate of one's own
    #[arg(long, env = "PGSSLCERT", value_name = "FILE", requires = "ssl_key")]
    pub ssl_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, env = "PGSSLKEY", value_name = "FILE", requires = "ssl_cert")]
    pub ssl_key: Option<PathBuf>,
}
