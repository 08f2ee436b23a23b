//! Changes are proposed under a key, so that one that is proposed again takes effect once.

use std::sync::atomic::{AtomicU64, Ordering};

use raft::{Key, Numbered, Once, ProposeError};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::clock;
use crate::model::{ClusterName, PeerId};
use crate::recovery::Rejection;
use crate::state::{
    AccessChange, AccessCommand, AccessRefusal, Answer, Change, Command, Directive,
    DirectiveCommand, Entry, FeatureLevel, HookChange, HookCommand, PeersChange, PeersCommand,
    PeersRefusal, Reply, SqlChange, SqlCommand,
};

use super::Peer;

/// What makes a change that is asked for again the same change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who asks, and for which of its changes.
    pub key: Key,
    /// A digest of what is asked for.
    pub about: u64,
    /// What the first peer that was asked had applied of the log then.
    pub since: u64,
}

/// Why a change was not recorded, or may not be.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// As the error says.
    #[error(transparent)]
    Proposal(#[from] ProposeError),
    /// It was asked for so long ago that whether it was made is no longer known.
    #[error("whether it was made before is no longer known")]
    Expired,
    /// Its key was used for something else.
    #[error("the key was used for another change")]
    KeyReused,
    /// Some peer may not understand it yet.
    #[error(
        "it needs feature level {needed}, the group has reached {reached}; upgrade all peers first"
    )]
    TooNew {
        /// Its level.
        needed: FeatureLevel,
        /// That of the group.
        reached: FeatureLevel,
    },
}

/// Numbers this peer's own changes.
pub(super) struct Origins {
    client: [u8; 16],
    next: AtomicU64,
}

impl Origins {
    /// Of this run of the process.
    pub(super) fn draw() -> Origins {
        Origins {
            client: draw(),
            next: AtomicU64::new(1),
        }
    }
}

/// Random bytes.
pub fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .expect("the kernel refuses nobody a few random bytes");
    bytes
}

/// What became of a change of what is recorded of the user's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hooked {
    /// It is recorded.
    Taken,
    /// The record had changed.
    Refused,
    /// It may be recorded, or not.
    Unknown,
}

impl Peer {
    /// The last index of the log that this peer has applied.
    pub fn applied_index(&self) -> u64 {
        let view = *self.consensus.watch().borrow();
        view.applied_index.unwrap_or(0)
    }

    /// Has a change of this peer's own recorded, stamped with its wall clock.
    pub async fn propose(
        &self,
        cluster: ClusterName,
        change: Change,
    ) -> Result<Reply, ProposeError> {
        match self.propose_as(self.own_origin(), cluster, change).await {
            Ok(reply) => Ok(reply),
            Err(NotRecorded::Proposal(error)) => Err(error),
            // No serial is used twice, none is kept for later, and no cluster's change is new.
            Err(NotRecorded::KeyReused | NotRecorded::Expired | NotRecorded::TooNew { .. }) => {
                Err(ProposeError::Unknown)
            }
        }
    }

    /// Has it recorded what becomes of the user's programs.
    pub(super) async fn propose_hook(&self, cluster: ClusterName, change: HookChange) -> Hooked {
        let at = clock::wall_millis();
        let command = HookCommand {
            cluster,
            at,
            change,
        };
        let recorded = self.record(self.own_origin(), Entry::Hook(command)).await;
        match recorded {
            Ok(Answer::Directed(Ok(()))) => Hooked::Taken,
            Ok(_) => Hooked::Refused,
            Err(_) => Hooked::Unknown,
        }
    }

    /// Has the feature level raised; answers what it is now.
    pub(super) async fn raise(&self, level: FeatureLevel) -> Result<FeatureLevel, NotRecorded> {
        match self.record(self.own_origin(), Entry::Raise(level)).await? {
            Answer::Raised(level) => Ok(level),
            Answer::Cluster(_) | Answer::Peers(_) | Answer::Access(_) | Answer::Directed(_) => {
                Err(NotRecorded::KeyReused)
            }
        }
    }

    /// Proposes what only builds of the next level can read.
    #[cfg(feature = "mutants")]
    pub(super) async fn try_next_level(&self) -> Result<(), NotRecorded> {
        let entry = Entry::Trial(crate::state::level::spoken());
        self.record(self.own_origin(), entry).await.map(|_| ())
    }

