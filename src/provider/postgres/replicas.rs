//! Who receives from an instance, as one column of a look.

use crate::model::ReplicaFacts;
use crate::provider::{ProviderError, Result};

/// A text: JSON, because names are their users' and one column is to hold them all. Null if there is nobody.
pub(super) const COLUMN: &str = "\
(SELECT json_agg(json_build_array(application_name, host(client_addr), state, sync_state, flush_lsn, replay_lsn)
                        ORDER BY application_name, pid)
          FROM pg_stat_replication AS sender
         WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE active_pid = sender.pid AND slot_type = 'logical'))::text";

type Row = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// What the column says.
pub(super) fn understand(column: Option<&str>) -> Result<Vec<ReplicaFacts>> {
    let Some(text) = column else {
        return Ok(vec![]);
    };
    let rows: Vec<Row> = serde_json::from_str(text)
        .map_err(|error| ProviderError::Parse(format!("who receives: {error}")))?;
    let replica = |(name, host, state, sync_state, flushed, replayed): Row| ReplicaFacts {
        application_name: name.unwrap_or_default(),
        host,
        state: state.unwrap_or_default(),
        sync_state: sync_state.unwrap_or_default(),
        flushed: flushed.and_then(|it| it.parse().ok()),
        replayed: replayed.and_then(|it| it.parse().ok()),
    };
    Ok(rows.into_iter().map(replica).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Lsn;

    #[test]
    fn names_are_their_users() {
        let text = r#"[["a\"b]", "10.0.0.1", "streaming", "quorum", "0/A0", "0/9"],
                       ["walreceiver", null, "startup", "async", null, null]]"#;
        let found = understand(Some(text)).unwrap();
        assert_eq!(found[0].application_name, "a\"b]");
        assert_eq!(
            (found[0].flushed, found[0].replayed),
            (Some(Lsn(0xA0)), Some(Lsn(9)))
        );
        assert_eq!((&found[1].host, found[1].flushed), (&None, None));
        assert_eq!(understand(None).unwrap(), []);
        assert!(understand(Some("[[1]]")).is_err());
    }
}
