//! Why a call of a provider failed, and the three questions that every caller asks of it.

use std::fmt;
use std::time::Duration;

use crate::model::{Epoch, Role, Timeline, WalPosition};

/// What caused an error, without naming a client library here.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What comes back from a provider.
pub type Result<T> = std::result::Result<T, ProviderError>;

/// How far a call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Asking for the addresses of a name.
    Dns,
    /// Opening the connection, over TCP or a Unix socket.
    Tcp,
    /// Waiting for the first word of the server, and being let in.
    Startup,
    /// Agreeing on TLS.
    Tls,
    /// In a session.
    Query,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Dns => "its name has no address",
            Phase::Tcp => "nothing accepts connections there",
            Phase::Startup => "the connection ended before the session began",
            Phase::Tls => "TLS cannot be agreed on",
            Phase::Query => "the session was lost",
        })
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was changed and nothing will be.
    NotApplied,
    /// It was seen to be in force.
    Applied,
    /// It may be in force, or come into force later.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::NotApplied => "nothing was changed",
            Outcome::Applied => "it was changed",
            Outcome::Unknown => "it is not known whether anything was changed",
        })
    }
}

/// Why a call failed. No variant holds a secret: what a server says about a statement that has one is left out.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// There was no session, or it ended.
    #[error("{phase}")]
    Unreachable {
        /// How far it got.
        phase: Phase,
        /// The system's words.
        #[source]
        source: Source,
    },
    /// No answer in time.
    #[error("{operation}: no answer within {} ms ({outcome})", .within.as_millis())]
    Timeout {
        /// What was done.
        operation: &'static str,
        /// Its deadline.
        within: Duration,
        /// How far it got.
        phase: Phase,
        /// What became of it.
        outcome: Outcome,
    },
    /// A live server that has no room.
    #[error("it has too many connections: {0}")]
    TooManyConnections(String),
    /// A live server that takes no sessions yet.
    #[error("it does not take sessions now: {0}")]
    StartingUp(String),
    /// A server that is being stopped, or that ended our session.
    #[error("it does not take sessions now: {0}")]
    ShuttingDown(String),
    /// A live server that does not let us in.
    #[error("it refuses: {0}")]
    AuthFailed(String),
    /// A right is missing.
    #[error("a right is missing: {needs}")]
    PermissionDenied {
        /// Which, as far as the server says.
        needs: String,
    },
    /// It is something else than what this may be done to.
    #[error("it is {found}")]
    WrongRole {
        /// What it is.
        found: Role,
    },
    /// It is on a branch where the position need not be.
    #[error("it is on timeline {found}, where position {wanted} need not be")]
    Diverged {
        /// Its branch.
        found: Timeline,
        /// What was asked for.
        wanted: WalPosition,
    },
    /// The source has removed WAL that is needed.
    #[error("the source has no WAL from {wanted} on any more")]
    MissingWal {
        /// From where on.
        wanted: WalPosition,
    },
    /// It is not where it should be yet.
    #[error("it is {behind_bytes} bytes behind")]
    NotCaughtUp {
        /// What is missing.
        behind_bytes: u64,
    },
    /// A newer epoch has acted.
    #[error("epoch {current} has acted since")]
    FencedOut {
        /// The newest.
        current: Epoch,
    },
    /// Only an agent on the host can do it.
    #[error("{operation} needs an agent on the host")]
    AgentRequired {
        /// What was asked for.
        operation: &'static str,
    },
    /// The engine or its version has no such thing.
    #[error("{operation} is not supported{}", .why.map(|why| format!(": {why}")).unwrap_or_default())]
    Unsupported {
        /// What was asked for.
        operation: &'static str,
        /// Why, if there is more to say.
        why: Option<&'static str>,
    },
    /// Something must be done before; nothing was changed.
    #[error("{0}")]
    Precondition(String),
    /// Any other refusal of a live server.
    #[error("it refuses: {message} ({sqlstate})")]
    Server {
        /// PostgreSQL's manual, appendix A.
        sqlstate: String,
        /// Its words.
        message: String,
    },
    /// An answer that is not understood.
    #[error("an answer that is not understood: {0}")]
    Parse(String),
    /// The commit stands locally and was not acknowledged by the standbys that it must wait for.
    #[error("the wait for the standbys was cancelled")]
    NotAcknowledged,
}

