//! The vocabulary of side effects over SQL: one act on one instance, idempotent, and looked at again afterwards.

use std::fmt;
use std::time::Duration;

use crate::model::{Address, InstanceId, Order, SyncPolicy, SyncRule, WalPosition};

/// One act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlStep {
    /// On whom.
    pub instance: InstanceId,
    /// The record that it was decided on.
    pub order: Order,
    /// What.
    pub action: SqlAction,
}

/// What can be done over SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlAction {
    /// Have a primary accept nothing more, by courtesy, and say where its WAL ends.
    Quiet,
    /// Take that back.
    Unquiet,
    /// Ask one that was the primary once to accept nothing more.
    Fence,
    /// Wait until a standby has received this.
    Await {
        /// Where it must get.
        to: WalPosition,
    },
    /// Have a standby receive nothing more, proven, and say where its WAL ends.
    Revoke,
    /// Make a revoked standby the primary.
    Promote {
        /// The position that elected it: less means that it is not who it was.
        at_least: WalPosition,
        /// To be in force before its first commit; none to leave what it has.
        sync: Option<SyncPolicy>,
        /// Where the old primary answers, in a change that was asked for: nobody is promoted unless it is quiet still.
        beside: Option<Address>,
    },
    /// Have a standby follow this one, and apply.
    Repoint {
        /// Where that one answers.
        to: Address,
    },
    /// Have a revoked standby follow whom it did before, and apply.
    Restore,
    /// Have a commit of the primary acknowledged under what it is seen to have, by processes that all go by it.
    Prove {
        /// What is counted on then.
        rule: SyncRule,
        /// As the server has it.
        policy: SyncPolicy,
    },
}

impl SqlAction {
    /// How long it may take, beside that its changes end before another peer can lead.
    pub fn timeout(&self) -> Duration {
        match self {
            SqlAction::Quiet | SqlAction::Unquiet | SqlAction::Fence => Duration::from_secs(2),
            // A receiver is there within half a second; one that cannot sign in never is.
            SqlAction::Await { .. } | SqlAction::Repoint { .. } => Duration::from_secs(5),
            SqlAction::Revoke | SqlAction::Promote { .. } | SqlAction::Restore => {
                Duration::from_secs(2)
            }
            // A second until its processes have settled, and as long as a program that archives WAL takes to tell how far it
            // is: ten seconds by default.
            SqlAction::Prove { .. } => Duration::from_secs(13),
        }
    }

    /// One word for logs and the API.
    pub fn name(&self) -> &'static str {
        match self {
            SqlAction::Quiet => "quiet",
            SqlAction::Unquiet => "unquiet",
            SqlAction::Fence => "fence",
            SqlAction::Await { .. } => "await",
            SqlAction::Revoke => "revoke",
            SqlAction::Promote { .. } => "promote",
            SqlAction::Repoint { .. } => "repoint",
            SqlAction::Restore => "restore",
            SqlAction::Prove { .. } => "prove",
        }
    }
}

impl fmt::Display for SqlStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.action.name();
        write!(f, "{name} {} ({})", self.instance, self.order)
    }
}
