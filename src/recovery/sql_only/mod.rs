//! How a primary changes where there are no agents.
//!
//! It is not the handover of [`crate::recovery::handover`], because nothing that one rests on exists over SQL: no promise is
//! on a disk, no timeline number can be allocated, no lease ends by itself, and `application_name`s are their user's. So
//! this one is smaller and proves less: a standby counts only while it is *seen* to be revoked, every step looks again at
//! what it rests on, and an old primary is asked to be quiet, no more. What is the same is how it is kept: recorded in
//! Raft, one at a time, under an epoch of its own, resumed by the next leader at the same line.
//!
//! It must never choose another candidate while one that was told to promote may still become the primary.

pub mod copies;
pub mod evidence;
pub mod feeding;
pub mod next;
pub mod promotion;
pub mod proof;
pub mod reach;
pub mod reason;
pub mod rule;
pub mod step;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use evidence::SqlEvidence;
pub use next::SqlNext;
pub use proof::SqlProof;
pub use reason::SqlReason;
pub use rule::{names_of_nobody, rule_of};
pub use step::{SqlAction, SqlStep};

use super::Rejection;
use crate::model::{InstanceId, SqlCluster, SyncRule, WalPosition};

/// One change of primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlHandover {
    /// Who shall be the primary, in one that was asked for; then the old one is asked to be quiet first.
    pub named: Option<InstanceId>,
    /// The primary of before; none if there was none.
    pub from: Option<InstanceId>,
    /// Where it stands.
    pub phase: SqlPhase,
}

/// Where a change of primary stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqlPhase {
    /// The old primary is asked to be quiet, and the named candidate to come as far.
    Quieting {
        /// Where its WAL ended when it was; none before.
        end: Option<WalPosition>,
    },
    /// Every standby that follows the primary is made to receive nothing more.
    Revoking {
        /// Who does, and where it ends; none if that cannot be known.
        ends: BTreeMap<InstanceId, Option<WalPosition>>,
    },
    /// The candidate is promoted. Cannot be written down without a proof.
    Promoting {
        /// Who.
        candidate: InstanceId,
        /// Where it ended.
        position: WalPosition,
        /// Why it may be.
        proof: SqlProof,
        /// Who else was revoked and is no further, and so can follow.
        followers: BTreeSet<InstanceId>,
        /// Whose flush its commits will wait for.
        serves: SyncRule,
    },
    /// The others are pointed at the new primary, which serves already.
    Repointing {
        /// Who does not follow yet.
        pending: BTreeSet<InstanceId>,
    },
    /// Nothing is left to do.
    Done,
}

impl SqlHandover {
    /// One word for logs and the API.
    pub fn phase(&self) -> &'static str {
        match self.phase {
            SqlPhase::Quieting { .. } => "quieting",
            SqlPhase::Revoking { .. } => "revoking",
            SqlPhase::Promoting { .. } => "promoting",
            SqlPhase::Repointing { .. } => "repointing",
            SqlPhase::Done => "done",
        }
    }

    /// Whose flush the commits of a candidate that is being promoted will wait for.
    pub fn serves(&self) -> Option<&SyncRule> {
        match &self.phase {
            SqlPhase::Promoting { serves, .. } => Some(serves),
            SqlPhase::Quieting { .. }
            | SqlPhase::Revoking { .. }
            | SqlPhase::Repointing { .. }
            | SqlPhase::Done => None,
        }
    }

    /// The transition table.
    pub fn record(self, cluster: &SqlCluster, evidence: &SqlEvidence) -> Result<Self, Rejection> {
        use SqlEvidence as E;
        use SqlPhase as P;
        let with = |phase| {
            Ok(SqlHandover {
                phase,
                ..self.clone()
            })
        };
        match (self.phase.clone(), evidence) {
            (P::Quieting { end: None }, E::Quieted { instance, position })
                if self.from.as_ref() == Some(instance) =>
            {
                let end = Some(*position);
                with(P::Quieting { end })
            }
            (P::Quieting { end: Some(_) }, E::CaughtUp { instance })
                if self.named.as_ref() == Some(instance) =>
            {
                let ends = BTreeMap::new();
                with(P::Revoking { ends })
            }
            (P::Revoking { mut ends }, E::Revoked { instance, position }) => {
                if !cluster.members.contains_key(instance) {
                    return Err(Rejection::Unknown(instance.to_string()));
                }
                ends.insert(instance.clone(), *position);
                with(P::Revoking { ends })
            }
            (
                P::Revoking { ends },
                E::Elected {
                    candidate,
                    proof,
                    serves,
                },
            ) => {
                let position = proof::check(cluster, self.from.as_ref(), &ends, candidate, proof)?;
                let can_follow =
                    |at: WalPosition| at.timeline == position.timeline && at <= position;
                let others = ends.into_iter().filter(|(id, _)| id != candidate);
                let followers = others
                    .filter_map(|(id, end)| end.filter(|at| can_follow(*at)).map(|_| id))
                    .collect();
                with(P::Promoting {
                    candidate: candidate.clone(),
                    position,
                    proof: proof.clone(),
                    followers,
                    serves: serves.clone(),
                })
            }
            (
                P::Promoting {
                    candidate,
                    followers,
                    position,
                    ..
                },
                E::Promoted { instance, lineage },
            ) if candidate == *instance => {
                if lineage.current <= position.timeline || !lineage.contains(position) {
                    return Err(Rejection::Unproven(format!(
                        "{instance} opened timeline {}; it was elected at {position}",
                        lineage.current
                    )));
                }
                with(settled(followers))
            }
            (
                P::Repointing { mut pending },
                E::Following { instance } | E::LeftBehind { instance, .. },
            ) if pending.contains(instance) => {
                pending.remove(instance);
                with(settled(pending))
            }
            _ => Err(Rejection::WrongPhase),
        }
    }
}

fn settled(pending: BTreeSet<InstanceId>) -> SqlPhase {
    match pending.is_empty() {
        true => SqlPhase::Done,
        false => SqlPhase::Repointing { pending },
    }
}
