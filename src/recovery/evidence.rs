//! What came back from a step, recorded in Raft before the next decision.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{Incarnation, InstanceId, Lineage, Lsn, SystemIdentifier, WalPosition};

use super::proof::FenceProof;
use super::{Action, Step};

/// An instance's fsynced word to obey and feed nothing older than the epoch of the handover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The filling of the data folder that the promise speaks for.
    pub incarnation: Option<Incarnation>,
    /// The end of valid WAL on disk, scanned after the fence. A promise without it fences and does
    /// not count.
    pub position: Option<WalPosition>,
    /// Whether PostgreSQL still runs, so that it can be promoted without a start.
    pub running: bool,
}

/// Why data may be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grounds {
    /// These standbys, W of them, have flushed a commit of the present epoch.
    Copied {
        /// Who holds it.
        by: BTreeSet<InstanceId>,
    },
    /// Nobody else could hold a copy soon, so the old data is kept aside whole while a clone is made
    /// beside it.
    KeptAside,
    /// The data is not the filling that Raft counts, so no promise over it ever counted.
    Uncounted {
        /// The filling found.
        found: Option<Incarnation>,
    },
}

/// WAL that one instance has and nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// Where the history of the others left it.
    pub from: WalPosition,
    /// Where it ends.
    pub to: WalPosition,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// The first data of the cluster exists.
    Initialised {
        /// Where.
        instance: InstanceId,
        /// Its history.
        identity: SystemIdentifier,
        /// Where its WAL ends.
        position: WalPosition,
    },
    /// A voter promised.
    Promised {
        /// Who.
        instance: InstanceId,
        /// Its word.
        promise: Promise,
    },
    /// A candidate was chosen and the proof is complete.
    Elected {
        /// Who.
        candidate: InstanceId,
        /// Why no older primary can acknowledge anything.
        proof: FenceProof,
    },
    /// The candidate left recovery on the allocated timeline.
    Promoted {
        /// Who.
        instance: InstanceId,
        /// Its branches.
        lineage: Lineage,
    },
    /// The candidate cannot be promoted.
    CannotPromote {
        /// Who.
        instance: InstanceId,
        /// In its agent's words.
        why: String,
    },
    /// A standby streams from the primary.
    Following {
        /// Who.
        instance: InstanceId,
    },
    /// A standby holds WAL that the primary does not, or data that cannot follow.
    CannotFollow {
        /// Who.
        instance: InstanceId,
        /// In its agent's words.
        why: String,
    },
    /// A standby that should be repointed is away; it will rejoin later.
    LeftBehind {
        /// Who.
        instance: InstanceId,
    },
    /// The epoch's first commit was acknowledged under the recorded rule.
    FirstCommit {
        /// Where it ends.
        lsn: Lsn,
    },
    /// The instance's data may be destroyed.
    RebuildPermitted {
        /// Whose.
        instance: InstanceId,
        /// Why.
        grounds: Grounds,
    },
    /// The data was replaced.
    Rebuilt {
        /// Whose.
        instance: InstanceId,
        /// The filling it became.
        incarnation: Incarnation,
    },
    /// Where the primary's WAL ended after `instance` had come back.
    Located {
        /// Who must get there.
        instance: InstanceId,
        /// Where.
        target: Lsn,
    },
    /// A rejoined standby flushed past its target directly from the primary: its promise counts.
    Admitted {
        /// Who.
        instance: InstanceId,
        /// What it has flushed.
        flushed: WalPosition,
    },
    /// The cluster begins with a database that was there before.
    TakenOver {
        /// Where.
        instance: InstanceId,
        /// Its history.
        identity: SystemIdentifier,
        /// Where its WAL ends, or how far it had come by then.
        position: WalPosition,
        /// Whether it runs as a primary: then it goes on where it is, and is not promoted.
        serves: bool,
    },
    /// The primary was shut down for a switchover.
    ShutDown {
        /// Who.
        instance: InstanceId,
        /// Where its WAL ends.
        position: WalPosition,
    },
    /// The data was replaced, and what it held is kept.
    RebuiltKeeping {
        /// Whose.
        instance: InstanceId,
        /// The filling it became.
        incarnation: Incarnation,
        /// What is kept, and where, in its agent's words.
        kept: String,
        /// The WAL that nobody else had, if its ends could be found.
        apart: Option<Apart>,
    },
    /// Every walsender of the primary runs these names, and a commit was acknowledged after that.
    Confirmed {
        /// Who.
        instance: InstanceId,
        /// What was in force.
        synchronous_standby_names: String,
    },
}

/// The most bytes of an agent's words that are recorded: every peer keeps them, and every snapshot holds them.
const WORDS: usize = 1024;

