//! What the replicated log holds: changes of clusters, of the peers themselves and of who may call.

use serde::{Deserialize, Serialize};

use crate::model::PeerId;
use crate::recovery::Rejection;

use super::{
    AccessCommand, AccessRefusal, Command, DirectiveCommand, FeatureLevel, HookCommand,
    PeersCommand, PeersRefusal, Reply, SqlCommand, State,
};

/// One entry of the log. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// About one cluster.
    Cluster(Command),
    /// About the peers.
    Peers(PeersCommand),
    /// About who may call.
    Access(AccessCommand),
    /// Every member speaks this feature level.
    Raise(FeatureLevel),
    /// About one cluster without agents.
    Sql(SqlCommand),
    /// What an operator says of automation.
    Directive(DirectiveCommand),
    /// What becomes of the user's programs.
    Hook(HookCommand),
    /// Something that older builds cannot read.
    #[cfg(feature = "mutants")]
    Trial(FeatureLevel),
}

/// What its proposer learns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Entry::Cluster`] and [`Entry::Sql`].
    Cluster(Reply),
    /// To [`Entry::Peers`]: the id that it is about.
    Peers(Result<PeerId, PeersRefusal>),
    /// To [`Entry::Access`].
    Access(Result<(), AccessRefusal>),
    /// To [`Entry::Raise`]: the level now.
    Raised(FeatureLevel),
    /// To [`Entry::Directive`] and [`Entry::Hook`].
    Directed(Result<(), Rejection>),
}

impl State {
    /// Applies one entry.
    pub fn apply_entry(&mut self, entry: Entry) -> Answer {
        match entry {
            Entry::Cluster(command) => Answer::Cluster(self.apply(command)),
            Entry::Peers(command) => Answer::Peers(self.peers.apply(command)),
            Entry::Access(command) => Answer::Access(self.access.apply(command)),
            Entry::Raise(level) => Answer::Raised(self.raise(level)),
            Entry::Sql(command) => Answer::Cluster(self.apply_sql(command)),
            Entry::Directive(command) => Answer::Directed(self.direct(command)),
            Entry::Hook(command) => Answer::Directed(self.hook(command)),
            #[cfg(feature = "mutants")]
            Entry::Trial(_) => Answer::Raised(self.level),
        }
    }
}
