//! The server beside an agent: what a session over its own socket sees, and single acts.
//!
//! Another thing than a [`super::DatabaseProvider`], which reaches any instance over the network: here one instance, as
//! its superuser, with an [`Admission`] for whatever changes it, and readings as duties need them.

use std::time::Duration;

use super::Result;
use crate::duty::Session;
use crate::gate::Admission;
use crate::model::{Epoch, Lsn, Timeline, WalPosition};

/// What one look over SQL shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What duties look at. Its `position.timeline` is zero on a standby that does not stream: SQL cannot say.
    pub session: Session,
    /// The process numbers of the walreceivers, connecting ones included.
    pub receiver_processes: Vec<i32>,
    /// The process number of the startup process, whose title names the segment that it replays.
    pub startup_process: Option<i32>,
    /// Whose commits are acknowledged before the standbys have flushed them, by which setting; empty on a standby.
    /// What a session sets for itself nobody else can see.
    pub weak_commits: Vec<String>,
    /// The end of the WAL flushed while streaming.
    pub received: Option<WalPosition>,
    /// How many sessions wait for standbys to acknowledge their commits.
    pub commits_waiting: u32,
    /// Whether a standby has applied every whole record that it received.
    pub has_applied_all: bool,
    /// The age of the last transaction that a standby has applied; none on a primary and before the first.
    pub applied_age: Option<Duration>,
}

impl Reading {
    /// The timeline in force as far as SQL knows it; none on a standby that does not stream.
    pub fn timeline(&self) -> Option<Timeline> {
        let timeline = self.session.position.timeline;
        (timeline != Timeline::default()).then_some(timeline)
    }
}

/// One local instance of a database engine. `within` is the deadline of the whole call.
pub trait LocalServer: Send + Sync + 'static {
    /// Looks through a new session, which alone shows the settings in force.
    fn look(&self, within: Duration) -> impl Future<Output = Result<Reading>> + Send;
    /// Looks through a session that is kept between calls: cheap, for reports.
    fn glance(&self, within: Duration) -> impl Future<Output = Result<Reading>> + Send;
    /// Asks for a promotion and returns at once.
    fn promote(&self, by: &Admission, within: Duration) -> impl Future<Output = Result<()>> + Send;
    /// Asks the replay of WAL to pause.
    fn pause_replay(
        &self,
        by: &Admission,
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Lets the replay of WAL go on.
    fn resume_replay(
        &self,
        by: &Admission,
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Keeps WAL for exactly these slots: makes those that are missing or lost, drops others of ours.
    fn keep_slots(
        &self,
        by: &Admission,
        slots: &[String],
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Makes roles of ours, in statements that hold passwords: none of them is logged, and they wait for no standby.
    fn make_roles(
        &self,
        by: &Admission,
        statements: &str,
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Proves that commits wait for standbys: one is seen to wait, and given up if it goes on waiting. Errors:
    /// [`super::ProviderError::Precondition`] if none is seen within that time.
    fn prove_waiting(
        &self,
        by: &Admission,
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Sees that every walsender runs these names, which must be in force for new sessions. It can be read back only from
    /// names with FIRST in which the first is nobody's. Errors: [`super::ProviderError::Precondition`] if one does not within
    /// that time.
    fn prove_senders(
        &self,
        names: &str,
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Commits a message that waits for the synchronous standbys. Errors: [`super::ProviderError::NotAcknowledged`] if they
    /// do not acknowledge it within that time; it is given up then.
    fn commit(&self, by: &Admission, within: Duration) -> impl Future<Output = Result<()>> + Send;
    /// Writes a checkpoint and returns when it is complete.
    fn checkpoint(&self, within: Duration) -> impl Future<Output = Result<()>> + Send;
    /// Commits a message that waits for the synchronous standbys, for as long as that takes. Returns an
    /// LSN at or after the end of the commit.
    fn barrier(&self, epoch: Epoch) -> impl Future<Output = Result<Lsn>> + Send;
}
