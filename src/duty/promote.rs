//! Becoming the primary on exactly the allocated timeline, with the recorded names in force before the
//! first commit, and only under a live lease of the same epoch.

use crate::broken;
use crate::model::{Order, Timeline, WalPosition};
use crate::recovery::Evidence;

use super::local::{Data, Local, Session};
use super::{Act, Outcome};

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
}

impl Promoting {
    pub(super) fn next(&mut self, local: &Local) -> Act {
        let cannot = |why: String| {
            let instance = local.instance.clone();
            Act::Finish(Outcome::Evidence(Evidence::CannotPromote { instance, why }))
        };
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
            if let Some(end) = ends_at.filter(|end| *end < self.at_least) {
                return cannot(format!("its WAL ends at {end}, before {}", self.at_least));
            }
            // An old primary goes through recovery and a promotion as well.
            return Act::StartStandby { source: None };
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
            let instance = local.instance.clone();
            let mut lineage = lineage.clone();
            lineage.current = session.position.timeline;
            return Act::Finish(Outcome::Evidence(Evidence::Promoted { instance, lineage }));
        }
        if local.promotion_asked {
            // It removes its `standby.signal` before it opens.
            return Act::Look;
        }
        if !standby_signal {
            // Crash recovery of a primary that somebody else started: it would open on its old timeline.
            return Act::StopAll;
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
            };
        }
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
}

impl Configuring {
    pub(super) fn next(&mut self, local: &Local) -> Act {
        match &local.session {
            Some(session) if session.in_recovery => {
                Act::Finish(Outcome::Failed("it is not the primary".to_owned()))
            }
            Some(session)
                if session.synchronous_standby_names == self.synchronous_standby_names =>
            {
                Act::Finish(Outcome::Done)
            }
            Some(_) => Act::ConfigurePrimary {
                synchronous_standby_names: self.synchronous_standby_names.clone(),
            },
            None if local.is_running => Act::Look,
            None => Act::Finish(Outcome::Failed("it does not run".to_owned())),
        }
    }
}
