//! Whether a switchover over SQL may begin now, and to whom if nobody is named: the primary serves, and the proof includes the
//! candidate.

use std::fmt;

use crate::model::sql_only::end_of;
use crate::model::{FenceDemand, InstanceFacts, InstanceId, Role, SqlView};
use crate::recovery::sql_only::feeding::is_cascade;
use crate::recovery::sql_only::{SqlReason, proof, reach};
use crate::state::SqlState;

/// Why a switchover is not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlObstacle {
    /// The candidate is no member.
    NoMember(InstanceId),
    /// The candidate is the primary already.
    IsPrimary(InstanceId),
    /// The primary is changing, or there is none.
    Changing,
    /// The candidate receives nothing.
    NotStreaming(InstanceId),
    /// This one was asked to be quiet for a switchover that came to nothing, and must accept writes first.
    Quieted(InstanceId),
    /// The primary does not serve.
    NotServing(InstanceId),
    /// It would come to nothing, or could not be proven to lose nothing.
    Unproven(SqlReason),
    /// No standby could be the primary; each with the cause.
    Nobody(Vec<(InstanceId, String)>),
}

/// Why a switchover to `to` would come to nothing, or could not be proven to lose nothing; none if it may begin.
pub fn obstacle(state: &SqlState, view: &SqlView, to: &InstanceId) -> Option<SqlObstacle> {
    let cluster = &state.cluster;
    if !cluster.members.contains_key(to) {
        return Some(SqlObstacle::NoMember(to.clone()));
    }
    if cluster.primary.as_ref() == Some(to) {
        return Some(SqlObstacle::IsPrimary(to.clone()));
    }
    common(state, view).or_else(|| of_candidate(state, view, to))
}

/// Whom to switch over to if nobody is named: of those to whom it can be done who would be elected of equals; one that streams
/// from another standby only if nobody else is left. Or why it cannot be done.
pub fn choose(state: &SqlState, view: &SqlView) -> Result<InstanceId, SqlObstacle> {
    if let Some(obstacle) = common(state, view) {
        return Err(obstacle);
    }
    let cluster = &state.cluster;
    let voters = proof::electors(cluster, cluster.primary.as_ref());
    let (mut best, mut others) = (None, vec![]);
    let standbys = cluster.members.keys();
    for id in standbys.filter(|id| cluster.primary.as_ref() != Some(*id)) {
        match of_candidate(state, view, id) {
            Some(obstacle) => others.push((id.clone(), obstacle.to_string())),
            None => {
                let facts = view.fresh(id);
                let at = facts.and_then(end_of).unwrap_or_default();
                let is_direct = !facts.is_some_and(|it| is_cascade(cluster, it));
                let rank = (is_direct, proof::rank(&voters, None, view, (id, at)));
                best = best.max(Some((rank, id)));
            }
        }
    }
    let best = best.map(|(_, id)| id.clone());
    best.ok_or(SqlObstacle::Nobody(others))
}

/// What stands in the way whoever shall be the primary.
fn common(state: &SqlState, view: &SqlView) -> Option<SqlObstacle> {
    let cluster = &state.cluster;
    let primary = cluster.primary.as_ref();
    let Some(primary) = primary.filter(|_| state.handover.is_none()) else {
        return Some(SqlObstacle::Changing);
    };
    if cluster.fence == FenceDemand::Required {
        return Some(SqlObstacle::Unproven(SqlReason::AgentsRequired));
    }
    if let Some(quieted) = &state.quieted {
        return Some(SqlObstacle::Quieted(quieted.clone()));
    }
    let serves = |facts: &InstanceFacts| {
        facts.role == Role::Primary && facts.timeline == Some(cluster.lineage.current)
    };
    let is_serving = view.fresh(primary).is_some_and(serves);
    (!is_serving).then(|| SqlObstacle::NotServing(primary.clone()))
}

/// What stands in the way of this one.
fn of_candidate(state: &SqlState, view: &SqlView, to: &InstanceId) -> Option<SqlObstacle> {
    let cluster = &state.cluster;
    let receives = |it: &InstanceFacts| it.status.io_thread_running;
    if !view.fresh(to).is_some_and(receives) {
        return Some(SqlObstacle::NotStreaming(to.clone()));
    }
    let whom = (Some(to), cluster.primary.as_ref());
    reach::why_unprovable(cluster, whom, view).map(SqlObstacle::Unproven)
}

impl SqlObstacle {
    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            SqlObstacle::NoMember(_) => "no_member",
            SqlObstacle::IsPrimary(_) => "is_primary",
            SqlObstacle::Changing => "changing",
            SqlObstacle::NotStreaming(_) => "not_streaming",
            SqlObstacle::Quieted(_) => "quieted",
            SqlObstacle::NotServing(_) => "not_serving",
            SqlObstacle::Unproven(reason) => reason.code(),
            SqlObstacle::Nobody(_) => "nobody",
        }
    }
}

impl fmt::Display for SqlObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlObstacle::NoMember(it) => write!(f, "there is no instance {it}"),
            SqlObstacle::IsPrimary(it) => write!(f, "{it} is the primary already"),
            SqlObstacle::Changing => {
                f.write_str("the primary is changing already, or there is none")
            }
            SqlObstacle::NotStreaming(it) => write!(f, "{it} does not stream"),
            SqlObstacle::Quieted(it) => write!(
                f,
                "{it} was asked to be quiet and does not accept writes again yet"
            ),
            SqlObstacle::NotServing(it) => write!(f, "the primary {it} is not seen to serve"),
            SqlObstacle::Unproven(reason) => reason.fmt(f),
            SqlObstacle::Nobody(others) => {
                f.write_str("no standby could be the primary now")?;
                for (instance, why) in others {
                    write!(f, "; to {instance}: {why}")?;
                }
                Ok(())
            }
        }
    }
}
