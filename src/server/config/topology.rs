//! As whom peers sign in to databases that have no agent: the table `[postgresql]`, or the names that users of
//! orchestrator know (`ProviderType` and so on), at the top of the file.
//!
//! Either may be used, and one beside the other for what the other has no name for; nothing may be said twice.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use crate::config::SecretText;
use crate::provider::Engine;
use crate::security::{DatabaseFiles, DatabaseTls, Password, SslMode, password_file};

/// The engine that is meant where `ProviderType` is not given beside its fellows.
const DEFAULT_PROVIDER: &str = "mysql";
/// Those that have a name, whether or not this version looks after them over SQL.
const KNOWN: [&str; 2] = ["mysql", POSTGRESQL];
/// The engine of the table of that name.
const POSTGRESQL: &str = "postgresql";
/// PostgreSQL's own.
const DEFAULT_PORT: u16 = 5432;
/// Encrypted, whoever answers.
const DEFAULT_MODE: &str = "require";
/// Is on every server.
const DEFAULT_DATABASE: &str = "postgres";

/// As whom peers sign in to every database that they look after over SQL, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyLogin {
    /// The engine.
    pub engine: Engine,
    /// The role.
    pub user: String,
    /// Its secret.
    pub password: Password,
    /// The database to sign in to.
    pub database: String,
    /// Whether TLS is spoken, and what of the server's certificate is verified.
    pub ssl_mode: SslMode,
    /// Authorities, and a certificate of one's own.
    pub files: DatabaseFiles,
    /// The port of an instance of which only the host is known.
    pub default_port: u16,
}

impl TopologyLogin {
    /// Whether its files can be used as they are now. Blocks. Errors: one cannot, with the name of its field.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Password::File(path) = &self.password {
            password_file(path).map_err(|why| {
                let path = path.display();
                ConfigError(format!("postgresql.password_file: {path}: {why}"))
            })?;
        }
        self.tls().map(drop)
    }

    /// TLS with what is in the files now. Blocks. Errors: a file cannot be used, with the name of its field.
    pub fn tls(&self) -> Result<DatabaseTls, ConfigError> {
        let read = DatabaseTls::read(self.ssl_mode, &self.files);
        read.map_err(|error| {
            let cause =
                std::error::Error::source(&error).map_or(String::new(), |it| format!(": {it}"));
            let field = match (&self.files.authorities, &self.files.own) {
                (None, Some(_)) => "ssl_cert",
                (Some(_), None) => "ssl_root_cert",
                (Some(_), Some(_)) | (None, None) => "ssl_root_cert, ssl_cert, ssl_key",
            };
            ConfigError(format!("postgresql: {field}: {error}{cause}; correct it"))
        })
    }
}

/// The table `[postgresql]`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    user: Option<String>,
    password: Option<SecretText>,
    password_file: Option<PathBuf>,
    database: Option<String>,
    ssl_mode: Option<String>,
    ssl_root_cert: Option<PathBuf>,
    ssl_cert: Option<PathBuf>,
    ssl_key: Option<PathBuf>,
    default_port: Option<u16>,
}

/// What stands at the top of the file under the names that others know.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Names {
    pub provider_type: Option<String>,
    pub user: Option<String>,
    pub password: Option<SecretText>,
    pub ssl_mode: Option<String>,
    pub default_port: Option<u16>,
}

impl Names {
    /// Whether any of them is given.
    pub fn are_given(&self) -> bool {
        *self != Names::default()
    }

    /// The engine that is named. Errors: one that this version does not look after.
    fn engine(&self) -> Result<Engine, ConfigError> {
        let refuse = |why: String| {
            Err(ConfigError(format!(
                "ProviderType: {why}; set ProviderType to \"postgresql\""
            )))
        };
        let (name, is_given) = match &self.provider_type {
            Some(name) => (name.as_str(), true),
            None => (DEFAULT_PROVIDER, false),
        };
        match Engine::named(name) {
            Some(engine) => Ok(engine),
            None if !KNOWN.contains(&name) => {
                let known = KNOWN.map(|known| format!("\"{known}\""));
                refuse(format!("'{name}' is none of {}", known.join(", ")))
            }
            None if is_given => refuse(format!("\"{name}\" is not looked after by this version")),
            None => refuse(format!(
                "it is missing, which means \"{name}\", and that is not looked after by this version"
            )),
        }
    }
}

