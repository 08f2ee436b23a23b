//! What a plan says of its cluster's turn, and what is left of it without one.

use super::{Course, Queue, Stand, Turn};
use crate::decision::sql_only::{SqlFinding, SqlPlan};
use crate::decision::{Finding, Plan};
use crate::model::{Held, Priority};
use crate::recovery::sql_only::{SqlPhase, SqlReason};
use crate::recovery::{FenceProof, Handover, Reason};
use crate::state::{Change, ClusterState, SqlChange, SqlState};

/// What waits for a turn is said in the words of everything that holds a failover back.
fn held(queue: Queue) -> Held {
    Held::Turn {
        under_way: queue.under_way,
        limit: queue.limit,
    }
}

impl Course {
    /// Of a cluster with agents, by its record alone.
    pub fn recorded(state: &ClusterState) -> Course {
        match &state.handover {
            Some(Handover::Fencing { .. }) => Course::Runs,
            // The first data is no recovery, and may be waited for as long as somebody takes to start an agent.
            Some(Handover::Creating { .. }) => Course::Quiet,
            Some(Handover::Promoting { proof, .. }) => match proof {
                FenceProof::Created => Course::Quiet,
                FenceProof::Quorum { .. }
                | FenceProof::OldPrimaryPromised
                | FenceProof::LeaseLapsed
                | FenceProof::Forced { .. } => Course::Runs,
            },
            Some(Handover::Repointing { .. } | Handover::Done) | None => Course::Quiet,
        }
    }

    /// Of a cluster without agents, by its record alone.
    pub fn recorded_over_sql(state: &SqlState) -> Course {
        match state.handover.as_ref().map(|it| &it.phase) {
            Some(
                SqlPhase::Quieting { .. } | SqlPhase::Revoking { .. } | SqlPhase::Promoting { .. },
            ) => Course::Runs,
            Some(SqlPhase::Repointing { .. } | SqlPhase::Done) | None => Course::Quiet,
        }
    }

    /// With what its plan says besides: whether the primary is being changed, whether a failover would begin now, and whether
    /// one seems to be needed.
    fn planned(self, changes: bool, begins: bool, is_needed: bool, held: Option<&Held>) -> Course {
        match self {
            Course::Runs => self,
            _ if changes => Course::Quiet,
            _ if begins => Course::Ready,
            _ if is_needed => Course::Troubled.unless_held(held),
            _ => Course::Quiet,
        }
    }

    /// Somebody said that nothing shall be begun: no turn is kept for it.
    fn unless_held(self, held: Option<&Held>) -> Course {
        match held {
            Some(Held::Paused { .. } | Held::Downtime { .. } | Held::Blocked { .. }) => {
                Course::Quiet
            }
            Some(Held::Hook { .. } | Held::Turn { .. }) | None => self,
        }
    }
}

impl Plan {
    /// What its cluster is up to, before it is held back by its turn.
    pub fn stand(&self, state: &ClusterState, priority: Priority) -> Stand {
        let seems_dead = |it: &Finding| {
            it.calls_for_asking() || matches!(it, Finding::UnreachablePrimary { .. })
        };
        let is_needed = self.findings.iter().any(seems_dead);
        // Whoever asked for a switchover does not wait beside a primary that is down for it.
        let changes = state.handover.is_some() || state.cluster.switches_over();
        let course = Course::recorded(state);
        Stand {
            course: course.planned(changes, self.begins(), is_needed, self.holds()),
            order: state.order(),
            priority,
        }
    }

    fn begins(&self) -> bool {
        let is_begin = |it: &Change| matches!(it, Change::Begin { .. });
        self.proposals.iter().any(is_begin)
    }

    fn holds(&self) -> Option<&Held> {
        self.waiting.iter().find_map(|it| match it {
            (None, Reason::Held(held)) => Some(held),
            _ => None,
        })
    }

    /// The same without the beginning of a failover that has no turn.
    pub fn in_turn(mut self, turn: Turn) -> Plan {
        let Turn::Waits(queue) = turn else {
            return self;
        };
        self.proposals
            .retain(|it| !matches!(it, Change::Begin { .. }));
        // It is asked again all the time, so that it begins at once when its turn comes.
        self.waiting.retain(|it| *it != (None, Reason::Asking));
        self.waiting.push((None, Reason::Held(held(queue))));
        self.findings.push(Finding::WaitsForTurn { queue });
        self
    }
}

impl SqlPlan {
    /// What its cluster is up to, before it is held back by its turn.
    pub fn stand(&self, state: &SqlState, priority: Priority) -> Stand {
        let seems_dead = |it: &SqlFinding| {
            it.is_actionable() || matches!(it, SqlFinding::UnreachablePrimary { .. })
        };
        let is_needed = self.findings.iter().any(seems_dead);
        let changes = state.handover.is_some();
        let course = Course::recorded_over_sql(state);
        Stand {
            course: course.planned(changes, self.begins(), is_needed, self.holds()),
            order: state.order(),
            priority,
        }
    }

    fn begins(&self) -> bool {
        let is_begin = |it: &SqlChange| matches!(it, SqlChange::Begin { .. });
        self.proposals.iter().any(is_begin)
    }

    fn holds(&self) -> Option<&Held> {
        self.waiting.iter().find_map(|it| match it {
            SqlReason::Held(held) => Some(held),
            _ => None,
        })
    }

    /// The same without the beginning of a failover that has no turn.
    pub fn in_turn(mut self, turn: Turn) -> SqlPlan {
        let Turn::Waits(queue) = turn else {
            return self;
        };
        self.proposals
            .retain(|it| !matches!(it, SqlChange::Begin { .. }));
        self.waiting.retain(|it| *it != SqlReason::Asking);
        self.waiting.push(SqlReason::Held(held(queue)));
        self.findings.push(SqlFinding::WaitsForTurn { queue });
        self
    }
}
