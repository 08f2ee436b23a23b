//! Becoming the primary on exactly the allocated timeline, with the recorded names in force before the
//! first commit, and only under a live lease of the same epoch.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broken;
use crate::model::{InstanceId, Order, Timeline, Timestamp, WalPosition};
use crate::recovery::{Evidence, RETRY_AFTER};

use super::local::{Data, Local, Replay, Session};
use super::{Act, Outcome};

/// A promotion that has not happened within this time is begun again from a stop. It takes tens of
/// milliseconds; replaying what was received may take longer.
const PROMOTED_WITHIN: Duration = Duration::from_secs(5);
/// A candidate whose acts have failed for this long makes way for another.
const FAILS_FOR: Duration = Duration::from_secs(5);

/// A promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoting {
    /// Under which it was ordered.
    pub order: Order,
    /// The number that it must take.
    pub timeline: Timeline,
    /// The position that elected it.
    pub at_least: WalPosition,
    /// To be in force before the first commit.
    pub synchronous_standby_names: String,
    /// Instances for which WAL is kept in slots.
    pub members: BTreeSet<InstanceId>,
    /// When this duty asked PostgreSQL. What an earlier one asked may never have reached it.
    pub asked_at: Option<Timestamp>,
    /// When an act failed first, and when last.
    pub failing: Option<(Timestamp, Timestamp)>,
    /// The words of a failure after which no look was taken yet.
    pub failed: Option<String>,
}

impl Promoting {
    /// An act failed. Whatever was asked for may not have reached PostgreSQL, so it is asked for again.
    pub(super) fn note_failure(&mut self, why: &str) {
        self.failed = Some(why.to_owned());
        self.asked_at = None;
    }

    pub(super) fn next(&mut self, local: &Local) -> Act {
        let cannot = |why: String| {
            let instance = local.instance.clone();
            Act::Finish(Outcome::Evidence(Evidence::CannotPromote { instance, why }))
        };
        if let Some(why) = self.failed.take() {
            let first = self.failing.map_or(local.now, |(first, _)| first);
            self.failing = Some((first, local.now));
            let lasts = local.now.since(first);
            if lasts >= FAILS_FOR {
                return cannot(format!("it has failed for {} s: {why}", lasts.as_secs()));
            }
        }
        if let Some((_, last)) = self.failing
            && local.now.since(last) < RETRY_AFTER
        {
            return Act::Look;
        }
        let Data::Cluster {
            standby_signal,
            lineage,
            highest_timeline,
            ends_at,
            ..
        } = &local.data
        else {
            return cannot("there is no database in its data folder".to_owned());
        };
        if local.lease != Some(self.order.epoch) && !broken!(OnlyRenewalGrants) {
            return Act::Renew;
        }
        if !local.is_running {
            self.asked_at = None;
            return match ends_at {
                Some(end) if *end < self.at_least => {
                    cannot(format!("its WAL ends at {end}, before {}", self.at_least))
                }
                // An old primary goes through recovery and a promotion as well.
                Some(_) => Act::StartStandby { source: None },
                None => Act::Look,
            };
        }
        let Some(session) = &local.session else {
            return Act::Look;
        };
        if !session.in_recovery {
            if session.position.timeline != self.timeline && !broken!(AllocatedTimeline) {
                return cannot(format!(
                    "it writes on timeline {}",
                    session.position.timeline
                ));
            }
            if lineage.current != session.position.timeline {
                // Its own history file is not there yet, or the look at the folder is older.
                return Act::Look;
            }
            let instance = local.instance.clone();
            let lineage = lineage.clone();
            return Act::Finish(Outcome::Evidence(Evidence::Promoted { instance, lineage }));
        }
        if let Some(asked_at) = self.asked_at {
            let is_late = local.now.since(asked_at) > PROMOTED_WITHIN;
            return if is_late { Act::StopAll } else { Act::Look };
        }
        if !standby_signal {
            // PostgreSQL removes it before it opens: the promotion that an earlier agent asked for. Or it
            // is the crash recovery of a primary that somebody else started, on its old timeline.
            if !local.promotion_asked {
                return Act::StopAll;
            }
            self.asked_at = Some(local.now);
            return Act::Look;
        }
        // A promotion takes the number after the highest one that a file uses.
        if *highest_timeline >= self.timeline && !broken!(AllocatedTimeline) {
            return cannot(format!("timeline {highest_timeline} exists already"));
        }
        if highest_timeline.next() != self.timeline && !broken!(AllocatedTimeline) {
            return Act::Plant {
                below: self.timeline,
            };
        }
        if !self.is_configured(session) {
            return Act::ConfigurePrimary {
                synchronous_standby_names: self.synchronous_standby_names.clone(),
                members: self.members.clone(),
            };
        }
        // A paused startup process looks for a promotion only once a second; being told to go on wakes it.
        if session.replay != Replay::Running {
            return Act::ResumeReplay;
        }
        self.asked_at = Some(local.now);
        Act::AskPromotion
    }

