//! Ways that the model does not find by itself, because somebody else acts, or because all goes well in the end.

use std::collections::BTreeMap;

use super::{Bounds, DETACHED, World, id};
use primacy::decision::sql_only::decide;
use primacy::model::{InstanceId, SyncRule};
use primacy::recovery::sql_only::{SqlAction, SqlEvidence};
use primacy::state::{Observed, SqlChange};

impl World {
    /// Does what a leader wants until it wants nothing new, or `is_enough`. Steps are answered.
    fn go_on(&mut self, is_enough: impl Fn(&World) -> bool) {
        for _ in 0..30 {
            let plan = decide(self.record(), &self.view());
            let before = self.digest();
            for change in plan.proposals {
                self.propose(change);
            }
            for step in plan.steps {
                self.perform(&step, true);
            }
            if is_enough(self) || self.digest() == before {
                return;
            }
        }
    }

    fn digest(&self) -> String {
        let mut text = String::new();
        self.key(&mut text).unwrap();
        text
    }

    fn primary(&self) -> Option<&InstanceId> {
        self.record().cluster.primary.as_ref()
    }

    fn is_told(&self) -> bool {
        self.servers.iter().any(|it| it.is_told)
    }
}

/// One was told to become the primary, opened, accepted a commit and died before anybody saw it; the other one is the primary,
/// on a timeline of the same number.
pub fn told_in_vain() -> World {
    let bounds = Bounds {
        commits: 3,
        ..Bounds::faults(false)
    };
    let mut world = World::new(bounds);
    world.servers[0].is_alive = false;
    world.go_on(World::is_told);
    let vain = (1..3).find(|it| world.servers[*it].is_told).unwrap();
    world.servers[vain].open(true);
    world.write(vain);
    world.servers[vain].is_alive = false;
    world.go_on(World::is_told);
    let other = 3 - vain;
    assert!(world.servers[other].is_told);
    world.servers[other].open(true);
    world.go_on(|world| world.primary() == Some(&id(other)) && world.record().handover.is_none());
    assert_eq!(
        world.servers[0].timeline + 1,
        world.record().cluster.lineage.current.0
    );
    world.write(other);
    world.write(other);
    world.bounds = Bounds {
        epochs: world.record().cluster.epoch.0 + 1,
        crashes: 1,
        cuts: 0,
        hands: 1,
        touches: 1,
        ..bounds
    };
    world
}

/// Somebody tried a standby out, which has a branch of its own; the primary died, and the other standby is the primary, on a
/// timeline of the same number.
pub fn stray_beside() -> World {
    let bounds = Bounds {
        commits: 3,
        ..Bounds::faults(false)
    };
    let mut world = World::new(bounds);
    world.servers[1].open(false);
    world.write(1);
    world.go_on(|_| false);
    assert!(world.record().cluster.strays.contains(&id(1)));
    world.servers[0].is_alive = false;
    world.servers[1].is_alive = false;
    world.go_on(World::is_told);
    assert!(world.servers[2].is_told);
    world.servers[2].open(true);
    world.go_on(|world| world.primary() == Some(&id(2)) && world.record().handover.is_none());
    assert_eq!(world.servers[1].timeline, world.servers[2].timeline);
    world.write(2);
    world.write(2);
    world.bounds = Bounds {
        epochs: world.record().cluster.epoch.0 + 1,
        crashes: 1,
        cuts: 0,
        hands: 1,
        touches: 1,
        ..bounds
    };
    world
}

/// One was told to become the primary, opened and died before anybody saw it, and the old one is the primary again.
pub fn the_old_one_again() -> World {
    let mut world = World::new(Bounds::faults(true));
    world.servers[0].is_alive = false;
    world.go_on(World::is_told);
    let vain = (1..3).find(|it| world.servers[*it].is_told).unwrap();
    world.servers[vain].open(true);
    world.servers[vain].is_alive = false;
    world.servers[0].is_alive = true;
    world.go_on(|world| world.primary() == Some(&id(0)));
    assert_eq!(world.primary(), Some(&id(0)));
    world.bounds = Bounds {
        epochs: world.record().cluster.epoch.0 + 2,
        commits: 1,
        crashes: 2,
        cuts: 0,
        ..world.bounds
    };
    world
}

