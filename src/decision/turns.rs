//! Whose turn it is: of many clusters whose primaries failed at once, so many are given a new one at the same time, and those
//! first that operators put first.
//!
//! A turn holds back a beginning and nothing else: what is under way goes on, whoever leads, and counts, because it is in the
//! record. It must never be waited for without end. So a turn ends when the new primary serves or the recovery is given up, and
//! is nobody's after [`HELD_FOR`] in which nothing was recorded: what waits for a quorum or for a person keeps nobody waiting.
//! Whoever had a turn in vain comes after those who had none.

mod plans;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, Order, Priority, Timestamp};

/// A turn in which nothing is recorded for so long is nobody's any more. Longer than what a step takes that goes well, and
/// than a lease that is waited for.
pub const HELD_FOR: Duration = Duration::from_secs(12);
/// A primary that seems to fail for no longer than this is expected to be proven dead in a moment: a zone that is lost is not
/// found to be so in all clusters at once, and the first that is found is not the most important one.
const EXPECTED_FOR: Duration = Duration::from_secs(2);
/// Whoever could have begun waits still when its answers are asked for again, which takes less than this.
const READY_FOR: Duration = Duration::from_secs(1);
/// What was lately done in vain is forgotten after so long without trouble.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// What a cluster is up to, as far as turns are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Nothing of it needs a turn: a primary serves, or nobody could take its place, or it is asked for by an operator.
    Quiet,
    /// Its primary seems to fail.
    Troubled,
    /// A recovery would begin now.
    Ready,
    /// A recovery is under way, and no primary serves yet.
    Runs,
}

/// What the leader sees of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// What it is up to.
    pub course: Course,
    /// The order of its record: it grows with whatever is recorded of a recovery.
    pub order: Order,
    /// How much it matters.
    pub priority: Priority,
}

/// Whether a recovery may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It may, or it asks for nothing.
    Has,
    /// It waits.
    Waits(Queue),
}

/// What a cluster waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// How many recoveries have a turn.
    pub under_way: usize,
    /// How many may.
    pub limit: usize,
    /// How many clusters come before this one.
    pub ahead: usize,
}

impl Queue {
    /// What follows, and what a person may do.
    pub const REMEDY: &str = "Primacy begins it when another one has ended, or has not come on for 12 s; primacy cluster priority says who comes first, \
         max_concurrent_recoveries of the peers how many may run at once";
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Queue {
            under_way,
            limit,
            ahead,
        } = self;
        write!(
            f,
            "a failover waits for its turn: {under_way} recoveries run, and {limit} may at once"
        )?;
        match ahead {
            0 => Ok(()),
            1 => f.write_str("; 1 cluster comes before this one"),
            2.. => write!(f, "; {ahead} clusters come before this one"),
        }
    }
}

/// The turns of all clusters, kept by the leader alone and begun anew by every leader.
#[derive(Debug)]
pub struct Turns {
    limit: usize,
    clusters: BTreeMap<ClusterName, Entry>,
}

/// Who comes first: whoever had the fewest turns, then whoever matters most, then whoever has waited longest.
type Rank = (u32, Reverse<Priority>, Timestamp);

#[derive(Debug)]
struct Entry {
    stand: Stand,
    /// Since when it has been in its trouble, or has waited for another turn.
    since: Timestamp,
    ready_at: Option<Timestamp>,
    /// While it has a turn: when it got it, or when something was last recorded of it.
    moved_at: Option<Timestamp>,
    /// How many turns it had since it was last well.
    had: u32,
}

impl Entry {
    /// Of a cluster that was well until now.
    fn new(stand: Stand, now: Timestamp) -> Entry {
        Entry {
            stand: Stand {
                course: Course::Quiet,
                ..stand
            },
            since: now,
            ready_at: None,
            moved_at: None,
            had: 0,
        }
    }

    fn note(&mut self, stand: Stand, now: Timestamp) {
        let before = std::mem::replace(&mut self.stand, stand);
        let was_quiet = before.course == Course::Quiet;
        match stand.course {
            Course::Quiet => {
                if !was_quiet {
                    self.since = now;
                }
                self.had += u32::from(before.course == Course::Runs);
                if now.since(self.since) >= SETTLED_AFTER {
                    self.had = 0;
                }
                (self.moved_at, self.ready_at) = (None, None);
            }
            Course::Runs => {
                if before.course != Course::Runs || before.order != stand.order {
                    self.moved_at = Some(now);
                }
            }
            Course::Troubled | Course::Ready => {
                let ran = before.course == Course::Runs || before.order.epoch != stand.order.epoch;
                let had_it = self.moved_at.is_some() || before.course == Course::Runs;
                if had_it && (ran || !self.counts(now)) {
                    self.moved_at = None;
                    self.had += 1;
                    self.since = now;
                } else if was_quiet {
                    self.since = now;
                }
                if stand.course == Course::Ready {
                    self.ready_at = Some(now);
                }
            }
        }
    }