impl ProviderError {
    /// Whether this speaks for a dead server: nobody was there, or nobody said a first word. A refusal is an answer from
    /// a live one; a name without an address or a certificate that is not trusted says nothing; and a session that ends
    /// may have been ended. No failover rests on one such word alone.
    pub fn evidence_of_death(&self) -> bool {
        match self {
            ProviderError::Unreachable { phase, .. } | ProviderError::Timeout { phase, .. } => {
                matches!(phase, Phase::Tcp | Phase::Startup)
            }
            _ => false,
        }
    }

    /// Whether nobody accepts connections there.
    pub fn nobody_listens(&self) -> bool {
        matches!(
            self,
            ProviderError::Unreachable {
                phase: Phase::Tcp,
                ..
            }
        )
    }

    /// Whether the same call may succeed later although nothing else was done. False where it must be looked first what
    /// became of it.
    pub fn retryable(&self) -> bool {
        match self {
            ProviderError::Unreachable { phase, .. } => *phase != Phase::Query,
            ProviderError::Timeout { outcome, .. } => *outcome == Outcome::NotApplied,
            ProviderError::TooManyConnections(_)
            | ProviderError::StartingUp(_)
            | ProviderError::ShuttingDown(_)
            | ProviderError::NotCaughtUp { .. } => true,
            ProviderError::AuthFailed(_)
            | ProviderError::PermissionDenied { .. }
            | ProviderError::WrongRole { .. }
            | ProviderError::Diverged { .. }
            | ProviderError::MissingWal { .. }
            | ProviderError::FencedOut { .. }
            | ProviderError::AgentRequired { .. }
            | ProviderError::Unsupported { .. }
            | ProviderError::Precondition(_)
            | ProviderError::Server { .. }
            | ProviderError::Parse(_)
            | ProviderError::NotAcknowledged => false,
        }
    }

    /// Whether a change may have been made, so that the instance must be read again before anything else. Says nothing
    /// of a call that only reads.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            ProviderError::Unreachable { phase, .. } => *phase == Phase::Query,
            ProviderError::Timeout { outcome, .. } => *outcome == Outcome::Unknown,
            // Our own session was ended: what it did last may stand.
            ProviderError::ShuttingDown(_) => true,
            _ => false,
        }
    }

    /// Whether a live server said so.
    pub fn is_answer(&self) -> bool {
        !matches!(
            self,
            ProviderError::Unreachable { .. } | ProviderError::Timeout { .. }
        )
    }

    /// Whether a server that is starting or stopping said so.
    pub fn is_not_now(&self) -> bool {
        matches!(
            self,
            ProviderError::StartingUp(_) | ProviderError::ShuttingDown(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_error_says() {
        let unreachable = |phase| ProviderError::Unreachable {
            phase,
            source: "x".into(),
        };
        let timeout = |phase, outcome| ProviderError::Timeout {
            operation: "promote",
            within: Duration::from_secs(1),
            phase,
            outcome,
        };
        let words = || "x".to_owned();
        // Evidence of death, worth another try, must be looked at again.
        for (error, expected) in [
            (unreachable(Phase::Dns), (false, true, false)),
            (unreachable(Phase::Tcp), (true, true, false)),
            (unreachable(Phase::Startup), (true, true, false)),
            (unreachable(Phase::Tls), (false, true, false)),
            (unreachable(Phase::Query), (false, false, true)),
            (
                timeout(Phase::Tcp, Outcome::NotApplied),
                (true, true, false),
            ),
            (
                timeout(Phase::Startup, Outcome::NotApplied),
                (true, true, false),
            ),
            (
                timeout(Phase::Query, Outcome::NotApplied),
                (false, true, false),
            ),
            (
                timeout(Phase::Query, Outcome::Unknown),
                (false, false, true),
            ),
            (
                ProviderError::TooManyConnections(words()),
                (false, true, false),
            ),
            (ProviderError::StartingUp(words()), (false, true, false)),
            (ProviderError::ShuttingDown(words()), (false, true, true)),
            (ProviderError::AuthFailed(words()), (false, false, false)),
            (
                ProviderError::WrongRole {
                    found: Role::Primary,
                },
                (false, false, false),
            ),
            (
                ProviderError::NotCaughtUp { behind_bytes: 1 },
                (false, true, false),
            ),
        ] {
            let found = (
                error.evidence_of_death(),
                error.retryable(),
                error.outcome_unknown(),
            );
            assert_eq!(found, expected, "{error}");
        }
    }
}
