//! Putting a stronger durability in force on the primary, and proving that it is.
//!
//! Names in which it cannot be read back who runs them are only put in force: so it is before `async` is recorded, when it
//! counts that the command was admitted (`Backing::forget`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broken;
use crate::model::cluster::shows_who_runs;
use crate::model::{InstanceId, Order};
use crate::recovery::Evidence;

use super::local::Local;
use super::{Act, Outcome};

/// How long a commit is waited for. It takes a moment if the standbys are there; if they are not, the leader must learn it.
pub const COMMITTED_WITHIN: Duration = Duration::from_secs(5);

/// What was proven since the names were last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proven {
    /// Nothing. Also where the names are in force already: those of an earlier command may be on their way to the file,
    /// and come to be in force later.
    Nothing,
    /// They were written, behind whatever was to be written before.
    Written,
    /// Every walsender was asked what it runs.
    Senders,
    /// And whether commits wait: after names that were empty that is another process's to say (the checkpointer's).
    Waiting,
    /// And then a commit was begun.
    Commit,
}

/// Proving that commits wait for as many standbys as these names say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirming {
    /// Under which it was ordered.
    pub order: Order,
    /// The recorded value.
    pub synchronous_standby_names: String,
    /// Instances for which WAL is kept in slots.
    pub members: BTreeSet<InstanceId>,
    /// How far it is: an act that failed ends the duty, so what was begun has succeeded.
    pub proven: Proven,
}

impl Confirming {
    pub(super) fn next(&mut self, local: &Local) -> Act {
        let failed = |why: &str| Act::Finish(Outcome::Failed(why.to_owned()));
        let Some(session) = &local.session else {
            return match local.is_running {
                true => Act::Look,
                false => failed("it does not run"),
            };
        };
        if session.in_recovery {
            return failed("it is not the primary");
        }
        if local.lease != Some(self.order.epoch) {
            return failed("it holds no lease of this epoch");
        }
        let is_in_force = session.synchronous_standby_names == self.synchronous_standby_names;
        if self.proven == Proven::Nothing || !is_in_force {
            self.proven = Proven::Written;
            return Act::ConfigurePrimary {
                synchronous_standby_names: self.synchronous_standby_names.clone(),
                members: self.members.clone(),
            };
        }
        let is_to_be_proven = shows_who_runs(&self.synchronous_standby_names);
        if self.proven == Proven::Written && is_to_be_proven {
            self.proven = Proven::Senders;
            if !broken!(ConfirmedSenders) {
                return Act::ProveSenders {
                    synchronous_standby_names: self.synchronous_standby_names.clone(),
                };
            }
        }
        if self.proven == Proven::Senders {
            self.proven = Proven::Waiting;
            if !broken!(ConfirmedWaiting) {
                return Act::ProveWaiting;
            }
        }
        // Begun by now: one that was begun before it is known that commits wait may lie before others that did not.
        if self.proven == Proven::Waiting {
            self.proven = Proven::Commit;
            if !broken!(ConfirmingCommit) {
                return Act::Commit;
            }
        }
        Act::Finish(Outcome::Evidence(Evidence::Confirmed {
            instance: local.instance.clone(),
            synchronous_standby_names: self.synchronous_standby_names.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::local::example::running_standby;
    use crate::model::Epoch;
    use crate::model::example::{id, order};

    const NAMES: &str = "FIRST 1 (\"primacy_confirms_the_durability_1\", \"b_1_1\", \"c_1_1\")";

    fn primary(names: &str) -> Local {
        let mut local = running_standby();
        local.lease = Some(Epoch(1));
        let session = local.session.as_mut().unwrap();
        session.in_recovery = false;
        names.clone_into(&mut session.synchronous_standby_names);
        local
    }

    fn duty() -> Confirming {
        Confirming {
            order: order(1, 6),
            synchronous_standby_names: NAMES.to_owned(),
            members: BTreeSet::new(),
            proven: Proven::Nothing,
        }
    }

    #[test]
    fn it_writes_the_names_and_looks_at_the_senders_before_it_commits() {
        let mut duty = duty();
        let set = duty.next(&primary(NAMES));
        assert!(matches!(set, Act::ConfigurePrimary { .. }));
        // Another session may not see them yet.
        let set = duty.next(&primary("ANY 1 (\"b_1_1\")"));
        assert!(matches!(set, Act::ConfigurePrimary { .. }));
        let names = NAMES.to_owned();
        let senders = Act::ProveSenders {
            synchronous_standby_names: names.clone(),
        };
        assert_eq!(duty.next(&primary(NAMES)), senders);
        assert_eq!(duty.next(&primary(NAMES)), Act::ProveWaiting);
        assert_eq!(duty.next(&primary(NAMES)), Act::Commit);
        let confirmed = Evidence::Confirmed {
            instance: id("b"),
            synchronous_standby_names: names,
        };
        let finish = Act::Finish(Outcome::Evidence(confirmed));
        assert_eq!(duty.next(&primary(NAMES)), finish);
    }

    #[test]
    fn names_that_changed_meanwhile_prove_nothing() {
        let mut duty = duty();
        for _ in 0..3 {
            duty.next(&primary(NAMES));
        }
        let set = duty.next(&primary("ANY 1 (\"b_1_1\")"));
        assert!(matches!(set, Act::ConfigurePrimary { .. }));
        assert!(matches!(
            duty.next(&primary(NAMES)),
            Act::ProveSenders { .. }
        ));
    }

    #[test]
    fn names_that_show_nothing_are_only_put_in_force() {
        let any = "ANY 1 (\"b_1_1\")";
        let mut duty = Confirming {
            synchronous_standby_names: any.to_owned(),
            ..duty()
        };
        let set = duty.next(&primary(any));
        assert!(matches!(set, Act::ConfigurePrimary { .. }));
        let confirmed = Evidence::Confirmed {
            instance: id("b"),
            synchronous_standby_names: any.to_owned(),
        };
        let finish = Act::Finish(Outcome::Evidence(confirmed));
        assert_eq!(duty.next(&primary(any)), finish);
    }

    #[test]
    fn without_a_lease_and_in_recovery_it_fails() {
        let mut local = primary(NAMES);
        local.lease = None;
        assert!(matches!(
            duty().next(&local),
            Act::Finish(Outcome::Failed(_))
        ));
        assert!(matches!(
            duty().next(&running_standby()),
            Act::Finish(Outcome::Failed(_))
        ));
    }
}
