//! The adapter to a database engine over SQL.
//!
//! It says what a session sees and carries out single acts. It decides nothing, and every call ends
//! within the deadline that it is given. What changes the instance takes an [`Admission`].

pub mod postgres;

use std::future::Future;
use std::time::Duration;

use crate::duty::Session;
use crate::gate::Admission;
use crate::model::{Epoch, Lsn, Timeline, WalPosition};

pub use postgres::{Endpoint, Postgres};

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
}

impl Reading {
    /// The timeline in force as far as SQL knows it; none on a standby that does not stream.
    pub fn timeline(&self) -> Option<Timeline> {
        let timeline = self.session.position.timeline;
        (timeline != Timeline::default()).then_some(timeline)
    }
}

/// What caused an error, without naming the client library here.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call over SQL failed. Only some of it says anything about whether the server lives.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Nothing listens where it should.
    #[error("nothing listens on its socket")]
    NobodyListens(#[source] Source),
    /// A live server that does not take sessions yet or any more (starting up, shutting down).
    #[error("it does not take sessions now: {0}")]
    NotNow(String),
    /// A live server that answers with a refusal: a bad password, too many connections, no right.
    #[error("it refuses: {0}")]
    Refused(String),
    /// The session ended before the answer.
    #[error("the session was lost")]
    Lost(#[source] Source),
    /// No answer within the deadline.
    #[error("no answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// An answer that is not understood.
    #[error("an answer that is not understood: {0}")]
    Odd(String),
    /// The commit stands locally and was not acknowledged by the standbys that it must wait for.
    #[error("the wait for the standbys was cancelled")]
    NotAcknowledged,
}

impl ProviderError {
    /// Whether this speaks for a dead server. Refusals are answers from a live one, and silence proves nothing.
    pub fn evidence_of_death(&self) -> bool {
        match self {
            ProviderError::NobodyListens(_) => true,
            ProviderError::NotNow(_)
            | ProviderError::Refused(_)
            | ProviderError::Lost(_)
            | ProviderError::Deadline(_)
            | ProviderError::Odd(_)
            | ProviderError::NotAcknowledged => false,
        }
    }

    /// Whether a live server said so.
    pub fn is_answer(&self) -> bool {
        match self {
            ProviderError::NotNow(_)
            | ProviderError::Refused(_)
            | ProviderError::Odd(_)
            | ProviderError::NotAcknowledged => true,
            ProviderError::NobodyListens(_)
            | ProviderError::Lost(_)
            | ProviderError::Deadline(_) => false,
        }
    }

    /// Whether a server that is starting or stopping said so.
    pub fn is_not_now(&self) -> bool {
        matches!(self, ProviderError::NotNow(_))
    }
}

/// What comes back from a provider.
pub type Result<T> = std::result::Result<T, ProviderError>;

/// One local instance of a database engine. `within` is the deadline of the whole call.
pub trait DatabaseProvider: Send + Sync + 'static {
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
    /// Writes a checkpoint and returns when it is complete.
    fn checkpoint(&self, within: Duration) -> impl Future<Output = Result<()>> + Send;
    /// Commits a message that waits for the synchronous standbys, for as long as that takes. Returns an
    /// LSN at or after the end of the commit.
    fn barrier(&self, epoch: Epoch) -> impl Future<Output = Result<Lsn>> + Send;
}
