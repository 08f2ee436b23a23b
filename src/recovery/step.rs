//! The only vocabulary of side effects: one command to the agent of one instance.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Address, Epoch, Incarnation, InstanceId, Lineage, Order, SystemIdentifier, Timeline,
    WalPosition,
};

/// One command to one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Whose agent carries it out.
    pub instance: InstanceId,
    /// Agents refuse what comes before the highest order they have admitted.
    pub order: Order,
    /// What to do.
    pub action: Action,
}

/// What an agent can be told to do. Every action is idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Say whether you would promise this epoch. Changes nothing.
    Ask {
        /// The epoch that would be burnt.
        epoch: Epoch,
    },
    /// Create the cluster's first data in an empty folder. The permit is recorded in Raft.
    Initialise {
        /// The filling it becomes.
        incarnation: Incarnation,
    },
    /// Promise to feed and obey nothing older; stop receiving, prove it, and say where the WAL ends.
    Fence,
    /// Become the primary on exactly this timeline.
    Promote {
        /// The number allocated by Raft; unused ones below are planted first.
        timeline: Timeline,
        /// The position that elected it: less means that the data changed since.
        at_least: WalPosition,
        /// To be in force before the first commit.
        synchronous_standby_names: String,
        /// Instances for which WAL is kept.
        members: BTreeSet<InstanceId>,
    },
    /// Stream from the source, without losing a byte of your own.
    Follow {
        /// Whom.
        source: Source,
    },
    /// Replace your data by the source's: rewind, else clone beside the renamed old data.
    Rebuild {
        /// From whom.
        source: Source,
        /// The filling it becomes.
        incarnation: Incarnation,
        /// Whether the old data must be kept whole: then it is cloned, never rewound.
        keep_old: bool,
    },
    /// Put these names in force on the primary.
    Configure {
        /// The recorded value of `synchronous_standby_names`.
        synchronous_standby_names: String,
        /// Instances for which WAL is kept.
        members: BTreeSet<InstanceId>,
    },
    /// Say where the primary's WAL ends now, so that `rejoining` must reach it.
    Locate {
        /// The instance that must catch up.
        rejoining: InstanceId,
    },
    /// Say what the database that was offered to be taken over holds, so that the cluster begins with it. The permit is
    /// recorded in Raft. A server that runs is not touched yet.
    TakeOver,
    /// Shut the primary down so that every standby that streams has all of its WAL, and say where that ends.
    ShutDown,
    /// Put these names in force on the primary, see every walsender run them, and have a commit acknowledged after that.
    Confirm {
        /// The recorded value of `synchronous_standby_names`, in which it can be read back who runs it.
        synchronous_standby_names: String,
        /// Instances for which WAL is kept.
        members: BTreeSet<InstanceId>,
    },
}

/// Whom to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The primary.
    pub instance: InstanceId,
    /// Where it answers.
    pub address: Address,
    /// Its database history.
    pub identity: Option<SystemIdentifier>,
    /// The epoch of the primary.
    pub epoch: Epoch,
    /// The name to stream under.
    pub application_name: String,
    /// Its branches: who holds WAL beside them cannot follow.
    pub lineage: Lineage,
}

impl Action {
    /// How long the leader waits for the outcome before it asks again. The agent's own deadlines are shorter
    /// or it goes on in the background; asking again joins the work under way.
    pub fn timeout(&self) -> Duration {
        match self {
            Action::Ask { .. } => Duration::from_millis(400),
            Action::Fence | Action::Locate { .. } | Action::Configure { .. } => {
                Duration::from_secs(2)
            }
            Action::Promote { .. } | Action::Follow { .. } | Action::Confirm { .. } => {
                Duration::from_secs(10)
            }
            // A checkpoint while it still serves, and then what is left.
            Action::ShutDown => Duration::from_secs(80),
            // One that does not run may have to recover from a crash first.
            Action::TakeOver => Duration::from_secs(600),
            // One read of a terabyte; a clone under way is never started twice.
            Action::Initialise { .. } | Action::Rebuild { .. } => Duration::from_secs(3600),
        }
    }

    /// One word for logs and the API.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Ask { .. } => "ask",
            Action::Initialise { .. } => "initialise",
            Action::Fence => "fence",
            Action::Promote { .. } => "promote",
            Action::Follow { .. } => "follow",
            Action::Rebuild { .. } => "rebuild",
            Action::Configure { .. } => "configure",
            Action::Locate { .. } => "locate",
            Action::TakeOver => "take over",
            Action::ShutDown => "shut down",
            Action::Confirm { .. } => "confirm",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({})",
            self.action.name(),
            self.instance,
            self.order
        )
    }
}
