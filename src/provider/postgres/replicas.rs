//! Who receives from an instance, and what is kept there for nobody, as columns of a look.

use serde::de::DeserializeOwned;

use crate::model::ReplicaFacts;
use crate::provider::{ProviderError, Result};

/// Texts: JSON, because names are their users' and one column is to hold them all. Null if there is nobody.
pub(super) const COLUMNS: &str = "\
(SELECT json_agg(json_build_array(application_name, host(client_addr), state, sync_state, flush_lsn, replay_lsn)
                        ORDER BY application_name, pid)
          FROM pg_stat_replication AS sender
         WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE active_pid = sender.pid AND slot_type = 'logical'))::text,
       (SELECT json_agg(slot_name ORDER BY slot_name) FROM pg_replication_slots
         WHERE NOT active AND slot_type = 'physical' AND restart_lsn IS NOT NULL)::text";

/// What the columns say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Others {
    /// Who receives.
    pub replicas: Vec<ReplicaFacts>,
    /// Slots that keep WAL, and that nobody uses.
    pub unused_slots: Vec<String>,
}

type Row = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

fn read<T: DeserializeOwned>(what: &str, column: Option<&str>) -> Result<Vec<T>> {
    let read = column.map(serde_json::from_str).transpose();
    let read = read.map_err(|error| ProviderError::Parse(format!("{what}: {error}")))?;
    Ok(read.unwrap_or_default())
}

/// Reads them.
pub(crate) fn understand(replicas: Option<&str>, slots: Option<&str>) -> Result<Others> {
    let rows: Vec<Row> = read("who receives", replicas)?;
    let replica = |(name, host, state, sync_state, flushed, replayed): Row| ReplicaFacts {
        application_name: name.unwrap_or_default(),
        host,
        state: state.unwrap_or_default(),
        sync_state: sync_state.unwrap_or_default(),
        flushed: flushed.and_then(|it| it.parse().ok()),
        replayed: replayed.and_then(|it| it.parse().ok()),
    };
    Ok(Others {
        replicas: rows.into_iter().map(replica).collect(),
        unused_slots: read("unused slots", slots)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Lsn;

    #[test]
    fn names_are_their_users() {
        let text = r#"[["a\"b]", "10.0.0.1", "streaming", "quorum", "0/A0", "0/9"],
                       ["walreceiver", null, "startup", "async", null, null]]"#;
        let slots = r#"["s \"1"]"#;
        let others = understand(Some(text), Some(slots)).unwrap();
        assert_eq!(others.unused_slots, ["s \"1"]);
        let found = others.replicas;
        assert_eq!(found[0].application_name, "a\"b]");
        assert_eq!(
            (found[0].flushed, found[0].replayed),
            (Some(Lsn(0xA0)), Some(Lsn(9)))
        );
        assert_eq!((&found[1].host, found[1].flushed), (&None, None));
        let nobody = understand(None, None).unwrap();
        assert_eq!((nobody.replicas, nobody.unused_slots), (vec![], vec![]));
        assert!(understand(Some("[[1]]"), None).is_err());
        assert!(understand(None, Some("[[1]]")).is_err());
    }
}
