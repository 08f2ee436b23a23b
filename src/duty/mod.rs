//! What an agent does about one command, as functions of what it sees on its own host.
//!
//! The same pattern as on the leader: the shell observes ([`Local`]), a duty says the one thing to do
//! now ([`Act`]), the shell does it and looks again. Duties are level-triggered: an agent that was
//! restarted in the middle starts the duty anew and continues where the host stands. They never read a
//! clock and never touch PostgreSQL, so the simulator runs them unchanged.

pub mod backing;
pub mod confirm;
pub mod fence;
pub mod follow;
pub mod gate;
pub mod lease;
pub mod local;
pub mod probe;
pub mod promote;
pub mod rebuild;
pub mod shut_down;
pub mod takeover;
pub mod tenure;
pub mod watch;

use std::collections::BTreeSet;

use crate::model::{Answer, Incarnation, InstanceId, Lsn, Order, Timeline, Timestamp};
use crate::recovery::{Action, Evidence, Source};

pub use backing::{Backing, NoWord, Word};
pub use confirm::Confirming;
pub use fence::Fencing;
pub use follow::Following;
pub use gate::{PromiseRecord, Refusal};
pub use lease::Lease;
pub use local::{Data, Local, Replay, Session, SourceSeen};
pub use probe::WriteProbe;
pub use promote::Promoting;
pub use rebuild::Rebuilding;
pub use shut_down::ShuttingDown;
pub use takeover::{How, Offer, TakingOver};
pub use tenure::Tenure;

/// One thing to do on the host now. Each is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Look again after a moment.
    Look,
    /// Kill every process of the instance, repeated until none is left; then remove its `promote` file, or
    /// remember that it may be there.
    StopAll,
    /// Put an empty `primary_conninfo` and `restore_command` in force and reload.
    EmptySources,
    /// `pg_wal_replay_pause()`.
    PauseReplay,
    /// `pg_wal_replay_resume()`.
    ResumeReplay,
    /// SIGTERM every walreceiver.
    TerminateReceivers,
    /// Scan for the end of valid WAL and then finish with a promise.
    ScanThenPromise,
    /// Ask the leader for the lease of this order, at once.
    Renew,
    /// Write comment-only history files for every unused timeline number below this one.
    Plant {
        /// The number that the promotion must take.
        below: Timeline,
    },
    /// Put these settings of a primary in force and reload.
    ConfigurePrimary {
        /// The recorded `synchronous_standby_names`.
        synchronous_standby_names: String,
        /// Instances for which WAL is kept in slots.
        members: BTreeSet<InstanceId>,
    },
    /// Start with `standby.signal`; from a source, or from none.
    StartStandby {
        /// Whom to follow.
        source: Option<Source>,
    },
    /// Put the source in force on a running standby: settings, reload.
    PointAt {
        /// Whom to follow.
        source: Source,
    },
    /// Persist that a promotion was asked for, then `pg_promote(false)`.
    AskPromotion,
    /// Create the cluster's first data, under the permit.
    Initialise {
        /// The filling it becomes.
        incarnation: Incarnation,
    },
    /// Forget which filling the data is, then rewind it to the source's history.
    Rewind {
        /// From whom.
        source: Source,
    },
    /// Clone the source beside the data, then rename the old data aside.
    Clone {
        /// From whom.
        source: Source,
    },
    /// Record which filling the data became, with this instance's own settings in place.
    Settle {
        /// The filling.
        incarnation: Incarnation,
        /// Whom it will follow.
        source: Source,
    },
    /// Make the database that was offered this agent's: roles, settings, who may connect, and last the note of which filling
    /// it is. A server that runs goes on.
    TakeIn(How),
    /// See that every walsender runs these names.
    ProveSenders {
        /// Names in which that can be read back.
        synchronous_standby_names: String,
    },
    /// Have an empty commit acknowledged by the standbys.
    Commit,
    /// Prove that commits wait for standbys: that the names are in force for every session that does not say otherwise, those
    /// of before included.
    ProveWaiting,
    /// Write a checkpoint, while clients go on.
    Checkpoint,
    /// Tell a primary to end its sessions, to write its last checkpoint and to end once every standby that streams has it;
    /// not waited for.
    ShutDown,
    /// The command is carried out.
    Finish(Outcome),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// To be recorded.
    Evidence(Evidence),
    /// Done; reports show it.
    Done,
    /// The answer to a question.
    Answer(Answer),
    /// Where the primary's WAL ends.
    At(Lsn),
    /// The gate did not admit it.
    Refused(Refusal),
    /// It failed, in words for the operator; the leader tries again.
    Failed(String),
}