    fn is_configured(&self, session: &Session) -> bool {
        let names = session.synchronous_standby_names == self.synchronous_standby_names
            || broken!(OwnSynchronousNames);
        names
            && session.commits_wait
            && !session.read_only_default
            && session.source.is_none()
            && !session.restores
    }
}

/// Putting recorded names in force on the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuring {
    /// The recorded value.
    pub synchronous_standby_names: String,
    /// Instances for which WAL is kept in slots.
    pub members: BTreeSet<InstanceId>,
}

impl Configuring {
    pub(super) fn next(&mut self, local: &Local) -> Act {
        match &local.session {
            Some(session) if session.in_recovery => {
                Act::Finish(Outcome::Failed("it is not the primary".to_owned()))
            }
            Some(session)
                if session.synchronous_standby_names == self.synchronous_standby_names
                    || broken!(OwnSynchronousNames) =>
            {
                Act::Finish(Outcome::Done)
            }
            Some(_) => Act::ConfigurePrimary {
                synchronous_standby_names: self.synchronous_standby_names.clone(),
                members: self.members.clone(),
            },
            None if local.is_running => Act::Look,
            None => Act::Finish(Outcome::Failed("it does not run".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::Duty;
    use crate::duty::local::example::{running_standby, standby_session};
    use crate::model::example::{at, order};
    use crate::model::{Epoch, Lsn};

    const NAMES: &str = "ANY 1 (\"a_1_4\")";

    fn promoting() -> Promoting {
        Promoting {
            order: order(4, 3),
            timeline: Timeline(5),
            at_least: at(2, 50),
            synchronous_standby_names: NAMES.to_owned(),
            asked_at: None,
            failing: None,
            failed: None,
            members: BTreeSet::new(),
        }
    }

    /// Fenced, and ready but for what `change` does.
    fn candidate(change: impl FnOnce(&mut Local)) -> Local {
        let mut local = running_standby();
        local.lease = Some(Epoch(4));
        local.session = Some(Session {
            source: None,
            synchronous_standby_names: NAMES.to_owned(),
            ..standby_session()
        });
        if let Data::Cluster {
            highest_timeline, ..
        } = &mut local.data
        {
            *highest_timeline = Timeline(4);
        }
        change(&mut local);
        local
    }

    fn cannot(act: &Act) -> bool {
        matches!(
            act,
            Act::Finish(Outcome::Evidence(Evidence::CannotPromote { .. }))
        )
    }

    #[test]
    fn every_precondition_comes_before_the_promotion() {
        let mut duty = promoting();
        let configure = Act::ConfigurePrimary {
            synchronous_standby_names: NAMES.to_owned(),
            members: BTreeSet::new(),
        };
        let session =
            |change: fn(&mut Session)| candidate(|local| change(local.session.as_mut().unwrap()));
        assert_eq!(promoting().next(&candidate(|_| {})), Act::AskPromotion);
        let forgotten = candidate(|local| local.promotion_asked = true);
        assert_eq!(promoting().next(&forgotten), Act::AskPromotion);
        assert_eq!(
            duty.next(&candidate(|local| local.lease = None)),
            Act::Renew
        );
        assert_eq!(
            duty.next(&candidate(|local| local.lease = Some(Epoch(3)))),
            Act::Renew
        );
        assert_eq!(
            duty.next(&session(|s| s.synchronous_standby_names.clear())),
            configure
        );
        assert_eq!(duty.next(&session(|s| s.commits_wait = false)), configure);
        assert_eq!(
            duty.next(&session(|s| s.read_only_default = true)),
            configure
        );
        assert_eq!(
            duty.next(&session(|s| s.source = standby_session().source)),
            configure
        );
        assert_eq!(duty.next(&candidate(|_| {})), Act::AskPromotion);
        assert_eq!(duty.next(&candidate(|_| {})), Act::Look);
        assert_eq!(
            duty.next(&candidate(|local| local.now.0 += 6_000)),
            Act::StopAll
        );
    }

    #[test]
    fn it_takes_exactly_the_allocated_timeline() {
        let highest = |timeline| {
            candidate(|local| {
                if let Data::Cluster {
                    highest_timeline, ..
                } = &mut local.data
                {
                    *highest_timeline = Timeline(timeline);
                }
            })
        };
        assert_eq!(
            promoting().next(&highest(2)),
            Act::Plant { below: Timeline(5) }
        );
        assert!(
            cannot(&promoting().next(&highest(5))),
            "the number is taken"
        );
        let open = |timeline, known| {
            candidate(|local| {
                let session = local.session.as_mut().unwrap();
                session.in_recovery = false;
                session.position = at(timeline, 60);
                if let Data::Cluster { lineage, .. } = &mut local.data {
                    lineage.current = Timeline(known);
                }
            })
        };
        assert!(cannot(&promoting().next(&open(3, 3))));
        assert_eq!(
            promoting().next(&open(5, 2)),
            Act::Look,
            "its fork is not known yet"
        );
        let Act::Finish(Outcome::Evidence(Evidence::Promoted { lineage, .. })) =
            promoting().next(&open(5, 5))
        else {
            panic!("it is promoted")
        };
        assert_eq!(lineage.current, Timeline(5));
        assert_eq!(lineage.left_at[&Timeline(1)], Lsn(5));
    }

    #[test]
    fn a_stopped_candidate_starts_as_a_standby_unless_it_lost_wal() {
        let stopped = |end| {
            candidate(|local| {
                local.is_running = false;
                local.session = None;
                if let Data::Cluster { ends_at, .. } = &mut local.data {
                    *ends_at = Some(end);
                }
            })
        };
        assert_eq!(
            promoting().next(&stopped(at(2, 50))),
            Act::StartStandby { source: None }
        );
        assert!(cannot(&promoting().next(&stopped(at(2, 49)))));
    }

    #[test]
    fn a_promotion_that_goes_on_failing_makes_way_for_another() {
        let mut duty = Duty::Promote(promoting());
        let unset = |after: u64| {
            candidate(|local| {
                local.now.0 += after;
                let session = local.session.as_mut().unwrap();
                session.synchronous_standby_names.clear();
            })
        };
        let mut tried = 0;
        for after in (0..5_000).step_by(100) {
            match duty.next(&unset(after)) {
                Act::Look => {}
                act @ Act::ConfigurePrimary { .. } => {
                    tried += 1;
                    assert_eq!(duty.failed(&act, "no space left"), None);
                }
                other => panic!("{other:?} after {after} ms"),
            }
        }
        assert!((5..=10).contains(&tried), "tried {tried} times");
        let act = duty.next(&unset(5_400));
        assert_eq!(duty.failed(&act, "no space left"), None);
        let Act::Finish(Outcome::Evidence(Evidence::CannotPromote { why, .. })) =
            duty.next(&unset(5_500))
        else {
            panic!("it tries for ever");
        };
        assert!(why.contains("no space left"), "{why}");
    }

    #[test]
    fn a_promotion_that_failed_once_goes_on() {
        let mut duty = Duty::Promote(promoting());
        let later = |after: u64| candidate(|local| local.now.0 += after);
        assert_eq!(duty.next(&later(0)), Act::AskPromotion);
        assert_eq!(duty.failed(&Act::AskPromotion, "no answer"), None);
        assert_eq!(duty.next(&later(100)), Act::Look);
        assert_eq!(duty.next(&later(700)), Act::AskPromotion);
        assert_eq!(duty.next(&later(800)), Act::Look);
        assert_eq!(duty.next(&later(6_000)), Act::StopAll);
    }
}