impl Evidence {
    /// Whether an agent may say this when it is asked for `step`: an agent speaks for its own instance, of what it was asked
    /// for. The rest is the leader's to find out. An agent that says more is broken, or not the one that it was.
    pub fn answers(&self, step: &Step) -> bool {
        match (&step.action, self) {
            (Action::Initialise { .. }, Evidence::Initialised { instance, .. })
            | (Action::TakeOver, Evidence::TakenOver { instance, .. })
            | (Action::Fence, Evidence::Promised { instance, .. })
            | (
                Action::Promote { .. },
                Evidence::Promoted { instance, .. } | Evidence::CannotPromote { instance, .. },
            )
            | (
                Action::Follow { .. },
                Evidence::Following { instance } | Evidence::CannotFollow { instance, .. },
            )
            | (Action::ShutDown, Evidence::ShutDown { instance, .. }) => *instance == step.instance,
            (
                Action::Confirm {
                    synchronous_standby_names: asked,
                    ..
                },
                Evidence::Confirmed {
                    instance,
                    synchronous_standby_names: found,
                },
            ) => *instance == step.instance && asked == found,
            (
                Action::Rebuild { incarnation, .. },
                Evidence::Rebuilt {
                    instance,
                    incarnation: became,
                }
                | Evidence::RebuiltKeeping {
                    instance,
                    incarnation: became,
                    ..
                },
            ) => *instance == step.instance && became == incarnation,
            _ => false,
        }
    }

    /// The same with no more words than are kept.
    #[must_use]
    pub fn in_few_words(mut self) -> Evidence {
        if let Evidence::CannotPromote { why, .. }
        | Evidence::CannotFollow { why, .. }
        | Evidence::RebuiltKeeping { kept: why, .. } = &mut self
        {
            why.truncate(why.floor_char_boundary(WORDS));
        }
        self
    }

    /// The same as peers of older builds understand it.
    #[must_use]
    pub fn in_plain_words(self) -> Evidence {
        match self {
            Evidence::RebuiltKeeping {
                instance,
                incarnation,
                ..
            } => Evidence::Rebuilt {
                instance,
                incarnation,
            },
            other => other,
        }
    }

    /// The instance whose rejoin this may move on.
    pub(crate) fn of_rejoin(&self) -> Option<&InstanceId> {
        match self {
            Evidence::Following { instance }
            | Evidence::CannotFollow { instance, .. }
            | Evidence::RebuildPermitted { instance, .. }
            | Evidence::Rebuilt { instance, .. }
            | Evidence::RebuiltKeeping { instance, .. }
            | Evidence::Located { instance, .. }
            | Evidence::Admitted { instance, .. } => Some(instance),
            Evidence::Initialised { .. }
            | Evidence::TakenOver { .. }
            | Evidence::Promised { .. }
            | Evidence::Elected { .. }
            | Evidence::Promoted { .. }
            | Evidence::CannotPromote { .. }
            | Evidence::LeftBehind { .. }
            | Evidence::FirstCommit { .. }
            | Evidence::ShutDown { .. }
            | Evidence::Confirmed { .. } => None,
        }
    }
}

/// Why the state machine did not take a command. Not an error: the leader looks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// It was decided against another epoch.
    #[error("decided against another epoch than the present one")]
    Stale,
    /// It does not fit where the procedure stands.
    #[error("not expected in this phase")]
    WrongPhase,
    /// The proof does not hold.
    #[error("the proof does not hold: {0}")]
    Unproven(String),
    /// There is no such cluster or instance.
    #[error("{0} is not known")]
    Unknown(String),
    /// There is one of this name.
    #[error("{0} exists already")]
    Exists(String),
    /// It would contradict what is recorded.
    #[error("{0}")]
    Invalid(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{id, order};

    fn step(action: Action) -> Step {
        Step {
            instance: id("a"),
            order: order(3, 1),
            action,
        }
    }

    fn promised(instance: &str) -> Evidence {
        Evidence::Promised {
            instance: id(instance),
            promise: Promise {
                incarnation: None,
                position: None,
                running: true,
            },
        }
    }

    #[test]
    fn an_agent_speaks_for_itself_and_of_what_it_was_asked_for() {
        let fence = step(Action::Fence);
        assert!(promised("a").answers(&fence));
        assert!(!promised("b").answers(&fence));
        let initialise = step(Action::Initialise {
            incarnation: Incarnation(1),
        });
        assert!(!promised("a").answers(&initialise));
        let following = |name| Evidence::Following { instance: id(name) };
        assert!(!following("a").answers(&fence));
        // What the leader alone finds out.
        for evidence in [
            Evidence::LeftBehind { instance: id("a") },
            Evidence::FirstCommit { lsn: Lsn(7) },
            Evidence::RebuildPermitted {
                instance: id("a"),
                grounds: Grounds::KeptAside,
            },
            Evidence::Located {
                instance: id("a"),
                target: Lsn(7),
            },
        ] {
            assert!(!evidence.answers(&fence), "{evidence:?}");
            assert!(!evidence.answers(&initialise), "{evidence:?}");
        }
    }

    #[test]
    fn words_are_cut_between_characters() {
        let evidence = Evidence::CannotFollow {
            instance: id("a"),
            why: "é".repeat(WORDS),
        };
        let Evidence::CannotFollow { why, .. } = evidence.in_few_words() else {
            unreachable!("it stays what it is");
        };
        assert_eq!(why.len(), WORDS);
        assert!(why.chars().all(|it| it == 'é'));
    }
}
