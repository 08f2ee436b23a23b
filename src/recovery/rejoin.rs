//! Bringing one instance back as a standby of the recorded primary: follow, else replace its data.
//!
//! Data that may be the only copy of an acknowledged commit is never destroyed, and an instance whose
//! data was replaced counts in no election before it holds all that the primary had acknowledged.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    Cluster, Database, Incarnation, InstanceId, Lsn, Member, Order, Standing, View, WalPosition,
};

use super::Next;
use super::evidence::{Evidence, Grounds, Rejection};
use super::handover::{one, source};
use super::reason::Reason;
use super::step::Action;

/// Where a rejoin stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejoin {
    /// It is told to follow; nothing of its own is lost.
    Following,
    /// It cannot follow; its data must be replaced as soon as that is safe.
    Diverged {
        /// In its agent's words.
        why: String,
        /// Where the primary's WAL ended after it had said so: whatever it acknowledged lies before.
        target: Option<Lsn>,
    },
    /// Its data is being replaced. Recorded before the first destructive byte.
    Rebuilding {
        /// The filling it becomes.
        incarnation: Incarnation,
        /// Whether the old data must be kept whole.
        keep_old: bool,
    },
    /// It follows, and must flush what the primary had when it came back.
    CatchingUp {
        /// Where the primary's WAL ended after it had come back; none before that was asked.
        target: Option<Lsn>,
    },
    /// It is a standby, and its promise counts.
    Done,
}

impl Rejoin {
    /// One word for logs and the API.
    pub fn phase(&self) -> &'static str {
        match self {
            Rejoin::Following => "following",
            Rejoin::Diverged { .. } => "diverged",
            Rejoin::Rebuilding { .. } => "rebuilding",
            Rejoin::CatchingUp { .. } => "catching_up",
            Rejoin::Done => "done",
        }
    }

    /// What to do now for `instance`; `diverged` are all whose data waits to be replaced.
    pub fn next(
        &self,
        instance: &InstanceId,
        cluster: &Cluster,
        diverged: &BTreeSet<&InstanceId>,
        order: Order,
        view: &View,
    ) -> Next {
        let (Some(source), Some(primary)) = (source(cluster, instance), &cluster.primary) else {
            return Next::GiveUp(Reason::NoPrimary);
        };
        if view.fresh(instance).is_none() {
            return Next::GiveUp(Reason::Silent {
                instance: instance.clone(),
            });
        }
        match self {
            Rejoin::Following => one(view, instance, order, Action::Follow { source }),
            Rejoin::Diverged { target, .. } => {
                match grounds(instance, cluster, diverged, *target, view) {
                    Err(Reason::NotCopiedYet { .. }) if target.is_none() => {
                        let rejoining = instance.clone();
                        one(view, primary, order, Action::Locate { rejoining })
                    }
                    Ok(grounds) => Next::Record(Evidence::RebuildPermitted {
                        instance: instance.clone(),
                        grounds,
                    }),
                    Err(reason) => Next::Wait(reason),
                }
            }
            Rejoin::Rebuilding {
                incarnation,
                keep_old,
            } => {
                let (incarnation, keep_old) = (*incarnation, *keep_old);
                let action = Action::Rebuild {
                    source,
                    incarnation,
                    keep_old,
                };
                one(view, instance, order, action)
            }
            Rejoin::CatchingUp { target: None } => one(
                view,
                primary,
                order,
                Action::Locate {
                    rejoining: instance.clone(),
                },
            ),
            Rejoin::CatchingUp {
                target: Some(target),
            } => {
                let target = WalPosition {
                    timeline: cluster.timeline,
                    lsn: *target,
                };
                match flushed(instance, cluster, view) {
                    Some(flushed) if flushed >= target => Next::Record(Evidence::Admitted {
                        instance: instance.clone(),
                        flushed,
                    }),
                    at @ Some(_) => Next::Wait(Reason::CatchingUp { target, at }),
                    // It may have been restarted, or its receiver lost: point it at the primary again.
                    None => one(view, instance, order, Action::Follow { source }),
                }
            }
            Rejoin::Done => Next::Wait(Reason::Superseded),
        }
    }

    /// The transition table. `cluster` is as recorded before the evidence.
    pub fn record(self, cluster: &Cluster, evidence: &Evidence) -> Result<Self, Rejection> {
        use Evidence as E;
        match (self, evidence) {
            (Rejoin::Following, E::Following { instance }) => Ok(
                match cluster.members.get(instance).map(|member| member.standing) {
                    Some(Standing::Voter) => Rejoin::Done,
                    Some(Standing::Recovering) => Rejoin::CatchingUp { target: None },
                    None => return Err(Rejection::Unknown(instance.to_string())),
                },
            ),
            (Rejoin::Following | Rejoin::CatchingUp { .. }, E::CannotFollow { why, .. }) => {
                Ok(Rejoin::Diverged {
                    why: why.clone(),
                    target: None,
                })
            }
            (Rejoin::CatchingUp { target }, E::Following { .. }) => {
                Ok(Rejoin::CatchingUp { target })
            }
            (Rejoin::Diverged { why, target: None }, E::Located { target, .. }) => {
                Ok(Rejoin::Diverged {
                    why,
                    target: Some(*target),
                })
            }
            (Rejoin::Diverged { .. }, E::RebuildPermitted { instance, grounds }) => {
                check(instance, cluster, grounds)?;
                let incarnation = cluster.members[instance].incarnation.next();
                let keep_old = *grounds == Grounds::KeptAside;
                Ok(Rejoin::Rebuilding {
                    incarnation,
                    keep_old,
                })
            }
            (
                Rejoin::Rebuilding { incarnation, .. },
                E::Rebuilt {
                    incarnation: became,
                    ..
                }
                | E::RebuiltKeeping {
                    incarnation: became,
                    ..
                },
            ) if incarnation == *became => Ok(Rejoin::CatchingUp { target: None }),
            (Rejoin::CatchingUp { target: None }, E::Located { target, .. }) => {
                Ok(Rejoin::CatchingUp {
                    target: Some(*target),
                })
            }
            (
                Rejoin::CatchingUp {
                    target: Some(target),
                },
                E::Admitted { flushed, .. },
            ) => {
                let target = WalPosition {
                    timeline: cluster.timeline,
                    lsn: target,
                };
                if *flushed < target {
                    return Err(Rejection::Unproven(format!("{flushed} is before {target}")));
                }
                Ok(Rejoin::Done)
            }
            _ => Err(Rejection::WrongPhase),
        }
    }
}