    /// Whether it has a turn.
    fn counts(&self, now: Timestamp) -> bool {
        self.moved_at.is_some_and(|at| now.since(at) < HELD_FOR)
    }

    fn is_ready(&self, now: Timestamp) -> bool {
        self.ready_at.is_some_and(|at| now.since(at) < READY_FOR)
    }

    /// Whether it wants a turn and has none.
    fn contends(&self, now: Timestamp) -> bool {
        let is_expected = now.since(self.since) < EXPECTED_FOR;
        let wants = matches!(self.stand.course, Course::Troubled | Course::Ready);
        wants && !self.counts(now) && (self.is_ready(now) || is_expected)
    }

    fn rank(&self) -> Rank {
        (self.had, Reverse(self.stand.priority), self.since)
    }
}

impl Turns {
    /// So many at once, at least one.
    pub fn new(limit: usize) -> Turns {
        Turns {
            limit: limit.max(1),
            clusters: BTreeMap::new(),
        }
    }

    /// Notes what is recorded of a cluster that was not looked at yet. Whoever leads anew does so of all before it notes one:
    /// then recoveries that are under way keep their turns, and nobody is before a more important one that was not looked at.
    pub fn expect(&mut self, cluster: &ClusterName, recorded: Stand, now: Timestamp) {
        let course = match recorded.course {
            Course::Runs => Course::Runs,
            Course::Quiet | Course::Troubled | Course::Ready => Course::Troubled,
        };
        if !self.clusters.contains_key(cluster) {
            self.note(cluster, Stand { course, ..recorded }, now);
        }
    }

    /// Notes what is seen of a cluster now, and answers whether its recovery may begin. From then on it has the turn that it
    /// was given.
    pub fn note(&mut self, cluster: &ClusterName, stand: Stand, now: Timestamp) -> Turn {
        if !self.clusters.contains_key(cluster) {
            self.clusters
                .insert(cluster.clone(), Entry::new(stand, now));
        }
        if let Some(entry) = self.clusters.get_mut(cluster) {
            entry.note(stand, now);
        }
        let turn = self.of(cluster, now);
        if turn == Turn::Has
            && stand.course == Course::Ready
            && let Some(entry) = self.clusters.get_mut(cluster)
        {
            entry.moved_at.get_or_insert(now);
        }
        turn
    }

    /// Whether its recovery may begin, by what was noted of it last.
    pub fn of(&self, cluster: &ClusterName, now: Timestamp) -> Turn {
        let own = self.clusters.get(cluster);
        let Some(own) = own.filter(|it| it.contends(now) && it.is_ready(now)) else {
            return Turn::Has;
        };
        self.queue(cluster, own.rank(), now)
    }

    /// Whether its recovery could begin if its primary failed now.
    pub fn forecast(&self, cluster: &ClusterName, priority: Priority, now: Timestamp) -> Turn {
        let known = self.clusters.get(cluster);
        if known.is_some_and(|it| it.counts(now)) {
            return Turn::Has;
        }
        let had = known.map_or(0, |it| it.had);
        let since = known.filter(|it| it.contends(now)).map(|it| it.since);
        let rank = (had, Reverse(priority), since.unwrap_or(now));
        self.queue(cluster, rank, now)
    }

    fn queue(&self, cluster: &ClusterName, rank: Rank, now: Timestamp) -> Turn {
        let mine = (rank, cluster);
        let others = self.clusters.iter().filter(|(name, _)| *name != cluster);
        let contending = others.filter(|(_, it)| it.contends(now));
        let ahead = contending.filter(|(name, it)| (it.rank(), *name) < mine);
        let ahead = ahead.count();
        let under_way = self.under_way(now);
        match under_way + ahead < self.limit {
            true => Turn::Has,
            false => Turn::Waits(Queue {
                under_way,
                limit: self.limit,
                ahead,
            }),
        }
    }

    /// How many have a turn.
    pub fn under_way(&self, now: Timestamp) -> usize {
        self.clusters.values().filter(|it| it.counts(now)).count()
    }

    /// How many wait for one.
    pub fn waiting(&self, now: Timestamp) -> usize {
        let waits = |it: &&Entry| it.contends(now) && it.is_ready(now);
        self.clusters.values().filter(waits).count()
    }

    /// How many may have one at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Keeps nothing more of a cluster.
    pub fn forget(&mut self, cluster: &ClusterName) {
        self.clusters.remove(cluster);
    }

    /// Keeps nothing more: another peer leads.
    pub fn clear(&mut self) {
        self.clusters.clear();
    }
}

#[cfg(test)]
mod tests;
