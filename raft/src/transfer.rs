//! Planned handover of leadership.
//!
//! From the start of a handover the old leader accepts no proposals, and if it fails the group waits for an
//! election. So it is only tried with a target that has everything but the last few entries.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Consensus, StateMachine, TransferError, consensus::stopped, membership::MAX_BEHIND};

/// How long a leader that finds nobody to hand over to waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
        // From the attempt on this leader leads no more: it must not be made for one that is dead.
        if !self.present().lives(to) {
            return Err(TransferError::Silent { to });
        }
        let entries = self.present().behind(to);
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

    /// Hands leadership to whichever voter answers and misses the fewest entries, and says to whom. `None` if this
    /// peer does not lead. Waits at most `deadline` for a voter that is ready, and then as long as
    /// [`transfer_leadership`](Self::transfer_leadership).
    ///
    /// # Errors
    /// [`TransferError`]; [`TransferError::Nobody`] if no other voter answers.
    pub async fn hand_over(&self, deadline: Duration) -> Result<Option<u64>, TransferError> {
        let end = Instant::now() + deadline;
        loop {
            if self.status().leader != Some(self.id()) {
                return Ok(None);
            }
            let present = self.present();
            let refused = match present.successors().first() {
                None if present.has_heard_all() => return Err(TransferError::Nobody),
                None => TransferError::Nobody,
                Some(&to) => match self.transfer_leadership(to).await {
                    Ok(()) => return Ok(Some(to)),
                    // An election is under way, and this peer is not to win it.
                    Err(taken @ TransferError::NotTaken { .. }) => return Err(taken),
                    Err(error) => error,
                },
            };
            if Instant::now() + LOOK_AGAIN > end {
                return Err(refused);
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}
