//! A commit that shows whether the disk takes writes.
//!
//! It leaves one record of some 50 bytes in the log and nothing in any table. It waits for this server's own disk and for no
//! standby, so that it says nothing of these.

use std::time::Duration;

use super::call::Call;
use super::remote::Postgres;
use crate::model::{Address, Role};
use crate::provider::{ProviderError, Result};

/// Whoever decodes the log sees a message under this name, and may pass it over.
const STATEMENT: &str = "BEGIN; SET LOCAL transaction_read_only = off; SET LOCAL synchronous_commit = local; \
     SELECT pg_logical_emit_message(true, 'primacy', ''); COMMIT";

/// A server that does not let a session in by then says nothing of its disk: well below the time after which a commit that
/// was sent does.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

impl Postgres {
    /// A session of its own: one that waits for a disk can be neither cancelled nor ended.
    pub(super) async fn commit_something(&self, of: &Address, within: Duration) -> Result<()> {
        let call = Call::begin("commit something", within);
        let opening = Call::begin("open a session for a commit", within.min(OPEN_WITHIN));
        let opened = async {
            let session = self.open(&opening, of).await?;
            let rows = session.ask(&opening, "SELECT pg_is_in_recovery()").await?;
            match rows.first().and_then(|row| row.get(0)) {
                Some("f") => Ok(session),
                Some(_) | None => Err(ProviderError::WrongRole {
                    found: Role::Standby,
                }),
            }
        };
        let session = opening.run(opened).await?;
        call.run(async {
            call.changes();
            session.ask(&call, STATEMENT).await.map(drop)
        })
        .await
    }
}