/// A value under one of its two names, and under which.
fn either<T>(
    name: &str,
    top: Option<T>,
    own: &str,
    table: Option<T>,
) -> Result<(String, Option<T>), ConfigError> {
    match (top, table) {
        (Some(_), Some(_)) => Err(ConfigError(format!(
            "{name}: postgresql.{own} says the same; leave one of the two out"
        ))),
        (Some(value), None) => Ok((name.to_owned(), Some(value))),
        (None, value) => Ok((format!("postgresql.{own}"), value)),
    }
}

/// The login that both together give; none if neither names a role.
pub(super) fn login(
    names: Names,
    table: Option<Table>,
) -> Result<Option<TopologyLogin>, ConfigError> {
    let engine = match names.are_given() {
        true => names.engine()?,
        false => Engine::named(POSTGRESQL).expect("the table is its own"),
    };
    let table = table.unwrap_or_default();
    let refuse = |why: String| Err(ConfigError(why));
    let (user_field, user) = either("PostgreSQLTopologyUser", names.user, "user", table.user)?;
    let password = (names.password, table.password);
    let (password_field, password) = either(
        "PostgreSQLTopologyPassword",
        password.0,
        "password",
        password.1,
    )?;
    let (mode_field, mode) = either(
        "PostgreSQLSSLMode",
        names.ssl_mode,
        "ssl_mode",
        table.ssl_mode,
    )?;
    let port = (names.default_port, table.default_port);
    let (port_field, port) = either("DefaultInstancePort", port.0, "default_port", port.1)?;
    if port == Some(0) {
        return refuse(format!(
            "{port_field}: 0 is no port; write for example {DEFAULT_PORT}"
        ));
    }
    let mode = mode.unwrap_or_else(|| DEFAULT_MODE.to_owned());
    let ssl_mode: SslMode = mode
        .parse()
        .map_err(|error| ConfigError(format!("{mode_field}: '{mode}' {error}; correct it")))?;
    let files = DatabaseFiles {
        authorities: table.ssl_root_cert,
        own: match (table.ssl_cert, table.ssl_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (own, _) => {
                let (missing, there) = match own {
                    Some(_) => ("ssl_key", "ssl_cert"),
                    None => ("ssl_cert", "ssl_key"),
                };
                return refuse(format!(
                    "postgresql.{missing}: it is missing beside {there}; add it"
                ));
            }
        },
    };
    let verifies = matches!(ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull);
    if verifies && files.authorities.is_none() {
        return refuse(format!(
            "{mode_field}: {mode} needs the file of an authority to verify servers with; add ssl_root_cert to the table \
             postgresql"
        ));
    }
    let password = password.filter(|SecretText(text)| !text.is_empty());
    let password = match (password, table.password_file) {
        (Some(SecretText(text)), None) => Password::Text(text),
        (None, Some(path)) => Password::File(path),
        (None, None) => Password::None,
        (Some(_), Some(_)) => {
            return refuse(format!(
                "{password_field}: postgresql.password_file says where it is; leave one of the two out"
            ));
        }
    };
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        let field = match password_field.as_str() {
            "PostgreSQLTopologyPassword" => "PostgreSQLTopologyUser",
            _ => user_field.as_str(),
        };
        return match password {
            Password::None => Ok(None),
            Password::Text(_) | Password::File(_) => {
                refuse(format!("{field}: it is missing beside a password; add it"))
            }
        };
    };
    Ok(Some(TopologyLogin {
        engine,
        user,
        password,
        database: table
            .database
            .unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
        ssl_mode,
        files,
        default_port: port.unwrap_or(DEFAULT_PORT),
    }))
}