/// What `instance` has flushed on the present timeline, if it streams directly from the primary.
fn flushed(instance: &InstanceId, cluster: &Cluster, view: &View) -> Option<WalPosition> {
    if !view.streams(cluster, instance) {
        return None;
    }
    match view.fresh(instance)?.database {
        Database::Standby { flushed, .. } if flushed.timeline == cluster.timeline => Some(flushed),
        _ => None,
    }
}

fn grounds(
    instance: &InstanceId,
    cluster: &Cluster,
    diverged: &BTreeSet<&InstanceId>,
    target: Option<Lsn>,
    view: &View,
) -> Result<Grounds, Reason> {
    let member = &cluster.members[instance];
    let report = view.fresh(instance);
    if report.is_some_and(|it| it.identity.is_none() && it.database != Database::Absent) {
        // What cannot be read may be the only copy.
        return Err(Reason::Failed {
            instance: instance.clone(),
            why: "its agent cannot tell what its data folder holds; the history says why it cannot follow"
                .to_owned(),
        });
    }
    let found = report.and_then(|report| report.incarnation);
    if is_uncounted(member, found) {
        return Ok(Grounds::Uncounted { found });
    }
    let needed = cluster.durability.standby_acks();
    let holds = |id: &&InstanceId| {
        *id != instance
            && cluster.members[*id].standing == Standing::Voter
            && cluster.first_commit.max(target).is_some_and(|commit| {
                flushed(id, cluster, view).is_some_and(|flushed| flushed.lsn >= commit)
            })
    };
    let by: BTreeSet<_> = cluster.members.keys().filter(holds).cloned().collect();
    if cluster.first_commit.is_none() || target.is_none() || by.len() < needed {
        // Somebody who can still follow will hold a copy in a moment; if those are too few, waiting would
        // be for ever. One at a time: the first of those that diverged.
        let may_follow = |id: &&InstanceId| {
            *id != instance
                && cluster.primary.as_ref() != Some(*id)
                && view.fresh(id).is_some()
                && !diverged.contains(*id)
        };
        let is_first = diverged.first() == Some(&instance);
        if is_first && cluster.members.keys().filter(may_follow).count() < needed.max(1) {
            return Ok(Grounds::KeptAside);
        }
        return Err(Reason::NotCopiedYet {
            copies: by.len(),
            needed,
        });
    }
    Ok(Grounds::Copied { by })
}

