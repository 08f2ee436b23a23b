//! The one way a primary changes: fence, elect, promote, repoint.

mod fencing;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::broken;
use crate::model::cluster::application_name;
use crate::model::{Cluster, Database, InstanceId, Order, Receiver, Report, View, WalPosition};

use super::evidence::{Evidence, Promise, Rejection};
use super::proof::{self, FenceProof};
use super::reason::Reason;
use super::step::{Action, Source, Step};
use super::{Next, RETRY_AFTER};
use fencing::fencing;

/// Where a handover stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handover {
    /// The cluster's first data is being created, under the permit that this record is.
    Creating {
        /// Whose folder.
        instance: InstanceId,
    },
    /// Every voter that can be reached is asked to promise the new epoch.
    Fencing {
        /// Who did.
        promises: BTreeMap<InstanceId, Promise>,
    },
    /// The candidate gets the lease of the epoch and is promoted. Cannot be written down without a proof.
    Promoting {
        /// Who.
        candidate: InstanceId,
        /// The position that elected it.
        position: WalPosition,
        /// Why no older primary can acknowledge anything.
        proof: FenceProof,
        /// Who else promised and still runs, and so can follow at once.
        followers: BTreeSet<InstanceId>,
    },
    /// The others are pointed at the new primary, which serves already.
    Repointing {
        /// Who still streams from nobody.
        pending: BTreeSet<InstanceId>,
    },
    /// Nothing is left to do.
    Done,
}

impl Handover {
    /// One word for logs and the API.
    pub fn phase(&self) -> &'static str {
        match self {
            Handover::Creating { .. } => "creating",
            Handover::Fencing { .. } => "fencing",
            Handover::Promoting { .. } => "promoting",
            Handover::Repointing { .. } => "repointing",
            Handover::Done => "done",
        }
    }

    /// What to do now.
    pub fn next(&self, cluster: &Cluster, order: Order, view: &View) -> Next {
        match self {
            Handover::Creating { instance } => creating(cluster, instance, order, view),
            Handover::Fencing { promises } => fencing(cluster, order, promises, view),
            Handover::Promoting {
                candidate,
                position,
                followers,
                proof,
            } => {
                if view.fresh(candidate).is_none() {
                    let instance = candidate.clone();
                    let silent = Reason::Silent { instance };
                    // Nobody else has data, and what was taken over would be stopped by a fence.
                    return match proof {
                        FenceProof::Created => Next::Wait(silent),
                        FenceProof::Quorum { .. }
                        | FenceProof::OldPrimaryPromised
                        | FenceProof::LeaseLapsed
                        | FenceProof::Forced { .. } => Next::GiveUp(silent),
                    };
                }
                if let Some(why) = makes_way(candidate, *position, followers, view) {
                    let instance = candidate.clone();
                    return Next::GiveUp(Reason::CannotPromote { instance, why });
                }
                let action = Action::Promote {
                    timeline: cluster.timeline,
                    at_least: *position,
                    synchronous_standby_names: cluster.synchronous_standby_names(candidate),
                    members: cluster.members.keys().cloned().collect(),
                };
                one(view, candidate, order, action)
            }
            Handover::Repointing { pending } => repointing(cluster, order, pending, view),
            Handover::Done => Next::Wait(Reason::Superseded),
        }
    }

    /// The transition table.
    pub fn record(self, cluster: &Cluster, evidence: &Evidence) -> Result<Self, Rejection> {
        use Evidence as E;
        match (self, evidence) {
            (
                Handover::Creating { instance },
                E::Initialised {
                    instance: who,
                    position,
                    ..
                }
                | E::TakenOver {
                    instance: who,
                    position,
                    ..
                },
            ) if instance == *who => Ok(Handover::Promoting {
                candidate: instance,
                position: *position,
                proof: FenceProof::Created,
                followers: BTreeSet::new(),
            }),
            (Handover::Fencing { mut promises }, E::Promised { instance, promise }) => {
                if !cluster.members.contains_key(instance) {
                    return Err(Rejection::Unknown(instance.to_string()));
                }
                if promises.get(instance) == Some(promise) {
                    return Err(Rejection::Exists(format!("this promise of {instance}")));
                }
                promises.insert(instance.clone(), promise.clone());
                Ok(Handover::Fencing { promises })
            }
            (Handover::Fencing { promises }, E::Elected { candidate, proof }) => {
                let position = proof::check(cluster, &promises, candidate, proof)?;
                // Who was stopped takes a start to follow, and may have diverged: that is a rejoin's matter.
                let follows =
                    |id: &InstanceId, promise: &Promise| id != candidate && promise.running;
                let followers = promises
                    .into_iter()
                    .filter(|(id, promise)| follows(id, promise))
                    .map(|(id, _)| id)
                    .collect();
                Ok(Handover::Promoting {
                    candidate: candidate.clone(),
                    position,
                    proof: proof.clone(),
                    followers,
                })
            }
            (
                Handover::Promoting {
                    candidate,
                    followers,
                    position,
                    ..
                },
                E::Promoted { instance, lineage },
            ) if candidate == *instance => {
                let is_allocated =
                    lineage.current == cluster.timeline || broken!(AllocatedTimeline);
                if !is_allocated || !lineage.contains(position) {
                    let found = lineage.current;
                    let wanted = cluster.timeline;
                    return Err(Rejection::Unproven(format!(
                        "{instance} opened timeline {found}; elected was timeline {wanted} with all WAL up to {position}"
                    )));
                }
                Ok(Handover::Repointing { pending: followers }.settled())
            }
            (
                Handover::Repointing { mut pending },
                E::Following { instance }
                | E::CannotFollow { instance, .. }
                | E::LeftBehind { instance },
            ) if pending.contains(instance) => {
                pending.remove(instance);
                Ok(Handover::Repointing { pending }.settled())
            }
            _ => Err(Rejection::WrongPhase),
        }
    }

    fn settled(self) -> Self {
        match self {
            Handover::Repointing { pending } if pending.is_empty() => Handover::Done,
            other => other,
        }
    }
}

