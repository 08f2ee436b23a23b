//! The primary of a cluster is changed on request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::decision::sql_only::switchover::{self as sql_only, SqlObstacle};
use crate::decision::switchover::{choose, obstacle};
use crate::model::switchover::USUAL_WAIT;
use crate::model::{ClusterName, InstanceId, Obstacle, Switchover};
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::state::{Change, NewSwitchover, SqlChange, asked_for};

use super::body::{Body, read};
use super::clusters::{Named, invalid, unknown, view};
use super::explain::without_agents;
use super::problem::Problem;
use super::refusal::not_recorded;
use super::views::ClusterView;

/// The body of `POST /api/v1/clusters/{cluster}/switchover`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchoverBody {
    /// Who shall be the primary; whoever can be, if absent.
    #[serde(default)]
    pub to: Option<String>,
    /// Who asks, at most 64 bytes; `somebody` if absent.
    #[serde(default)]
    pub owner: Option<String>,
    /// Why, at most 240 bytes.
    #[serde(default)]
    pub reason: Option<String>,
    /// For how long it may wait for what stands in its way and may pass, from 1 to 3600. If absent it is refused at once where
    /// something does. Only with agents.
    #[serde(default)]
    pub seconds: Option<u64>,
}

const SHAPE: &str = "{\"to\", \"owner\", \"reason\", \"seconds\"}";