/// A command that was admitted, with how far it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// Promise, stop receiving, say where the WAL ends.
    Fence(Fencing),
    /// Become the primary.
    Promote(Promoting),
    /// Stream from the source.
    Follow(Following),
    /// Replace the data.
    Rebuild(Rebuilding),
    /// Create the first data.
    Initialise(rebuild::Initialising),
    /// Keep these names in force.
    Configure(promote::Configuring),
    /// Say what the cluster begins with.
    TakeOver(TakingOver),
    /// Shut the primary down for a switchover.
    ShutDown(ShuttingDown),
    /// Put a stronger durability in force, and prove it.
    Confirm(Confirming),
}

impl Duty {
    /// The duty for an action; none for a question that is answered at once.
    pub fn new(action: &Action, order: Order, now: Timestamp) -> Option<Duty> {
        Some(match action {
            Action::Ask { .. } | Action::Locate { .. } => return None,
            Action::Fence => Duty::Fence(Fencing::new(now)),
            Action::Promote {
                timeline,
                at_least,
                synchronous_standby_names,
                members,
            } => Duty::Promote(Promoting {
                order,
                asked_at: None,
                failing: None,
                failed: None,
                waiting: promote::Waiting::Unknown,
                members: members.clone(),
                timeline: *timeline,
                at_least: *at_least,
                synchronous_standby_names: synchronous_standby_names.clone(),
            }),
            Action::Follow { source } => Duty::Follow(Following {
                source: source.clone(),
            }),
            Action::Rebuild {
                source,
                incarnation,
                keep_old,
            } => Duty::Rebuild(Rebuilding::new(source.clone(), *incarnation, *keep_old)),
            Action::Initialise { incarnation } => Duty::Initialise(rebuild::Initialising {
                incarnation: *incarnation,
            }),
            Action::Configure {
                synchronous_standby_names,
                members,
            } => Duty::Configure(promote::Configuring {
                synchronous_standby_names: synchronous_standby_names.clone(),
                members: members.clone(),
            }),
            Action::TakeOver => Duty::TakeOver(TakingOver),
            Action::ShutDown => Duty::ShutDown(ShuttingDown::new(order)),
            Action::Confirm {
                synchronous_standby_names,
                members,
            } => Duty::Confirm(Confirming {
                order,
                synchronous_standby_names: synchronous_standby_names.clone(),
                members: members.clone(),
                proven: confirm::Proven::Nothing,
            }),
        })
    }

    /// The one thing to do now.
    pub fn next(&mut self, local: &Local) -> Act {
        if let Some(act) = takeover::about(self, local) {
            return act;
        }
        match self {
            Duty::Fence(duty) => duty.next(local),
            Duty::Promote(duty) => duty.next(local),
            Duty::Follow(duty) => duty.next(local),
            Duty::Rebuild(duty) => duty.next(local),
            Duty::Initialise(duty) => duty.next(local),
            Duty::Configure(duty) => duty.next(local),
            Duty::TakeOver(duty) => duty.next(local),
            Duty::ShutDown(duty) => duty.next(local),
            Duty::Confirm(duty) => duty.next(local),
        }
    }

    /// Whether this is a shutdown, and PostgreSQL was told to go down; none if it is something else.
    pub fn shuts_down(&self) -> Option<bool> {
        match self {
            Duty::ShutDown(duty) => Some(duty.is_told()),
            Duty::Fence(_)
            | Duty::Promote(_)
            | Duty::Follow(_)
            | Duty::Rebuild(_)
            | Duty::Initialise(_)
            | Duty::Configure(_)
            | Duty::TakeOver(_)
            | Duty::Confirm(_) => None,
        }
    }

    /// What failed: a rewind that cannot work makes way for a clone, and what was copied is noted again, because
    /// otherwise it would be copied again; a promotion goes on until it has failed for long; anything else ends the
    /// duty.
    pub fn failed(&mut self, act: &Act, why: &str) -> Option<Outcome> {
        match self {
            Duty::Rebuild(duty) if matches!(act, Act::Rewind { .. }) => {
                duty.rewind_failed(why);
                None
            }
            Duty::Rebuild(_) if matches!(act, Act::Settle { .. }) => None,
            Duty::Rebuild(duty) => Some(Outcome::Failed(duty.failure(why))),
            Duty::Promote(duty) if *act == Act::ProveWaiting => {
                duty.note_not_waiting();
                None
            }
            Duty::Promote(_) if matches!(act, Act::TakeIn(_)) => None,
            Duty::Promote(duty) => {
                duty.note_failure(why);
                None
            }
            Duty::Fence(duty) if !matches!(act, Act::StopAll | Act::ScanThenPromise) => {
                duty.must_stop();
                None
            }
            _ => Some(Outcome::Failed(why.to_owned())),
        }
    }
}
