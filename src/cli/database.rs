//! What a database needs before it is looked after over SQL. Nothing here asks a peer.

use std::time::Duration;

use crate::model::Address;
use crate::output;
use crate::provider::postgres::{Login, Password, grants};
use crate::provider::{Postgres, ProviderError};
use crate::security::{DatabaseFiles, DatabaseTls, password_file};

use super::arguments::Preflight;
use super::{Exit, Failure};

/// A person waits; a server that takes longer is as good as none.
const WITHIN: Duration = Duration::from_secs(10);
const PORT: u16 = 5432;

pub(super) fn grants(role: &str) -> Result<(), Failure> {
    Ok(output::print(grants::script(role))?)
}

pub(super) async fn preflight(asked: Preflight) -> Result<(), Failure> {
    let of = address(&asked.host)?;
    let files = DatabaseFiles {
        authorities: asked.ssl_root_cert,
        own: asked.ssl_cert.zip(asked.ssl_key),
    };
    let mode = asked.ssl_mode.parse();
    let mode = mode.map_err(|error| usage(format!("--ssl-mode {error}")))?;
    let tls = DatabaseTls::read(mode, &files).map_err(|error| usage(error.to_string()))?;
    if let Some(path) = &asked.password_file {
        let unusable = |why| usage(format!("--password-file {}: {why}", path.display()));
        password_file(path).map_err(unusable)?;
    }
    let login = Login {
        user: asked.user,
        password: asked.password_file.map_or(Password::None, Password::File),
        database: asked.database,
        tls,
        application_name: "primacy".to_owned(),
    };
    let lacks = Postgres::new(login).preflight(&of, &[], WITHIN).await;
    let lacks = lacks.map_err(|error| unreachable(&of, &error))?;
    for lack in &lacks {
        let word = if lack.is_needed { "NEED" } else { "HINT" };
        output::line(format_args!("{word}  {}\n      {}", lack.what, lack.mend))?;
    }
    match lacks.iter().filter(|lack| lack.is_needed).count() {
        0 => {
            output::say(format_args!("{of} can be looked after over SQL"));
            Ok(())
        }
        count => Err(Failure {
            exit: Exit::Refused,
            text: format!("{of} lacks {count} of what is needed"),
            hint: Some(
                "as superuser: GRANT and ALTER ROLE on the primary, whose standbys receive them; ALTER SYSTEM and files on the \
                 server that was asked"
                    .to_owned(),
            ),
        }),
    }
}

/// `host` or `host:port`; an IPv6 address with a port in brackets. Without a port PostgreSQL's own.
fn address(text: &str) -> Result<Address, Failure> {
    let (host, port) = place(text)?;
    Ok(Address {
        host,
        port: port.unwrap_or(PORT),
    })
}

/// The same; no port if none is given.
pub(super) fn place(text: &str) -> Result<(String, Option<u16>), Failure> {
    let plain = |host: &str| {
        host.trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned()
    };
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => port
            .parse()
            .map(|port| (plain(host), Some(port)))
            .map_err(|_| usage(format!("'{port}' is no port"))),
        Some(_) | None => Ok((plain(text), None)),
    }
}

fn usage(text: String) -> Failure {
    Failure::new(Exit::Usage, text)
}

fn unreachable(of: &Address, error: &ProviderError) -> Failure {
    let mut text = format!("cannot ask {of}: {error}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    Failure::new(Exit::Failed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("db", "db:5432"),
            ("db:1", "db:1"),
            ("[::1]:1", "::1:1"),
            ("::1", "::1:5432"),
            ("/tmp", "/tmp:5432"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        assert!(address("db:x").is_err());
    }
}
