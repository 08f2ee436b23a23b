//! What operators say of automation: pauses, downtimes and promotion rules. Each ends by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::{ClusterName, InstanceId, Priority, PromotionRule};
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::state::{Directive, NewHold};

use super::body::{Body, read};
use super::clusters::{Named, invalid, unknown, view};
use super::problem::Problem;
use super::refusal::not_recorded;
use super::views::{ClusterView, PauseView, hold_view};

/// How long a failover keeps another one off.
pub(super) const BLOCK: &str = "/api/v1/clusters/{cluster}/block";
/// How much a cluster matters when not all can be helped at once.
pub(super) const PRIORITY: &str = "/api/v1/clusters/{cluster}/priority";
/// Where the last failover is acknowledged.
pub(super) const ACKNOWLEDGE: &str = "/api/v1/clusters/{cluster}/acknowledge";
/// Where an instance is put into downtime, and taken out of it.
pub(super) const DOWNTIME: &str = "/api/v1/clusters/{cluster}/instances/{instance}/downtime";
/// Where it gets a promotion rule.
pub(super) const RULE: &str = "/api/v1/clusters/{cluster}/instances/{instance}/rule";

/// The body of a pause or a downtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldBody {
    /// For how long, from one second to 30 days.
    pub seconds: u64,
    /// Who says it, at most 64 bytes.
    pub owner: String,
    /// Why, at most 240 bytes.
    pub reason: String,
}

/// The body of `POST /api/v1/clusters/{cluster}/instances/{instance}/rule`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// `prefer`, `neutral`, `prefer_not` or `must_not`.
    pub rule: PromotionRule,
    /// For how long, from one second to 30 days; pinned if absent.
    pub seconds: Option<u64>,
}

/// The body of `POST /api/v1/clusters/{cluster}/block`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockBody {
    /// For how long, from one second to 30 days; not at all if absent.
    pub seconds: Option<u64>,
}

/// The body of `POST /api/v1/clusters/{cluster}/priority`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityBody {
    /// From -100 to 100: the greater first; 0 as at the beginning.
    pub priority: Priority,
}

/// The body of `POST /api/v1/clusters/{cluster}/acknowledge`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeBody {
    /// Who says it, at most 64 bytes.
    pub owner: String,
    /// What of it, at most 240 bytes.
    pub comment: String,
}

impl From<HoldBody> for NewHold {
    fn from(body: HoldBody) -> NewHold {
        NewHold {
            length: Duration::from_secs(body.seconds),
            owner: body.owner,
            reason: body.reason,
        }
    }
}

/// The instance that the path names. Fails with `unknown-cluster` and `unknown-instance`.
pub struct NamedInstance(ClusterName, InstanceId);

impl<S: Send + Sync> FromRequestParts<S> for NamedInstance {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = |_| none_such("the names in the path are no text".to_owned());
        let Path((cluster, instance)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(text)?;
        let cluster = ClusterName::new(&cluster).map_err(|error| {
            Problem::new(StatusCode::NOT_FOUND, "unknown-cluster", error.to_string())
                .hint("GET /api/v1/clusters lists the clusters")
        })?;
        let instance = InstanceId::new(&instance).map_err(|error| none_such(error.to_string()))?;
        Ok(NamedInstance(cluster, instance))
    }
}

fn none_such(detail: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-instance", detail)
        .hint("GET /api/v1/clusters/{cluster} lists its instances")
}

/// Their routes, which the leader answers.
pub(super) fn routes() -> Router<Arc<Peer>> {
    Router::new()
        .route(
            "/api/v1/pause",
            get(pause).post(pause_all).delete(resume_all),
        )
        .route(
            "/api/v1/clusters/{cluster}/pause",
            post(pause_one).delete(resume_one),
        )
        .route(BLOCK, post(block))
        .route(PRIORITY, post(priority))
        .route(ACKNOWLEDGE, post(acknowledge))
        .route(DOWNTIME, post(downtime).delete(uptime))
        .route(RULE, post(rule))
}

const HOLD: &str = "{\"seconds\", \"owner\", \"reason\"}";

/// `GET /api/v1/pause`: the pause of all clusters.
pub async fn pause(State(peer): State<Arc<Peer>>) -> Json<PauseView> {
    let now = clock::wall_millis();
    let pause = peer.consensus.read(|state| {
        let pause = state.directives.pause(now);
        pause.map(|it| hold_view(it, true))
    });
    Json(PauseView {
        paused: pause.is_some(),
        pause,
    })
}

async fn say(peer: &Peer, origin: Origin, change: Directive) -> Result<(), Problem> {
    let said = peer.propose_directive(origin, change).await;
    said.map_err(not_recorded)?
        .map_err(|rejection| match rejection {
            Rejection::Unknown(what) if what.starts_with("instance") => {
                none_such(format!("there is no {what}"))
            }
            Rejection::Unknown(what) if what.starts_with("failover") => Problem::new(
                StatusCode::NOT_FOUND,
                "nothing-to-acknowledge",
                format!("there is no {what}"),
            )
            .hint("GET /api/v1/clusters/{cluster} shows what is blocked"),
            Rejection::Unknown(what) => {
                let detail = format!("there is no {what}");
                Problem::new(StatusCode::NOT_FOUND, "unknown-cluster", detail)
                    .hint("GET /api/v1/clusters lists the clusters")
            }
            rejection => invalid(rejection.to_string()),
        })
}