/// The first data is made, unless there is a database that was offered. An agent whose folder no agent filled runs only
/// if that was agreed to.
fn creating(cluster: &Cluster, first: &InstanceId, order: Order, view: &View) -> Next {
    let offered = |report: &Report| {
        report
            .incarnation
            .is_none()
            .then_some(report.identity)
            .flatten()
    };
    let Some(identity) = view.fresh(first).and_then(offered) else {
        let with_data = |id: &&InstanceId| view.fresh(id).and_then(offered).is_some();
        if let Some(instance) = cluster.members.keys().find(with_data)
            && view.fresh(first).is_some()
        {
            return Next::Wait(Reason::OfferedElsewhere {
                instance: instance.clone(),
                first: first.clone(),
            });
        }
        let incarnation = cluster.members[first].incarnation;
        return one(view, first, order, Action::Initialise { incarnation });
    };
    let needed = cluster.durability.standby_acks();
    let streams = |report: &Report| match &report.database {
        Database::Standby { receiver, .. } => matches!(receiver, Receiver::Streaming { .. }),
        Database::Absent
        | Database::Stopped(_)
        | Database::Starting
        | Database::Unresponsive { .. }
        | Database::Primary { .. } => false,
    };
    let is_its_standby = |id: &&InstanceId| {
        let report = view.fresh(id);
        report.is_some_and(|report| offered(report) == Some(identity) && streams(report))
    };
    let serves = |report: &Report| matches!(report.database, Database::Primary { .. });
    let offered = cluster.members.keys().filter(is_its_standby).count();
    if view.fresh(first).is_some_and(serves) && offered < needed {
        return Next::Wait(Reason::StandbysNotOffered { offered, needed });
    }
    one(view, first, order, Action::TakeOver)
}

/// One step for one instance, unless it is silent or failed a moment ago.
pub(crate) fn one(view: &View, instance: &InstanceId, order: Order, action: Action) -> Next {
    if view.fresh(instance).is_none() {
        return Next::Wait(Reason::Silent {
            instance: instance.clone(),
        });
    }
    if let Some(failure) = view.failure(instance, order)
        && view.now.since(failure.at) < RETRY_AFTER
    {
        return Next::Wait(Reason::Failed {
            instance: instance.clone(),
            why: failure.reason.clone(),
        });
    }
    Next::Run(vec![Step {
        instance: instance.clone(),
        order,
        action,
    }])
}

/// The primary of `cluster` as the source of `instance`.
pub(super) fn source(cluster: &Cluster, instance: &InstanceId) -> Option<Source> {
    let primary = cluster.primary.as_ref()?;
    let incarnation = cluster.members.get(instance)?.incarnation;
    Some(Source {
        instance: primary.clone(),
        address: cluster.members.get(primary)?.address.clone(),
        identity: cluster.identity,
        epoch: cluster.epoch,
        application_name: application_name(instance, incarnation, cluster.epoch),
        lineage: cluster.lineage.clone(),
    })
}

/// Why the candidate is not waited for: its disk takes no writes, and that of a follower which has as much does.
/// Without one it would only be elected again. What has opened already is about to say so.
fn makes_way(
    candidate: &InstanceId,
    position: WalPosition,
    followers: &BTreeSet<InstanceId>,
    view: &View,
) -> Option<String> {
    let opened = |report: &Report| matches!(report.database, Database::Primary { .. });
    if !view.disk_fails(candidate) || view.fresh(candidate).is_some_and(opened) {
        return None;
    }
    let has_all = |report: &Report| matches!(report.database, Database::Standby { flushed, .. } if flushed >= position);
    let is_equal =
        |id: &InstanceId| view.disk_trouble(id).is_none() && view.fresh(id).is_some_and(has_all);
    if !followers.iter().any(is_equal) {
        return None;
    }
    let refusal = view.disk_trouble(candidate)?.refusal.clone();
    let words = refusal.unwrap_or_else(|| "a write does not come back".to_owned());
    Some(format!("its disk takes no writes: {words}"))
}

fn repointing(
    cluster: &Cluster,
    order: Order,
    pending: &BTreeSet<InstanceId>,
    view: &View,
) -> Next {
    let Some(primary) = &cluster.primary else {
        return Next::GiveUp(Reason::NoPrimary);
    };
    let serves =
        |database: &Database| matches!(database, Database::Primary { .. } | Database::Starting);
    match view.fresh(primary) {
        Some(report) if serves(&report.database) => {}
        Some(_) => return Next::GiveUp(Reason::NoPrimary),
        None => {
            return Next::GiveUp(Reason::Silent {
                instance: primary.clone(),
            });
        }
    }
    // Who is away or cannot is brought back by a rejoin and not awaited here.
    let behind = pending
        .iter()
        .find(|id| view.fresh(id).is_none() || view.failure(id, order).is_some());
    if let Some(instance) = behind {
        return Next::Record(Evidence::LeftBehind {
            instance: instance.clone(),
        });
    }
    let steps = pending.iter().filter_map(|id| {
        let action = Action::Follow {
            source: source(cluster, id)?,
        };
        Some(Step {
            instance: id.clone(),
            order,
            action,
        })
    });
    Next::Run(steps.collect())
}

#[cfg(test)]
mod tests;
