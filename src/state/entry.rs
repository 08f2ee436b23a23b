//! What the replicated log holds: changes of clusters and of the peers themselves.

use serde::{Deserialize, Serialize};

use crate::model::PeerId;

use super::{Command, PeersCommand, PeersRefusal, Reply, State};

/// One entry of the log. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// About one cluster.
    Cluster(Command),
    /// About the peers.
    Peers(PeersCommand),
}

/// What its proposer learns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Entry::Cluster`].
    Cluster(Reply),
    /// To [`Entry::Peers`]: the id that it is about.
    Peers(Result<PeerId, PeersRefusal>),
}

impl State {
    /// Applies one entry.
    pub fn apply_entry(&mut self, entry: Entry) -> Answer {
        match entry {
            Entry::Cluster(command) => Answer::Cluster(self.apply(command)),
            Entry::Peers(command) => Answer::Peers(self.peers.apply(command)),
        }
    }
}
