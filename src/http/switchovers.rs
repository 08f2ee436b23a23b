//! The primary of a cluster is changed on request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::decision::sql_only::not_to;
use crate::decision::switchover::{choose, obstacle};
use crate::model::switchover::USUAL_WAIT;
use crate::model::{ClusterName, Epoch, InstanceId, Obstacle, Switchover};
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::state::{Change, NewSwitchover, SqlChange};

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
    /// Who shall be the primary; with agents whoever can be, if absent.
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
/// the named standby takes its place. Answers with the cluster as soon as that was recorded; its history says how it ended.
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
        let change = over_sql(&peer, &cluster, to)?;
        let reply = peer.propose_sql_as(origin, cluster.clone(), change).await;
        reply.map_err(not_recorded)?
    };
    match reply {
        Ok(_) => {
            let now = view(&peer, &cluster).ok_or_else(|| unknown(&cluster))?;
            Ok((StatusCode::ACCEPTED, Json(now)))
        }
        Err(Rejection::Stale | Rejection::WrongPhase | Rejection::Exists(_)) => {
            Err(changing(&cluster))
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
        owner: body.owner.unwrap_or_else(|| "somebody".to_owned()),
        reason: body
            .reason
            .unwrap_or_else(|| "no reason was given".to_owned()),
    }))
}

fn over_sql(
    peer: &Peer,
    cluster: &ClusterName,
    to: Option<InstanceId>,
) -> Result<SqlChange, Problem> {
    let missing = || invalid("to: without agents it must be named".to_owned());
    let (seen, to) = peer
        .look_over_sql(cluster, |state, view, _| {
            let to = to.ok_or_else(missing)?;
            let cluster = &state.cluster;
            let hears = view
                .fresh(&to)
                .is_some_and(|it| it.status.io_thread_running);
            if !cluster.members.contains_key(&to) {
                Err(invalid(format!("to: there is no instance {to}")))
            } else if cluster.primary.as_ref() == Some(&to) {
                Err(invalid(format!("to: {to} is the primary already")))
            } else if state.handover.is_some() || cluster.primary.is_none() {
                Err(changing(&cluster.name))
            } else if !hears {
                Err(invalid(format!("to: {to} does not stream")))
            } else if let Some(why) = not_to(state, view, &to) {
                Err(Problem::new(StatusCode::CONFLICT, "not-now", why).hint(format!(
                    "nothing was changed; primacy status {} shows every instance and what can be proven of it",
                    cluster.name
                )))
            } else {
                Ok::<(Epoch, InstanceId), Problem>((cluster.epoch, to))
            }
        })
        .ok_or_else(|| unknown(cluster))??;
    Ok(SqlChange::Begin {
        seen,
        cause: format!("{to} shall be the primary"),
        named: Some(to),
    })
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
    .hint("GET /api/v1/clusters/{cluster} says what it waits for")
}
