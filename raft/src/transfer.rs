//! Planned handover of leadership.
//!
//! From the start of a handover the old leader accepts no proposals, and if it fails the group waits for an
//! election. So it is only tried with a target that has everything but the last few entries.

use openraft::async_runtime::WatchReceiver;

use crate::{Consensus, StateMachine, TransferError, consensus::stopped};

/// A target that lacks more entries than this is not ready: one append carries them.
const MAX_BEHIND: u64 = crate::wire::MAX_APPEND_ENTRIES;

impl<S: StateMachine> Consensus<S> {
    /// Hands leadership to peer `to` and returns when this peer sees it lead; usually some 20 ms. Waits at most
    /// three times [`Timing::election_max`](crate::Timing).
    ///
    /// # Errors
    /// [`TransferError`]. Before [`TransferError::NotTaken`] nothing has changed.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), TransferError> {
        let status = self.status();
        if status.leader != Some(self.id()) {
            return Err(TransferError::NotLeader {
                leader: status.leader,
            });
        }
        if to == self.id() || !status.voters.contains(&to) {
            return Err(TransferError::NotAVoter { to });
        }
        let entries = self.entries_behind(to);
        if entries > MAX_BEHIND {
            return Err(TransferError::Behind { to, entries });
        }
        let mut view = self.watch();
        self.raft()
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|fatal| stopped(&fatal))?;
        let taken = view.wait_for(|view| view.leader == Some(to));
        match tokio::time::timeout(3 * self.timing().election_max, taken).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(TransferError::NotTaken { to }),
        }
    }

    /// How many entries of this leader's log peer `to` is not known to have.
    fn entries_behind(&self, to: u64) -> u64 {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|targets| *targets.get(&to)?);
        let count = |last: Option<u64>| last.map_or(0, |index| index + 1);
        count(metrics.last_log_index).saturating_sub(count(matched.map(|id| id.index)))
    }
}
