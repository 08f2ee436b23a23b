//! What a change of primary brought back, recorded.

use std::collections::BTreeSet;

use crate::model::{Cluster, Durability, InstanceId, Lineage, Member, Standing, WalPosition};
use crate::recovery::proof::promises_needed;
use crate::recovery::{Evidence, FenceProof, Handover, Rejection};
use crate::state::{ClusterState, Reply};

impl ClusterState {
    pub(super) fn record_handover(&mut self, evidence: &Evidence, at: u64) -> Reply {
        let handover = self.handover.clone().ok_or(Rejection::WrongPhase)?;
        if let Evidence::CannotPromote { instance, why } = evidence {
            return match &handover {
                Handover::Promoting { candidate, .. } if candidate == instance => {
                    let why = format!("{instance} cannot be promoted: {why}");
                    self.abandon(self.cluster.epoch, &why, at)
                }
                _ => Err(Rejection::WrongPhase),
            };
        }
        let proof = match &handover {
            Handover::Promoting { proof, .. } => Some(proof.clone()),
            Handover::Creating { .. }
            | Handover::Fencing { .. }
            | Handover::Repointing { .. }
            | Handover::Done => None,
        };
        let may_have_lost = self.may_have_lost();
        let handover = match handover.record(&self.cluster, evidence) {
            Err(Rejection::Unproven(why)) if matches!(evidence, Evidence::Promoted { .. }) => {
                // The first primary has the only data there is, so there is none that it could outrank.
                if proof == Some(FenceProof::Created) {
                    return self.abandon(self.cluster.epoch, &why, at);
                }
                return self.distrust_candidate(why, at);
            }
            other => other?,
        };
        self.number += 1;
        let mut note = |event: &str, detail: String, to: Option<&InstanceId>| {
            if let Some(record) = self.history.handover() {
                record.note(at, event, &detail);
                record.to = to.cloned().or(record.to.take());
            }
        };
        match (&handover, evidence) {
            (
                _,
                Evidence::Initialised {
                    instance,
                    identity,
                    position,
                },
            ) => {
                note(
                    "initialised",
                    format!("system identifier {identity}, {position}"),
                    Some(instance),
                );
                self.cluster.identity = Some(*identity);
                // The first primary is promoted like every other.
                self.cluster.timeline = position.timeline.next();
                self.elect(instance.clone(), *position);
            }
            (
                _,
                Evidence::TakenOver {
                    instance,
                    identity,
                    position,
                    serves,
                },
            ) => {
                let how = if *serves { "runs" } else { "does not run" };
                note(
                    "taken_over",
                    format!("system identifier {identity}, {position}; it {how}"),
                    Some(instance),
                );
                self.cluster.identity = Some(*identity);
                // What it has written so far is the branch of the first epoch; all later ones come from here.
                self.cluster.timeline = match serves {
                    true => position.timeline,
                    false => position.timeline.next(),
                };
                self.elect(instance.clone(), *position);
            }
            (_, Evidence::Promised { instance, promise }) => {
                let at = promise
                    .position
                    .map_or("unknown".to_owned(), |p| p.to_string());
                note(
                    "fenced",
                    format!("{instance} promised, WAL ends at {at}"),
                    None,
                );
            }
            (Handover::Promoting { position, .. }, Evidence::Elected { candidate, proof }) => {
                note(
                    "elected",
                    format!(
                        "{candidate} at {position}, {}",
                        in_words(proof, &self.cluster)
                    ),
                    Some(candidate),
                );
                self.elect(candidate.clone(), *position);
            }
            (_, Evidence::Promoted { instance, lineage }) => {
                note(
                    "promoted",
                    format!("{instance} on timeline {}", lineage.current),
                    None,
                );
                self.cluster.lineage = lineage.clone();
                self.cluster.forced = None;
                self.cluster.forsaken.clear();
                self.switchover_meets_primary(instance, may_have_lost, at);
            }
            (_, Evidence::Following { instance }) => note("repointed", instance.to_string(), None),
            (_, Evidence::CannotFollow { instance, why }) => {
                note("cannot_follow", format!("{instance}: {why}"), None);
            }
            (_, Evidence::LeftBehind { instance }) => {
                note("left_behind", instance.to_string(), None)
            }
            _ => {}
        }
        if handover == Handover::Done {
            if let Some(record) = self.history.handover() {
                record.end(at, "done", "a primary serves");
            }
            self.handover = None;
        } else {
            self.handover = Some(handover);
        }
        Ok(self.order())
    }

    /// The candidate was promoted from other data than elected it. By its timeline it would outrank those who hold
    /// that data, so it counts for nothing until it is replaced, and another is elected. Also if nobody can be
    /// elected then: a cluster that waits for a human still has every acknowledged commit.
    pub(super) fn distrust_candidate(&mut self, mut why: String, at: u64) -> Reply {
        let candidate = self.cluster.primary.as_ref();
        if let Some(member) = candidate.and_then(|id| self.cluster.members.get_mut(id)) {
            member.standing = Standing::Recovering;
        }
        let members = self.cluster.members.values();
        let counts = |member: &&Member| member.standing == Standing::Voter;
        let left = members.filter(counts).count();
        let needed = match self.cluster.durability {
            Durability::Async => 1,
            Durability::Quorum { .. } => promises_needed(&self.cluster),
        };
        if left < needed {
            why += &format!(
                "; its promise counts no more, and nobody can be elected from {left} of {needed} voters needed"
            );
        }
        self.abandon(self.cluster.epoch, &why, at)
    }

    /// From here on `instance` is the only one that may ever be primary in this epoch. The proof that elected
    /// it says that no older lease is held, or that none matters: so no longer one is either.
    pub(super) fn elect(&mut self, instance: InstanceId, position: WalPosition) {
        self.cluster.planned_stop = None;
        self.cluster.holders = BTreeSet::from([instance.clone()]);
        self.cluster.lineage = Lineage::before_promotion(position);
        self.cluster.primary = Some(instance);
        self.elected = self.order();
    }
}

/// `cluster` is as recorded before it.
fn in_words(proof: &FenceProof, cluster: &Cluster) -> String {
    match proof {
        FenceProof::Quorum { counted } => {
            let names: Vec<_> = counted.iter().map(InstanceId::as_str).collect();
            let names = names.join(" and ");
            match cluster.is_of_old_state() {
                true => format!("proven by {names} for what the saved state knew"),
                false => format!("nothing acknowledged is lost, proven by {names}"),
            }
        }
        FenceProof::OldPrimaryPromised => "the old primary promised to stop".to_owned(),
        FenceProof::LeaseLapsed => {
            "every lease has ended; what was not replicated is lost".to_owned()
        }
        FenceProof::Created => "the first primary".to_owned(),
        FenceProof::Forced { .. } => {
            let word = cluster.forced.as_ref().filter(|it| it.old_is_off);
            let word = word.map_or(String::new(), |it| {
                format!(
                    "; that no other primary serves on is not proven, but said by {}",
                    it.owner
                )
            });
            format!("forced: what only those hold that were not asked is lost{word}")
        }
    }
}
