//! What an error of the client library means. The one place that knows SQLSTATEs.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use crate::provider::{Phase, ProviderError};
use crate::security;

/// Of a call that got as far as `phase`.
pub(super) fn failure(error: tokio_postgres::Error, phase: Phase) -> ProviderError {
    if let Some(said) = error.as_db_error() {
        return refusal(said.code().code(), said.message());
    }
    // A server's last word of a handshake comes with the first read of the session.
    if security::refusal(&error).is_some() {
        return ProviderError::Unreachable {
            phase: Phase::Tls,
            source: error.into(),
        };
    }
    let io = error.source().and_then(|it| it.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(ErrorKind::ConnectionRefused | ErrorKind::NotFound) => ProviderError::Unreachable {
            phase: Phase::Tcp,
            source: error.into(),
        },
        // Whatever listens there, it is no PostgreSQL.
        Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) => {
            ProviderError::Parse(words(&error))
        }
        None if phase == Phase::Startup && !error.is_closed() => {
            // What the library itself refuses: a method that it has not.
            ProviderError::AuthFailed(words(&error))
        }
        Some(_) | None => ProviderError::Unreachable {
            phase,
            source: error.into(),
        },
    }
}

/// Whether the server asked for a password and the library was given none.
pub(super) fn lacks_password(error: &tokio_postgres::Error) -> bool {
    let is_it = |source: &dyn std::error::Error| source.to_string() == "password missing";
    error.source().is_some_and(is_it)
}

fn words(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether a live server ended the statement: at its deadline, or for somebody who asked for it.
pub(super) fn was_cancelled(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Server { sqlstate, .. } if sqlstate == "57014")
}

/// Whether an error says that the session was over before it was asked anything, or since.
pub(super) fn has_ended(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Unreachable {
            phase: Phase::Query | Phase::Tls,
            ..
        } | ProviderError::ShuttingDown(_)
    )
}

/// What a server's refusal means (PostgreSQL's manual, appendix A).
fn refusal(sqlstate: &str, message: &str) -> ProviderError {
    let message = message.to_owned();
    match sqlstate {
        "53300" => ProviderError::TooManyConnections(message),
        // One code for starting, stopping and recovering; only the words differ, in the server's language.
        "57P03" if message.contains("shutting down") => ProviderError::ShuttingDown(message),
        "57P03" => ProviderError::StartingUp(message),
        "57P01" | "57P02" => ProviderError::ShuttingDown(message),
        "42501" => ProviderError::PermissionDenied { needs: message },
        code if code.starts_with("28") => ProviderError::AuthFailed(message),
        code => ProviderError::Server {
            sqlstate: code.to_owned(),
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_no_evidence_of_death() {
        for (sqlstate, retryable) in [
            ("53300", true),
            ("57P03", true),
            ("57P01", true),
            ("28P01", false),
            ("28000", false),
            ("42501", false),
            ("3D000", false),
            ("57014", false),
            ("XX000", false),
        ] {
            let error = refusal(sqlstate, "x");
            assert!(error.is_answer() && !error.evidence_of_death(), "{error}");
            assert_eq!(error.retryable(), retryable, "{error}");
        }
        let stopping = refusal("57P03", "the database system is shutting down");
        assert!(matches!(stopping, ProviderError::ShuttingDown(_)));
    }
}
