//! Shutting the primary down for a switchover, so that nothing it wrote is missing on any standby that streams: it ends
//! its sessions, writes its last checkpoint, and waits until every such standby has flushed that.
//!
//! A standby that stands still would be waited for. So there is an end to that: then everything is killed, and who becomes
//! the primary is decided by what each of them holds.

use std::time::Duration;

use crate::model::{Order, Timestamp};
use crate::recovery::Evidence;

use super::local::{Data, Local};
use super::{Act, Outcome};

/// How long the checkpoint may take that comes before, while clients write on: a large memory on a slow disk. One that takes
/// longer would keep them waiting, were it begun with the shutdown.
pub const CHECKPOINT_WITHIN: Duration = Duration::from_secs(60);
/// How long clients wait for the shutdown before it is ended by force. It takes a tenth of a second if every standby goes
/// along; then there is time to start again within what clients must bear, 10 s.
const DOWN_WITHIN: Duration = Duration::from_secs(4);

/// A shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShuttingDown {
    order: Order,
    /// Whether a checkpoint was written.
    is_prepared: bool,
    /// Whether it was told to go down.
    is_told: bool,
    /// Since when it is on its way down, as far as this duty knows.
    since: Option<Timestamp>,
}

impl ShuttingDown {
    /// Ordered so.
    pub fn new(order: Order) -> ShuttingDown {
        ShuttingDown {
            order,
            is_prepared: false,
            is_told: false,
            since: None,
        }
    }

    /// Whether PostgreSQL was told to go down: from then on it does, whoever changes their mind.
    pub fn is_told(&self) -> bool {
        self.is_told
    }

    pub(super) fn next(&mut self, local: &Local) -> Act {
        let failed = |why: &str| Act::Finish(Outcome::Failed(why.to_owned()));
        let Data::Cluster {
            ends_at,
            standby_signal,
            ..
        } = &local.data
        else {
            return failed("there is no database in its data folder");
        };
        if !local.is_running {
            if *standby_signal {
                return failed("it is not the primary");
            }
            return match ends_at {
                Some(position) => Act::Finish(Outcome::Evidence(Evidence::ShutDown {
                    instance: local.instance.clone(),
                    position: *position,
                })),
                None => Act::Look,
            };
        }
        if local.session.is_some() && !self.is_told {
            // It was only slow to answer.
            self.since = None;
        }
        if let Some(since) = self.since
            && local.now.since(since) > DOWN_WITHIN
        {
            return Act::StopAll;
        }
        let Some(session) = &local.session else {
            // An agent of before may have told it, or it hangs: it is waited for as long in either case.
            self.since.get_or_insert(local.now);
            return Act::Look;
        };
        if session.in_recovery {
            return failed("it is not the primary");
        }
        if local.lease != Some(self.order.epoch) {
            return failed("it holds no lease of this epoch");
        }
        if !self.is_prepared {
            self.is_prepared = true;
            return Act::Checkpoint;
        }
        self.is_told = true;
        self.since.get_or_insert(local.now);
        Act::ShutDown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::local::example::running_standby;
    use crate::model::Epoch;
    use crate::model::example::{at, order};

    fn primary() -> Local {
        let mut local = running_standby();
        local.lease = Some(Epoch(1));
        local.session.as_mut().unwrap().in_recovery = false;
        let Data::Cluster { standby_signal, .. } = &mut local.data else {
            panic!("a cluster")
        };
        *standby_signal = false;
        local
    }

    fn stopped() -> Local {
        let mut local = primary();
        (local.is_running, local.has_postmaster, local.session) = (false, false, None);
        (local.lease, local.is_armed) = (None, false);
        let Data::Cluster { ends_at, .. } = &mut local.data else {
            panic!("a cluster")
        };
        *ends_at = Some(at(2, 60));
        local
    }

    fn duty() -> ShuttingDown {
        ShuttingDown::new(order(1, 9))
    }

    #[test]
    fn a_checkpoint_comes_first_and_the_end_is_told() {
        let mut duty = duty();
        let mut local = primary();
        assert_eq!(duty.next(&local), Act::Checkpoint);
        assert_eq!(duty.next(&local), Act::ShutDown);
        local.session = None;
        assert_eq!(duty.next(&local), Act::Look);
        let Act::Finish(Outcome::Evidence(Evidence::ShutDown { position, .. })) =
            duty.next(&stopped())
        else {
            panic!("it is down")
        };
        assert_eq!(position, at(2, 60));
    }

    #[test]
    fn a_standby_that_stands_still_is_not_waited_for_for_ever() {
        let mut duty = duty();
        let mut local = primary();
        local.session = None;
        assert_eq!(duty.next(&local), Act::Look, "an earlier agent told it");
        local.now = local.now.after(DOWN_WITHIN);
        assert_eq!(duty.next(&local), Act::Look);
        local.now.0 += 1;
        assert_eq!(duty.next(&local), Act::StopAll);
    }

    #[test]
    fn one_that_is_slow_to_answer_is_not_killed() {
        let mut duty = duty();
        let mut local = primary();
        let session = local.session.take();
        assert_eq!(duty.next(&local), Act::Look);
        local.session = session;
        assert_eq!(duty.next(&local), Act::Checkpoint);
        local.now = local.now.after(2 * DOWN_WITHIN);
        assert_eq!(duty.next(&local), Act::ShutDown);
    }

    #[test]
    fn only_a_primary_under_its_lease_is_shut_down() {
        let mut unleased = primary();
        unleased.lease = None;
        for local in [running_standby(), unleased] {
            let said = duty().next(&local);
            assert!(matches!(said, Act::Finish(Outcome::Failed(_))), "{said:?}");
        }
        let mut standby = stopped();
        if let Data::Cluster { standby_signal, .. } = &mut standby.data {
            *standby_signal = true;
        }
        let said = duty().next(&standby);
        assert!(matches!(said, Act::Finish(Outcome::Failed(_))), "{said:?}");
    }
}
