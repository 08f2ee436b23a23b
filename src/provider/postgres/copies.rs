//! Which copy of its data a server holds, and slots there that nobody uses.

use super::call::Call;
use super::session::Session;
use crate::model::CopyMark;
use crate::provider::{ProviderError, Result};

/// A session asks again after so many looks, where the right was missing: it may have been granted meanwhile.
const AGAIN_AFTER: u64 = 64;

/// A copy and a restore write the first file anew; a base backup and a rewind leave the second one behind at their first
/// start. The server changes neither by itself, and when a file's entry was changed last nobody can set. `chown` and the like
/// change it too, and leave alone when the contents were written.
const STATEMENT: &str = "SELECT greatest(extract(epoch FROM version.change), extract(epoch FROM label.change))::bigint, \
                                greatest(extract(epoch FROM version.modification), extract(epoch FROM label.modification))::bigint \
                           FROM pg_stat_file('PG_VERSION', false) AS version, pg_stat_file('backup_label.old', true) AS label";
const MAY_ASK: &str = "SELECT has_function_privilege('pg_stat_file(text, boolean)', 'EXECUTE')";

/// The mark of the copy; none if the right to ask is missing. It stays for as long as the session does: another copy needs
/// another start of the server.
pub(super) async fn mark(session: &Session, call: &Call) -> Result<Option<CopyMark>> {
    if let Some(mark) = session.copy.get() {
        return Ok(Some(*mark));
    }
    if session.looks() % AGAIN_AFTER != 1 {
        return Ok(None);
    }
    let rows = session.ask(call, MAY_ASK).await?;
    if rows.first().and_then(|row| row.get(0)) != Some("t") {
        return Ok(None);
    }
    match session.ask(call, STATEMENT).await {
        Ok(rows) => {
            let number = |column| rows.first()?.get(column)?.parse().ok();
            let mark = number(0).zip(number(1));
            let mark = mark.map(|(changed, written)| CopyMark { changed, written });
            Ok(mark.map(|mark| *session.copy.get_or_init(|| mark)))
        }
        // It was taken away in between.
        Err(ProviderError::PermissionDenied { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
