//! Who is a member, changed while the group works.
//!
//! Every change is one entry of the log that adds or removes one peer, never a joint membership: two groups of voters
//! that differ by one share a voter in every majority. openraft writes it only while the change before it is committed
//! and this leader has committed an entry of its own, which closes the known hole of such changes; and only over the
//! membership that was looked at here.
//!
//! A change is refused, with the reason, unless the group that results from it has a majority among the voters that
//! answered this leader a moment ago. So no change leads into a state without a quorum. To replace a dead peer, add the
//! new one, promote it once it has caught up, and remove the dead one.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use openraft::{
    BasicNode, ChangeMembers, EntryPayload, Instant, Membership, RaftMetrics,
    async_runtime::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
    raft::{ClientWriteResponse, Precondition},
};
use tokio::time::timeout;

use crate::{
    Consensus, StateMachine, Stopped, TransferError,
    consensus::stopped,
    types::{StoredMembership, TypeConfig},
};

/// A peer that lacks more entries than this has not caught up: one append carries them.
pub(crate) const MAX_BEHIND: u64 = crate::wire::MAX_APPEND_ENTRIES;
/// Who answered within so many heartbeats, counts as living.
const LIVING_HEARTBEATS: u32 = 4;
/// How long the leader that is to be removed tries to hand its leadership over.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Why the members of a group were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes the members. Nothing was changed.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader {
        /// The leader as far as this peer knows.
        leader: Option<u64>,
    },
    /// This peer was the leader and is the one to be removed: it handed leadership over, so ask again there.
    #[error("the leader itself is removed last: it handed over to peer {to}, which removes it")]
    HandedOver {
        /// The new leader.
        to: u64,
    },
    /// Another change is not committed yet, or this leader has only just begun. Try again in a moment.
    #[error("another change of the members is under way")]
    UnderWay,
    /// This leader's group began with it alone. Nobody but itself would know that it lost its folder, and it would begin
    /// anew under the same name beside the others.
    #[error("the group began with one peer and stays alone; begin a new one with three")]
    BornAlone,
    /// There is such a member already.
    #[error("peer {id} is a member already, at {address}")]
    Exists {
        /// The peer.
        id: u64,
        /// Its address.
        address: String,
    },
    /// There is no such member.
    #[error("peer {id} is no member")]
    NoMember {
        /// The peer.
        id: u64,
    },
    /// It has a vote already.
    #[error("peer {id} has a vote already")]
    HasVote {
        /// The peer.
        id: u64,
    },
    /// It does not answer this leader.
    #[error("peer {id} does not answer the leader; start it, or look at its network")]
    Silent {
        /// The peer.
        id: u64,
    },
    /// It has not caught up yet.
    #[error("peer {id} is {entries} entries behind; try again when it has caught up")]
    Behind {
        /// The peer.
        id: u64,
        /// Entries it has yet to receive.
        entries: u64,
    },
    /// It is the only voter.
    #[error("peer {id} is the only one with a vote")]
    LastVoter {
        /// The peer.
        id: u64,
    },
    /// The group that results could decide nothing.
    #[error(
        "that would leave {voters} voters, of which {needed} are needed and {answering} answer; start the others, or remove one that is dead first"
    )]
    NoQuorum {
        /// How many would have a vote.
        voters: usize,
        /// How many of them a majority is.
        needed: usize,
        /// How many of them answered a moment ago.
        answering: usize,
    },
    /// The leader that is to be removed could not hand its leadership over.
    #[error("the leader cannot be removed before it has handed over")]
    Transfer(#[source] TransferError),
    /// Whether the members were or will be changed is not known.
    #[error("outcome unknown")]
    Unknown,
    /// This peer has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// How far another member is, as the leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Entries of the leader's log that it is not known to have.
    pub behind: u64,
    /// Time since it last answered this leader; `None` if it has not yet.
    pub answered_ago: Option<Duration>,
}

