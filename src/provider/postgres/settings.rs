//! Settings of a server, changed over SQL and seen to be in force.

use super::call::Call;
use super::session::Session;
use crate::provider::{ProviderError, Result};

/// A text as an SQL literal, whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', r"\\")),
        false => format!("'{quoted}'"),
    }
}

/// A right that is missing, in words that name it.
pub(super) fn needs(right: &str) -> impl FnOnce(ProviderError) -> ProviderError {
    let right = right.to_owned();
    move |error| match error {
        ProviderError::PermissionDenied { .. } => ProviderError::PermissionDenied { needs: right },
        other => other,
    }
}

/// Writes a setting and has the server read it. That it is in force is seen by looking again.
/// Errors: `PermissionDenied` before anything is written.
pub(super) async fn write(call: &Call, session: &Session, name: &str, value: &str) -> Result<()> {
    may_write(call, session, name).await?;
    call.changes();
    let statement = format!("ALTER SYSTEM SET {name} = {}", literal(value));
    let written = session.ask(call, &statement).await;
    written.map_err(needs(&format!("ALTER SYSTEM ON PARAMETER {name}")))?;
    let reloaded = session.ask(call, "SELECT pg_reload_conf()").await;
    reloaded.map_err(needs("EXECUTE ON FUNCTION pg_reload_conf()"))?;
    Ok(())
}

async fn may_write(call: &Call, session: &Session, name: &str) -> Result<()> {
    let needed = || ProviderError::PermissionDenied {
        needs: match session.version().is_ok_and(|it| it.grants_settings()) {
            true => format!("ALTER SYSTEM ON PARAMETER {name}"),
            false => format!("superuser, to change {name} before PostgreSQL 15"),
        },
    };
    let question = match session.version()?.grants_settings() {
        true => format!("SELECT has_parameter_privilege('{name}', 'ALTER SYSTEM')"),
        false => "SELECT current_setting('is_superuser') = 'on'".to_owned(),
    };
    let rows = session.ask(call, &question).await?;
    match rows.first().and_then(|row| row.get(0)) {
        Some("t") => Ok(()),
        _ => Err(needed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        for (text, expected) in [
            ("", "''"),
            ("it's", "'it''s'"),
            (r"a\'b", r"E'a\\''b'"),
            ("a; DROP", "'a; DROP'"),
        ] {
            assert_eq!(literal(text), expected);
        }
    }
}