/// Whether the filling `found` has counted in nothing that is acknowledged. One that is newer than the recorded one may
/// have: the record is of a saved state, and the peers that made it are gone.
fn is_uncounted(member: &Member, found: Option<Incarnation>) -> bool {
    let recorded = Some(member.incarnation);
    found < recorded || found == recorded && member.standing == Standing::Recovering
}

fn check(instance: &InstanceId, cluster: &Cluster, grounds: &Grounds) -> Result<(), Rejection> {
    let Some(member) = cluster.members.get(instance) else {
        return Err(Rejection::Unknown(instance.to_string()));
    };
    let sound = match grounds {
        // Nothing is destroyed, and from here on the instance counts in no election.
        Grounds::KeptAside => true,
        Grounds::Uncounted { found } => is_uncounted(member, *found),
        Grounds::Copied { by } => {
            let voter = |id: &InstanceId| {
                id != instance
                    && Some(id) != cluster.primary.as_ref()
                    && cluster
                        .members
                        .get(id)
                        .is_some_and(|m| m.standing == Standing::Voter)
            };
            cluster.first_commit.is_some()
                && by.iter().all(voter)
                && by.len() >= cluster.durability.standby_acks()
        }
    };
    if sound {
        Ok(())
    } else {
        Err(Rejection::Unproven(
            "the data may be the only copy".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, id, primary, report, standby, view};
    use crate::model::{Durability, Stopped};

    #[test]
    fn data_that_cannot_be_read_is_not_given_up() {
        let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        let b = id("b");
        let mut unknown = report(Database::Stopped(Stopped::Found));
        (unknown.identity, unknown.incarnation) = (None, None);
        let mut absent = unknown.clone();
        absent.database = Database::Absent;
        let grounds = |report| {
            let view = view([("a", primary(&cluster, "a")), ("b", report)]);
            grounds(&b, &cluster, &BTreeSet::from([&b]), None, &view)
        };
        assert!(matches!(grounds(unknown), Err(Reason::Failed { .. })));
        assert_eq!(grounds(absent), Ok(Grounds::Uncounted { found: None }));
    }

    #[test]
    fn waiting_for_copies_that_nobody_can_make_is_not_for_ever() {
        let names = ["a", "b", "c", "d", "e"];
        let mut cluster = cluster(&names, Durability::Quorum { standbys: 2 });
        cluster.first_commit = None;
        let stopped = || report(Database::Stopped(Stopped::Ordered));
        let mut view = view([
            ("a", primary(&cluster, "a")),
            ("b", standby(&cluster, "b", at(2, 50))),
            ("c", stopped()),
            ("d", stopped()),
            ("e", stopped()),
        ]);
        let (b, c, d, e) = (id("b"), id("c"), id("d"), id("e"));
        let target = Some(Lsn(40));
        let all = BTreeSet::from([&c, &d, &e]);
        let of =
            |instance, diverged, view: &View| grounds(instance, &cluster, diverged, target, view);
        assert_eq!(
            of(&c, &all, &view),
            Ok(Grounds::KeptAside),
            "only b can hold a copy"
        );
        assert!(of(&d, &all, &view).is_err(), "one at a time");
        let two = BTreeSet::from([&c, &d]);
        assert!(of(&c, &two, &view).is_err(), "e may still follow");
        view.instances.remove(&b);
        assert_eq!(of(&c, &two, &view), Ok(Grounds::KeptAside), "b is away");
    }
}
