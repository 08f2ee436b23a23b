//! Becoming the primary on exactly the allocated timeline, with the recorded names in force before the
//! first commit, and only under a live lease of the same epoch.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broken;
use crate::model::cluster::is_only_nobody;
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
    /// Whether commits were seen to wait on a server that this duty did not promote.
    pub waiting: Waiting,
}

/// Whether commits wait for standbys on a server that was open before: its sessions may be older than the names in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// Not known.
    #[default]
    Unknown,
    /// A proof was begun.
    Asked,
    /// They did not yet.
    NotYet,
    /// They do.
    Proven,
}

impl Promoting {
    /// An act failed. Whatever was asked for may not have reached PostgreSQL, so it is asked for again.
    pub(super) fn note_failure(&mut self, why: &str) {
        self.failed = Some(why.to_owned());
        self.asked_at = None;
    }

    /// Commits did not wait yet. That is asked again for as long as it takes: nobody else could be primary.
    pub(super) fn note_not_waiting(&mut self) {
        self.waiting = Waiting::NotYet;
    }

    /// Whether it serves already and only its proof is missing: to give it up would be to stop it.
    pub fn only_waits(&self) -> bool {
        match self.waiting {
            Waiting::Asked | Waiting::NotYet => true,
            Waiting::Unknown | Waiting::Proven => false,
        }
    }

    /// What a server that was open before still lacks: it is primary only once its commits obey the record.
    fn opened_before(&mut self, session: &Session) -> Option<Act> {
        if self.asked_at.is_some() {
            return None;
        }
        if !self.is_configured(session) {
            self.waiting = Waiting::Unknown;
            return Some(Act::ConfigurePrimary {
                synchronous_standby_names: self.synchronous_standby_names.clone(),
                members: self.members.clone(),
            });
        }
        if !is_only_nobody(&self.synchronous_standby_names) {
            return None;
        }
        self.waiting = match self.waiting {
            Waiting::Unknown | Waiting::NotYet => Waiting::Asked,
            Waiting::Asked | Waiting::Proven => Waiting::Proven,
        };
        (self.waiting == Waiting::Asked).then_some(Act::ProveWaiting)
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
            if let Some(act) = self.opened_before(session) {
                return act;
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
mod tests;