impl<S: StateMachine> Consensus<S> {
    /// Adds peer `id` at `address` as a learner: it receives the log and has no vote. `id` must never have been a
    /// member before. Nothing waits for it: returns the index of the change once it is committed.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn add_learner(&self, id: u64, address: &str) -> Result<u64, ChangeError> {
        let was_born_alone = self.was_born_alone();
        self.change(|present| {
            if was_born_alone {
                return Err(ChangeError::BornAlone);
            }
            if let Some(node) = present.membership.get_node(&id) {
                let address = node.addr.clone();
                return Err(ChangeError::Exists { id, address });
            }
            let mut nodes = present.nodes();
            nodes.insert(id, BasicNode::new(address));
            Ok((present.voters(), nodes))
        })
        .await
    }

    /// Gives the learner `id` a vote, if it answers and misses no more entries than one append carries. Returns the
    /// index of the change once it is committed.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn promote(&self, id: u64) -> Result<u64, ChangeError> {
        self.change(|present| {
            let mut voters = present.voters();
            if present.membership.get_node(&id).is_none() {
                return Err(ChangeError::NoMember { id });
            }
            if !voters.insert(id) {
                return Err(ChangeError::HasVote { id });
            }
            if !present.lives(id) {
                return Err(ChangeError::Silent { id });
            }
            match present.behind(id) {
                entries if entries > MAX_BEHIND => Err(ChangeError::Behind { id, entries }),
                _ => Ok((voters, present.nodes())),
            }
        })
        .await
    }

    /// Removes peer `id`, with its vote if it has one. It is told nothing: from then on the others do not call it, and
    /// its id must never be used again. A leader that is to remove itself hands over first. Returns the index of the
    /// change once it is committed.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove(&self, id: u64) -> Result<u64, ChangeError> {
        let removal = |present: &Present| {
            let (mut voters, mut nodes) = (present.voters(), present.nodes());
            if nodes.remove(&id).is_none() {
                return Err(ChangeError::NoMember { id });
            }
            if voters.remove(&id) && voters.is_empty() {
                return Err(ChangeError::LastVoter { id });
            }
            Ok((voters, nodes))
        };
        if id == self.id() && self.status().leader == Some(id) {
            let present = self.present();
            present.check(&removal(&present)?.0)?;
            return match self.hand_over(HAND_OVER).await {
                Ok(Some(to)) => Err(ChangeError::HandedOver { to }),
                Ok(None) => Err(ChangeError::NotLeader { leader: None }),
                Err(error) => Err(ChangeError::Transfer(error)),
            };
        }
        self.change(removal).await
    }

    /// How far the other members are; empty on a peer that does not lead.
    pub fn progress(&self) -> BTreeMap<u64, Progress> {
        let present = self.present();
        let others = present.membership.nodes().map(|(id, _)| *id);
        if present.metrics.replication.is_none() {
            return BTreeMap::new();
        }
        others
            .filter(|id| *id != present.metrics.id)
            .map(|id| {
                let behind = present.behind(id);
                let answered_ago = present.answered_ago(id);
                (
                    id,
                    Progress {
                        behind,
                        answered_ago,
                    },
                )
            })
            .collect()
    }

    /// The members by the last membership that a majority is known to have: id to address.
    pub fn committed_members(&self) -> BTreeMap<u64, String> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.committed_membership_config.nodes();
        nodes.map(|(id, node)| (*id, node.addr.clone())).collect()
    }

    /// The address of a member, by the latest membership in the log.
    pub fn address_of(&self, peer: u64) -> Option<String> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let node = metrics.membership_config.membership().get_node(&peer);
        node.map(|node| node.addr.clone())
    }

    pub(crate) fn present(&self) -> Present {
        let metrics = self.raft().metrics().borrow_watched().clone();
        Present {
            living: LIVING_HEARTBEATS * self.timing().heartbeat,
            membership: (*metrics.membership_config).clone(),
            metrics,
        }
    }

    /// Makes one change at a time: two that looked at the same membership cannot both be written.
    async fn change(
        &self,
        next: impl Fn(&Present) -> Result<Next, ChangeError>,
    ) -> Result<u64, ChangeError> {
        let status = self.status();
        if status.leader != Some(self.id()) {
            let leader = status.leader;
            return Err(ChangeError::NotLeader { leader });
        }
        let changed = async {
            if self.present().membership.get_joint_config().len() > 1 {
                // Of a program that changes members in two steps, and died between them.
                let none = ChangeMembers::AddVoterIds(BTreeSet::new());
                self.raft().change_membership(none, false).await?;
            }
            let present = self.present();
            let (voters, nodes) = next(&present)?;
            present.check(&voters)?;
            let membership =
                Membership::new(vec![voters], nodes).map_err(|_| ChangeError::UnderWay)?;
            let seen = Precondition::LastMembershipLogId {
                last_membership_log_id: *present.membership.log_id(),
            };
            let raft = self.raft();
            let written = raft.append_membership(membership, EntryPayload::Blank, [seen]);
            Ok::<_, ChangeError>(written.await?)
        };
        let written: ClientWriteResponse<TypeConfig> = timeout(self.timing().proposal, changed)
            .await
            .map_err(|_| ChangeError::Unknown)??;
        Ok(written.log_id.index)
    }
}

