//! Procedures as types. A procedure says what to do next from what is recorded and what is seen, and
//! how recorded evidence moves it on. It never acts and never waits: a leader that takes over runs the
//! same function on the same record and continues at the same line.

pub mod evidence;
pub mod handover;
pub mod mutation;
pub mod proof;
pub mod reason;
pub mod rejoin;
pub mod sql_only;
pub mod step;

pub use evidence::{Evidence, Grounds, Promise, Rejection};
pub use handover::Handover;
#[cfg(feature = "mutants")]
pub use mutation::Mutation;
pub use proof::FenceProof;
pub use reason::Reason;
pub use rejoin::Rejoin;
pub use step::{Action, Source, Step};

/// A command that failed is not repeated before this has passed: the cause seldom goes away sooner, and
/// an operator must be able to read it.
pub const RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(500);

/// What a procedure wants now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Carry these out; the same ones may be asked for again until their evidence is recorded.
    Run(Vec<Step>),
    /// Record what is already proven.
    Record(Evidence),
    /// Nothing can be done yet, and why.
    Wait(Reason),
    /// Nothing new can be done, and why; these are carried out again, because they may bring more now.
    AskAgain(Reason, Vec<Step>),
    /// The procedure cannot succeed any more, and why.
    GiveUp(Reason),
}