#[test]
fn a_copy_that_runs_beside_the_primary_never_becomes_it() {
    let mut world = World::new(Bounds::faults(true));
    // Somebody tries a standby out.
    world.servers[1].open(false);
    world.go_on(|_| false);
    assert!(world.record().cluster.strays.contains(&id(1)));
    world.servers[0].is_alive = false;
    world.go_on(|_| false);
    assert_eq!(world.primary(), Some(&id(0)), "nothing can be proven");
    let plan = decide(world.record(), &world.view());
    let why: Vec<_> = plan.waiting.iter().map(ToString::to_string).collect();
    assert!(why.join(";").contains("runs as a primary"), "{why:?}");
    // Whoever is made a standby again is one.
    world.servers[0].is_alive = true;
    world.servers[1].role = super::STANDBY;
    world.go_on(|_| false);
    assert!(
        !world.record().cluster.strays.is_empty(),
        "its branch is there"
    );
    world.replace(1, (1, vec![], BTreeMap::new()));
    world.go_on(|_| false);
    assert!(world.record().cluster.strays.is_empty());
}

#[test]
fn who_was_elected_and_opened_wins_over_the_old_primary_that_came_back() {
    let mut world = World::new(Bounds::faults(true));
    world.servers[0].is_alive = false;
    world.go_on(World::is_told);
    let told = (1..3).find(|it| world.servers[*it].is_told).unwrap();
    // Its supervisor starts the old one before anybody has seen the new one.
    world.servers[0].is_alive = true;
    world.go_on(|world| world.record().handover.is_none());
    assert_eq!(world.primary(), None, "both may serve");
    world.servers[told].open(true);
    world.go_on(|world| world.primary().is_some());
    assert_eq!(world.primary(), Some(&id(told)));
    let cluster = &world.record().cluster;
    let left_at = &cluster.lineage.left_at;
    assert_eq!(left_at.len(), 1, "where it left the old one is known");
    let plan = decide(world.record(), &world.view());
    let fences = |name: InstanceId| {
        let is_fence = |action: &SqlAction| *action == SqlAction::Fence;
        let mut steps = plan.steps.iter();
        steps.any(|step| step.instance == name && is_fence(&step.action))
    };
    assert!(fences(id(0)), "{:?}", plan.steps);
    let other = 3 - told;
    world.go_on(|_| false);
    assert_ne!(world.servers[other].role, DETACHED);
    assert_eq!(world.servers[other].follows, told);
}

#[test]
fn commits_of_a_new_primary_count_by_what_it_has_them_wait_for() {
    let mut world = World::new(Bounds::faults(true));
    world.servers[0].is_alive = false;
    let is_promoting = |world: &World| {
        let handover = world.record().handover.as_ref();
        handover.is_some_and(|it| it.serves().is_some())
    };
    // Its own names are read before it is told: here they name nobody.
    for _ in 0..10 {
        let plan = decide(world.record(), &world.view());
        for change in plan.proposals {
            world.propose(match change {
                SqlChange::Record {
                    order,
                    evidence:
                        SqlEvidence::Elected {
                            candidate, proof, ..
                        },
                } => SqlChange::Record {
                    order,
                    evidence: SqlEvidence::Elected {
                        candidate,
                        proof,
                        serves: SyncRule::Async,
                    },
                },
                other => other,
            });
        }
        if is_promoting(&world) {
            break;
        }
        for step in plan.steps {
            world.perform(&step, true);
        }
    }
    assert!(is_promoting(&world));
    let mut gives_up = world.clone();
    world.go_on(World::is_told);
    let told = (1..3).find(|it| world.servers[*it].is_told).unwrap();
    world.servers[told].open(true);
    world.go_on(|world| world.primary().is_some());
    assert_eq!(world.record().cluster.rule, SyncRule::Async);
    // Also if nobody saw it open.
    let epoch = gives_up.record().cluster.epoch;
    gives_up.propose(SqlChange::Abandon {
        epoch,
        why: String::new(),
    });
    assert_eq!(gives_up.record().cluster.rule, SyncRule::Async);
    // While it repoints the others, what is weaker is taken and what is stronger is not.
    let observe = |world: &mut World, rule: SyncRule| {
        let order = world.record().order();
        let observed = Observed::Rule { rule };
        world.propose(SqlChange::Observe { order, observed });
    };
    let unclear = SyncRule::Unclear { why: String::new() };
    assert!(world.record().handover.is_some());
    observe(&mut world, unclear.clone());
    assert_eq!(world.record().cluster.rule, unclear);
    observe(&mut world, SyncRule::Async);
    assert_eq!(world.record().cluster.rule, unclear);
}