    fn own_origin(&self) -> Origin {
        let serial = self.origins.next.fetch_add(1, Ordering::Relaxed);
        Origin {
            key: Key {
                client: self.origins.client,
                serial,
            },
            about: serial,
            since: self.applied_index(),
        }
    }

    /// Has a change of a cluster recorded, once however often it is proposed.
    pub async fn propose_as(
        &self,
        origin: Origin,
        cluster: ClusterName,
        change: Change,
    ) -> Result<Reply, NotRecorded> {
        let at = clock::wall_millis();
        let command = Command {
            cluster,
            at,
            change,
        };
        match self.record(origin, Entry::Cluster(command)).await? {
            Answer::Cluster(reply) => Ok(reply),
            Answer::Peers(_) | Answer::Access(_) | Answer::Raised(_) | Answer::Directed(_) => {
                Err(NotRecorded::KeyReused)
            }
        }
    }

    /// Has a change of this peer's own recorded, of a cluster without agents.
    pub async fn propose_sql(
        &self,
        cluster: ClusterName,
        change: SqlChange,
    ) -> Result<Reply, NotRecorded> {
        self.propose_sql_as(self.own_origin(), cluster, change)
            .await
    }

    /// Has a change of a cluster without agents recorded, once however often it is proposed.
    pub async fn propose_sql_as(
        &self,
        origin: Origin,
        cluster: ClusterName,
        change: SqlChange,
    ) -> Result<Reply, NotRecorded> {
        let at = clock::wall_millis();
        let command = SqlCommand {
            cluster,
            at,
            change,
        };
        match self.record(origin, Entry::Sql(command)).await? {
            Answer::Cluster(reply) => Ok(reply),
            Answer::Peers(_) | Answer::Access(_) | Answer::Raised(_) | Answer::Directed(_) => {
                Err(NotRecorded::KeyReused)
            }
        }
    }

    /// Has a change of the peers recorded, once however often it is proposed.
    pub async fn propose_peers(
        &self,
        origin: Origin,
        change: PeersChange,
    ) -> Result<Result<PeerId, PeersRefusal>, NotRecorded> {
        let at = clock::wall_millis();
        let command = PeersCommand { at, change };
        match self.record(origin, Entry::Peers(command)).await? {
            Answer::Peers(reply) => Ok(reply),
            Answer::Cluster(_) | Answer::Access(_) | Answer::Raised(_) | Answer::Directed(_) => {
                Err(NotRecorded::KeyReused)
            }
        }
    }

    /// Has a change of who may call recorded, once however often it is proposed.
    pub async fn propose_access(
        &self,
        origin: Origin,
        change: AccessChange,
    ) -> Result<Result<(), AccessRefusal>, NotRecorded> {
        let at = clock::wall_millis();
        let command = AccessCommand { at, change };
        match self.record(origin, Entry::Access(command)).await? {
            Answer::Access(reply) => Ok(reply),
            Answer::Cluster(_) | Answer::Peers(_) | Answer::Raised(_) | Answer::Directed(_) => {
                Err(NotRecorded::KeyReused)
            }
        }
    }

    /// Has what an operator says recorded, once however often it is proposed.
    pub async fn propose_directive(
        &self,
        origin: Origin,
        change: Directive,
    ) -> Result<Result<(), Rejection>, NotRecorded> {
        let at = clock::wall_millis();
        let command = DirectiveCommand { at, change };
        match self.record(origin, Entry::Directive(command)).await? {
            Answer::Directed(reply) => Ok(reply),
            Answer::Cluster(_) | Answer::Peers(_) | Answer::Access(_) | Answer::Raised(_) => {
                Err(NotRecorded::KeyReused)
            }
        }
    }

    async fn record(&self, origin: Origin, command: Entry) -> Result<Answer, NotRecorded> {
        let (needed, reached) = (command.level(), self.consensus.read(|state| state.level));
        if needed > reached {
            return Err(NotRecorded::TooNew { needed, reached });
        }
        let Origin { key, about, since } = origin;
        let numbered = Numbered {
            key,
            about,
            since,
            command,
        };
        match self.consensus.propose(numbered).await?.reply {
            Once::Applied(answer) => Ok(answer),
            Once::Expired => Err(NotRecorded::Expired),
            Once::Reused => Err(NotRecorded::KeyReused),
        }
    }
}
