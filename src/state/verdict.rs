//! What a change of primary lost of what was acknowledged: told when somebody is elected, and told better when the primary
//! before it comes back. Never decided upon.

use std::collections::BTreeMap;

use crate::model::{Cluster, Durability, InstanceId, Loss, SqlCluster, WalPosition};
use crate::recovery::evidence::Apart;
use crate::recovery::sql_only::{SqlHandover, SqlProof, proof};
use crate::recovery::{FenceProof, Promise};

use super::ClusterState;

/// Who was elected, and by what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elected<'a> {
    pub candidate: &'a InstanceId,
    pub position: WalPosition,
    pub proof: &'a FenceProof,
    pub promises: &'a BTreeMap<InstanceId, Promise>,
}

/// What it lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that was acknowledged.
    Nothing {
        /// Whose data proves it.
        proven_by: Vec<InstanceId>,
    },
    /// No more than this.
    AtMost(Apart),
    /// What this one wrote beyond the place of the election; none if nobody knows who was the primary.
    Unknown(Option<InstanceId>),
    /// What the primary of before had sent to none of these, if it is known who that was. Over SQL it is not read when it
    /// is back: it may have been written to since.
    Unsent(Option<InstanceId>, Vec<InstanceId>),
}

/// What is known when somebody is elected over SQL. `cluster` is as recorded before it.
pub(super) fn over_sql(handover: &SqlHandover, proof: &SqlProof, cluster: &SqlCluster) -> Verdict {
    let from = handover.from.as_ref();
    let counted = proof.counted();
    let nothing = |proven_by| Verdict::Nothing { proven_by };
    match (proof, from) {
        (SqlProof::Quorum { .. }, _) => {
            let voters = proof::electors(cluster, from);
            nothing(counted.intersection(&voters).cloned().collect())
        }
        // It was quiet, and the candidate had come as far.
        (SqlProof::BestOf { .. }, Some(from)) if handover.named.is_some() => {
            nothing(vec![from.clone()])
        }
        (SqlProof::BestOf { .. }, _) => {
            let away = from.filter(|it| !counted.contains(*it));
            Verdict::Unsent(away.cloned(), counted.iter().cloned().collect())
        }
    }
}

impl Elected<'_> {
    /// What is known at the election. `cluster` is as recorded before it.
    pub fn verdict(&self, cluster: &Cluster) -> Verdict {
        // What was acknowledged since that state was saved may have needed fewer than it says.
        if cluster.is_of_old_state() {
            return Verdict::Unknown(None);
        }
        let nothing = |proven_by| Verdict::Nothing { proven_by };
        let is_quorum = cluster.durability != Durability::Async;
        match self.proof {
            FenceProof::Quorum { counted } => return nothing(counted.iter().cloned().collect()),
            FenceProof::OldPrimaryPromised if is_quorum => {
                return nothing(vec![self.candidate.clone()]);
            }
            FenceProof::OldPrimaryPromised
            | FenceProof::LeaseLapsed
            | FenceProof::Created
            | FenceProof::Forced { .. } => {}
        }
        let Some(old) = cluster.last_holder() else {
            return Verdict::Unknown(None);
        };
        match self.end_of(old, cluster) {
            Some(end) if end <= self.position => nothing(vec![old.clone()]),
            Some(end) => Verdict::AtMost(Apart {
                from: self.position,
                to: end,
            }),
            None => Verdict::Unknown(Some(old.clone())),
        }
    }

    /// Where the WAL of the old primary ends, read after it was fenced, of the data with which it was the primary.
    fn end_of(&self, old: &InstanceId, cluster: &Cluster) -> Option<WalPosition> {
        let promise = self.promises.get(old)?;
        let recorded = cluster.members.get(old)?.incarnation;
        promise
            .position
            .filter(|_| promise.incarnation == Some(recorded))
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |of: &[InstanceId]| {
            let names: Vec<_> = of.iter().map(InstanceId::as_str).collect();
            names.join(" and ")
        };
        match self {
            Verdict::Nothing { proven_by } => {
                write!(f, "rpo = 0, proven by {}", list(proven_by))
            }
            Verdict::AtMost(Apart { from, to }) if from.timeline == to.timeline => {
                let bytes = to.lsn.0.saturating_sub(from.lsn.0);
                write!(f, "at most {bytes} bytes, between {from} and {to}")
            }
            Verdict::AtMost(Apart { from, to }) => {
                write!(f, "at most what is between {from} and {to}")
            }
            Verdict::Unknown(Some(old)) => {
                write!(
                    f,
                    "unknown how much, until {old} is back: what it alone had"
                )
            }
            Verdict::Unknown(None) => f.write_str("unknown how much"),
            Verdict::Unsent(old, counted) => {
                let who = old.as_ref().map_or("was", InstanceId::as_str);
                let had = if old.is_some() { " had" } else { "" };
                let counted = list(counted);
                write!(
                    f,
                    "unknown how much: what {who}{had} sent to none of {counted}"
                )
            }
        }
    }
}

impl ClusterState {
    /// Notes what the handover under way loses.
    pub(super) fn judge(&mut self, verdict: &Verdict, elected: WalPosition, at: u64) {
        let Some(recovery) = self.history.handover_id() else {
            return;
        };
        self.history.judge(recovery, at, &verdict.to_string());
        if let Verdict::Unknown(Some(of)) = verdict {
            self.cluster.loss = Some(Loss {
                recovery,
                of: of.clone(),
                elected,
            });
        }
    }

    /// The old primary is back, and its own WAL was read: what it had beyond the others, if anything.
    pub(super) fn judge_anew(&mut self, instance: &InstanceId, apart: Option<Apart>, at: u64) {
        let is_of = |loss: &mut Loss| loss.of == *instance;
        let Some(loss) = self.cluster.loss.take_if(is_of) else {
            return;
        };
        let verdict = match apart {
            // What later recoveries left aside is theirs.
            Some(apart) => Verdict::AtMost(Apart {
                from: apart.from.min(loss.elected),
                ..apart
            }),
            None => Verdict::Nothing {
                proven_by: vec![instance.clone()],
            },
        };
        self.history.judge(loss.recovery, at, &verdict.to_string());
    }
}

#[cfg(test)]
mod tests;