async fn say_of(
    peer: &Peer,
    origin: Origin,
    cluster: &ClusterName,
    change: Directive,
) -> Result<Json<ClusterView>, Problem> {
    tracing::info!(%cluster, ?change, "an operator says");
    say(peer, origin, change).await?;
    let now = view(peer, cluster);
    now.map(Json).ok_or_else(|| unknown(cluster))
}

/// `POST /api/v1/pause`: nothing is begun by itself in any cluster until it ends. Fails with `bad-body`, `too-large`,
/// `invalid`, `feature-level`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn pause_all(
    state: State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<Json<PauseView>, Problem> {
    let hold: HoldBody = read(body, HOLD)?;
    tracing::info!(?hold, "an operator pauses every cluster");
    let change = Directive::Pause {
        cluster: None,
        hold: hold.into(),
    };
    say(&state, origin, change).await?;
    Ok(pause(state).await)
}

/// `DELETE /api/v1/pause`: the pause of all clusters is over. Those of single ones go on. Fails with `feature-level`,
/// `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn resume_all(
    state: State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
) -> Result<Json<PauseView>, Problem> {
    tracing::info!("an operator ends the pause of every cluster");
    say(&state, origin, Directive::Resume { cluster: None }).await?;
    Ok(pause(state).await)
}

/// `POST /api/v1/clusters/{cluster}/pause`: nothing is begun by itself until it ends. Fails with `bad-body`, `too-large`,
/// `invalid`, `unknown-cluster`, `feature-level`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn pause_one(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<Json<ClusterView>, Problem> {
    let hold: HoldBody = read(body, HOLD)?;
    let change = Directive::Pause {
        cluster: Some(cluster.clone()),
        hold: hold.into(),
    };
    say_of(&peer, origin, &cluster, change).await
}

/// `DELETE /api/v1/clusters/{cluster}/pause`: its own pause is over. Fails with `unknown-cluster`, `feature-level`,
/// `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn resume_one(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
) -> Result<Json<ClusterView>, Problem> {
    let change = Directive::Resume {
        cluster: Some(cluster.clone()),
    };
    say_of(&peer, origin, &cluster, change).await
}

/// `POST /api/v1/clusters/{cluster}/instances/{instance}/downtime`: no recovery of it is begun by itself until it ends.
/// Fails with `bad-body`, `too-large`, `invalid`, `unknown-cluster`, `unknown-instance`, `feature-level`, `key-reused`,
/// `no-leader`, `outcome-unknown`.
pub async fn downtime(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    NamedInstance(cluster, instance): NamedInstance,
    body: Body,
) -> Result<Json<ClusterView>, Problem> {
    let hold: HoldBody = read(body, HOLD)?;
    let change = Directive::Downtime {
        cluster: cluster.clone(),
        instance,
        hold: hold.into(),
    };
    say_of(&peer, origin, &cluster, change).await
}

/// `DELETE /api/v1/clusters/{cluster}/instances/{instance}/downtime`: it is over. Fails with `unknown-cluster`,
/// `unknown-instance`, `feature-level`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn uptime(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    NamedInstance(cluster, instance): NamedInstance,
) -> Result<Json<ClusterView>, Problem> {
    let change = Directive::Uptime {
        cluster: cluster.clone(),
        instance,
    };
    say_of(&peer, origin, &cluster, change).await
}

/// `POST /api/v1/clusters/{cluster}/instances/{instance}/rule`: whether it is promoted rather than another one that holds
/// as much. Fails with `bad-body`, `too-large`, `invalid`, `unknown-cluster`, `unknown-instance`, `feature-level`,
/// `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn rule(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    NamedInstance(cluster, instance): NamedInstance,
    body: Body,
) -> Result<Json<ClusterView>, Problem> {
    let body: RuleBody = read(body, "{\"rule\", \"seconds\"}")?;
    let change = Directive::Rule {
        cluster: cluster.clone(),
        instance,
        rule: body.rule,
        length: body.seconds.map(Duration::from_secs),
    };
    say_of(&peer, origin, &cluster, change).await
}

/// `POST /api/v1/clusters/{cluster}/block`: how long a failover keeps another one off, unless it is acknowledged. Fails with
/// `bad-body`, `too-large`, `invalid`, `unknown-cluster`, `feature-level`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn block(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<Json<ClusterView>, Problem> {
    let body: BlockBody = read(body, "{\"seconds\"}")?;
    let change = Directive::Block {
        cluster: cluster.clone(),
        period: body.seconds.map(Duration::from_secs),
    };
    say_of(&peer, origin, &cluster, change).await
}

/// `POST /api/v1/clusters/{cluster}/priority`: when more clusters lose their primaries than are given a new one at once, the
/// greater priority comes first. Fails with `bad-body`, `too-large`, `invalid`, `unknown-cluster`, `feature-level`,
/// `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn priority(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<Json<ClusterView>, Problem> {
    let PriorityBody { priority } = read(body, "{\"priority\"}")?;
    let change = Directive::Priority {
        cluster: cluster.clone(),
        priority,
    };
    say_of(&peer, origin, &cluster, change).await
}

/// `POST /api/v1/clusters/{cluster}/acknowledge`: somebody has looked at the last failover, so another one may follow. Fails
/// with `bad-body`, `too-large`, `invalid`, `unknown-cluster`, `nothing-to-acknowledge`, `feature-level`, `key-reused`,
/// `no-leader`, `outcome-unknown`.
pub async fn acknowledge(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<Json<ClusterView>, Problem> {
    let body: AcknowledgeBody = read(body, "{\"owner\", \"comment\"}")?;
    let change = Directive::Acknowledge {
        cluster: cluster.clone(),
        owner: body.owner,
        comment: body.comment,
    };
    say_of(&peer, origin, &cluster, change).await
}