/// The voters and all members after a change.
type Next = (BTreeSet<u64>, BTreeMap<u64, BasicNode>);

/// What a leader knows of the members at one moment.
pub(crate) struct Present {
    metrics: RaftMetrics<TypeConfig>,
    membership: StoredMembership,
    /// Who answered within this time, lives.
    living: Duration,
}

impl Present {
    fn voters(&self) -> BTreeSet<u64> {
        self.membership.voter_ids().collect()
    }

    fn nodes(&self) -> BTreeMap<u64, BasicNode> {
        let nodes = self.membership.nodes();
        nodes.map(|(id, node)| (*id, node.clone())).collect()
    }

    fn answered_ago(&self, id: u64) -> Option<Duration> {
        let answered = self.metrics.heartbeat.as_ref()?.get(&id)?.as_ref()?;
        Some(answered.elapsed())
    }

    /// Whether `id` answered this leader a moment ago.
    pub(crate) fn lives(&self, id: u64) -> bool {
        id == self.metrics.id || self.answered_ago(id).is_some_and(|ago| ago <= self.living)
    }

    /// How many entries of this leader's log `id` is not known to have.
    pub(crate) fn behind(&self, id: u64) -> u64 {
        let targets = self.metrics.replication.as_ref();
        let matched = targets.and_then(|targets| *targets.get(&id)?);
        let count = |last: Option<u64>| last.map_or(0, |index| index + 1);
        count(self.metrics.last_log_index).saturating_sub(count(matched.map(|id| id.index)))
    }

    /// The other voters that live, those that miss the fewest entries first.
    pub(crate) fn successors(&self) -> Vec<u64> {
        let voters = self.voters().into_iter();
        let mut able: Vec<_> = voters
            .filter(|id| *id != self.metrics.id && self.lives(*id))
            .collect();
        able.sort_by_key(|id| self.behind(*id));
        able
    }

    /// Whether every other voter has answered this leader at some time: one that did not live until now is not waited
    /// for, one that has had no time to answer is.
    pub(crate) fn has_heard_all(&self) -> bool {
        let mut others = self
            .membership
            .voter_ids()
            .filter(|id| *id != self.metrics.id);
        others.all(|id| self.answered_ago(id).is_some())
    }

    /// Refuses a group of voters that has no majority among those who answer.
    fn check(&self, voters: &BTreeSet<u64>) -> Result<(), ChangeError> {
        let answering = voters.iter().filter(|id| self.lives(**id)).count();
        let needed = voters.len() / 2 + 1;
        if answering < needed {
            return Err(ChangeError::NoQuorum {
                voters: voters.len(),
                needed,
                answering,
            });
        }
        Ok(())
    }
}

impl From<RaftError<TypeConfig, ClientWriteError<TypeConfig>>> for ChangeError {
    fn from(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Self {
        let refused = match error {
            RaftError::APIError(refused) => refused,
            RaftError::Fatal(fatal) => return stopped(&fatal).into(),
        };
        match refused {
            ClientWriteError::ForwardToLeader(forward) => ChangeError::NotLeader {
                leader: forward.leader_id,
            },
            ClientWriteError::LogEntryDiscarded(_) => ChangeError::Unknown,
            ClientWriteError::PreconditionFailed(_) => ChangeError::UnderWay,
            // What is refused for lasting reasons was refused before it came here.
            ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_)
                | ChangeMembershipError::UncommittedLeaderLog(_)
                | ChangeMembershipError::EmptyMembership(_)
                | ChangeMembershipError::LearnerNotFound(_)
                | ChangeMembershipError::UnsupportedMembershipTransition(_)
                | ChangeMembershipError::NodeMetadataChanged(_),
            ) => ChangeError::UnderWay,
        }
    }
}