/// `POST /api/v1/clusters/{cluster}/switchover`: the primary is shut down in order, or without agents asked to be quiet, and
/// a standby takes its place. Answers with the cluster as soon as that was recorded; its history says how it ended.
/// Fails with `bad-body`, `too-large`, `invalid`, `changing`, `not-now`, `unknown-cluster`, `feature-level`, `key-reused`,
/// `no-leader`, `outcome-unknown`.
pub async fn switchover(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<(StatusCode, Json<ClusterView>), Problem> {
    let body: SwitchoverBody = read(body, SHAPE)?;
    let to = body.to.as_deref().map(InstanceId::new).transpose();
    let to = to.map_err(|error| invalid(format!("to: {error}")))?;
    let has_agents = peer
        .consensus
        .read(|state| state.clusters.contains_key(&cluster));
    let reply = if has_agents {
        let change = with_agents(&peer, &cluster, to, body)?;
        let reply = peer.propose_as(origin, cluster.clone(), change).await;
        reply.map_err(not_recorded)?
    } else {
        if body.seconds.is_some() {
            let why =
                "seconds: without agents nothing is waited for; ask again when it can be done";
            return Err(invalid(why.to_owned()));
        }
        let change = over_sql(&peer, &cluster, to, body)?;
        let reply = peer.propose_sql_as(origin, cluster.clone(), change).await;
        reply.map_err(not_recorded)?
    };
    match reply {
        Ok(_) => {
            let now = view(&peer, &cluster).ok_or_else(|| unknown(&cluster))?;
            Ok((StatusCode::ACCEPTED, Json(now)))
        }
        Err(Rejection::Stale | Rejection::WrongPhase) => Err(changing(&cluster)),
        Err(Rejection::Exists(what)) => {
            let problem = Problem::new(StatusCode::CONFLICT, "changing", what);
            Err(problem.hint(format!("primacy status {cluster} says what it waits for")))
        }
        // It was not so a moment ago.
        Err(Rejection::Unproven(why)) => {
            let problem = Problem::new(StatusCode::CONFLICT, "not-now", why);
            Err(problem.hint(format!("primacy status {cluster} says how it is now")))
        }
        Err(rejection) => Err(invalid(rejection.to_string())),
    }
}

/// `DELETE /api/v1/clusters/{cluster}/switchover`: one that still waits is called off. Fails with `not-now` once the primary
/// is being shut down, and if none is recorded; `without-agents`, `unknown-cluster`, `feature-level`, `key-reused`,
/// `no-leader`, `outcome-unknown`.
pub async fn call_off(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
) -> Result<Json<ClusterView>, Problem> {
    let not_now = |why: String| {
        Problem::new(StatusCode::CONFLICT, "not-now", why)
            .hint(format!("primacy history {cluster} says how it ends"))
    };
    let found = peer.look(&cluster, |state, _, _| {
        let phase = state.cluster.switchover.as_ref().map(Switchover::phase);
        (state.cluster.epoch, phase)
    });
    let (seen, phase) = found.ok_or_else(|| without_agents(&peer, &cluster))?;
    let has_begun = || not_now("the primary is being shut down for it already".to_owned());
    match phase {
        Some("waiting") => {}
        Some(_) => return Err(has_begun()),
        None => return Err(not_now(format!("no switchover of {cluster} is recorded"))),
    }
    let change = Change::CallOffSwitchover { seen };
    let reply = peer.propose_as(origin, cluster.clone(), change).await;
    match reply.map_err(not_recorded)? {
        Ok(_) => {
            let now = view(&peer, &cluster).ok_or_else(|| unknown(&cluster))?;
            Ok(Json(now))
        }
        Err(Rejection::WrongPhase) => Err(has_begun()),
        Err(rejection) => Err(not_now(rejection.to_string())),
    }
}

/// What is recorded, if nothing stands in its way.
fn with_agents(
    peer: &Peer,
    cluster: &ClusterName,
    to: Option<InstanceId>,
    body: SwitchoverBody,
) -> Result<Change, Problem> {
    let waits = body.seconds.is_some();
    let found = peer.look(cluster, |state, view, _| {
        if let Some(asked) = &state.cluster.switchover {
            return Err(Obstacle::Asked(asked.to.clone()));
        }
        let to = match to {
            Some(to) => match obstacle(state, view, &to) {
                Some(obstacle) if !(waits && obstacle.may_pass()) => return Err(obstacle),
                Some(_) | None => to,
            },
            None => choose(state, view, waits)?,
        };
        Ok((to, state.cluster.epoch))
    });
    let found = found.ok_or_else(|| unknown(cluster))?;
    let (to, seen) = found.map_err(|obstacle| refused(cluster, &obstacle))?;
    Ok(Change::PlanSwitchover(NewSwitchover {
        seen,
        to,
        length: body.seconds.map_or(USUAL_WAIT, Duration::from_secs),
        owner: body.owner.unwrap_or_else(nobody_named),
        reason: body.reason.unwrap_or_else(no_reason),
    }))
}

fn nobody_named() -> String {
    "somebody".to_owned()
}

fn no_reason() -> String {
    "no reason was given".to_owned()
}

fn over_sql(
    peer: &Peer,
    cluster: &ClusterName,
    to: Option<InstanceId>,
    body: SwitchoverBody,
) -> Result<SqlChange, Problem> {
    let owner = body.owner.unwrap_or_else(nobody_named);
    let reason = body.reason.unwrap_or_else(no_reason);
    let found = peer.look_over_sql(cluster, |state, view, _| {
        let to = match to {
            Some(to) => match sql_only::obstacle(state, view, &to) {
                Some(obstacle) => return Err(obstacle),
                None => to,
            },
            None => sql_only::choose(state, view)?,
        };
        Ok((to, state.cluster.epoch))
    });
    let found = found.ok_or_else(|| unknown(cluster))?;
    let (to, seen) = found.map_err(|obstacle| refused_over_sql(cluster, &obstacle))?;
    Ok(SqlChange::Begin {
        seen,
        cause: asked_for(&owner, &reason).map_err(|it| invalid(it.to_string()))?,
        named: Some(to),
    })
}

fn refused_over_sql(cluster: &ClusterName, obstacle: &SqlObstacle) -> Problem {
    match obstacle {
        SqlObstacle::NoMember(_) | SqlObstacle::IsPrimary(_) => invalid(format!("to: {obstacle}")),
        SqlObstacle::Changing => changing(cluster),
        SqlObstacle::NotStreaming(_)
        | SqlObstacle::Quieted(_)
        | SqlObstacle::NotServing(_)
        | SqlObstacle::Unproven(_)
        | SqlObstacle::Nobody(_) => {
            let problem = Problem::new(StatusCode::CONFLICT, "not-now", obstacle.to_string());
            problem.hint(format!(
                "nothing was changed; primacy explain switchover {cluster} says of every instance whether it could be the primary"
            ))
        }
    }
}

pub(super) fn refused(cluster: &ClusterName, obstacle: &Obstacle) -> Problem {
    match obstacle {
        Obstacle::NoMember(_) | Obstacle::IsPrimary(_) => invalid(format!("to: {obstacle}")),
        Obstacle::Changing | Obstacle::Asked(_) => changing(cluster),
        Obstacle::Rejoins(_)
        | Obstacle::Recovering(_)
        | Obstacle::MustNot(_)
        | Obstacle::Held(_)
        | Obstacle::Silent(_)
        | Obstacle::NotServing(_)
        | Obstacle::NotStreaming(_)
        | Obstacle::Disk(_)
        | Obstacle::Behind { .. }
        | Obstacle::Late { .. }
        | Obstacle::TooFew { .. }
        | Obstacle::NotForced(_)
        | Obstacle::Nobody => {
            let wait = match obstacle.may_pass() {
                true => ", or with --wait 5m it is waited for",
                false => "",
            };
            Problem::new(StatusCode::CONFLICT, "not-now", obstacle.to_string()).hint(format!(
                "nothing was changed; primacy status {cluster} shows every instance, and another one may be named{wait}"
            ))
        }
    }
}

pub(super) fn changing(cluster: &ClusterName) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "changing",
        format!("the primary of {cluster} is changing already"),
    )
    .hint(format!("primacy status {cluster} says what it waits for"))
}
