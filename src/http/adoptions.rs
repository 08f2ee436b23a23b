//! Clusters without agents: adopted, forgotten, and their primary changed on request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::model::{Address, ClusterName, FenceDemand, InstanceId};
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::server::sql_only::NotAdopted;
use crate::state::SqlChange;

use super::body::{Body, read};
use super::clusters::{HOST_LIMIT, Named, invalid, unknown, view};
use super::problem::Problem;
use super::refusal::not_recorded;
use super::views::{AdoptionView, ClusterView, adoption_view};

/// The most addresses that may be given.
const ADDRESSES: usize = 64;

/// The body of `POST /api/v1/adoptions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptionBody {
    /// Where an instance answers.
    pub address: Address,
    /// Where those answer that cannot be found.
    #[serde(default)]
    pub instances: Vec<Address>,
    /// The name of the cluster; `pg-` and its system identifier if absent.
    pub name: Option<String>,
    /// `courtesy`, or `required`: then nothing is failed over without agents.
    #[serde(default)]
    pub fence: FenceDemand,
    /// Only what would be recorded is asked for.
    #[serde(default)]
    pub dry_run: bool,
}

/// The body of `POST /api/v1/clusters/{cluster}/switchover`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchoverBody {
    /// Who shall be the primary.
    pub to: String,
}

/// `POST /api/v1/adoptions`: finds a cluster from one address, and records it to be looked after over SQL. No database is
/// changed. Fails with `bad-body`, `too-large`, `invalid`, `not-a-cluster`, `no-credentials`, `exists`, `feature-level`,
/// `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn adopt(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<Json<AdoptionView>, Problem> {
    let shape =
        "{\"address\": {\"host\", \"port\"}, \"instances\": […], \"name\", \"fence\", \"dry_run\"}";
    let body: AdoptionBody = read(body, shape)?;
    if body.instances.len() > ADDRESSES {
        return Err(invalid(format!(
            "instances: there are more than {ADDRESSES}"
        )));
    }
    let mut given = vec![body.address];
    given.extend(body.instances);
    if let Some(odd) = given
        .iter()
        .find(|it| it.host.is_empty() || it.host.len() > HOST_LIMIT || it.port == 0)
    {
        let why = format!("address: '{odd}' is no host of at most {HOST_LIMIT} bytes with a port");
        return Err(invalid(why));
    }
    let name = body.name.as_deref().map(ClusterName::new).transpose();
    let name = name.map_err(|error| invalid(format!("name: {error}")))?;
    let found = peer.plan_adoption(given, body.fence).await;
    let found = found.map_err(|error| not_adopted(&error))?;
    let own = || ClusterName::new(&format!("pg-{}", found.adopted.system));
    let name = match name {
        Some(name) => name,
        None => own().map_err(|error| invalid(format!("name: {error}")))?,
    };
    if body.dry_run {
        return Ok(Json(adoption_view(name.to_string(), &found, false)));
    }
    let change = SqlChange::Adopt(found.adopted.clone());
    let reply = peer.propose_sql_as(origin, name.clone(), change).await;
    match reply.map_err(not_recorded)? {
        Ok(_) => {
            tracing::info!(cluster = %name, "cluster adopted");
            Ok(Json(adoption_view(name.to_string(), &found, true)))
        }
        Err(Rejection::Exists(what)) => Err(Problem::new(
            StatusCode::CONFLICT,
            "exists",
            format!("{what} exists already"),
        )
        .hint("choose another name, or primacy status shows what is looked after already")),
        Err(rejection) => Err(invalid(rejection.to_string())),
    }
}

fn not_adopted(error: &NotAdopted) -> Problem {
    match error {
        NotAdopted::NoAccess => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "no-credentials",
            error.to_string(),
        )
        .hint("give every peer a table [postgresql]; docs/server.toml shows it"),
        NotAdopted::NoCluster(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not-a-cluster",
            error.to_string(),
        )
        .hint("primacy preflight HOST:PORT asks one instance; nothing was changed"),
    }
}

/// `DELETE /api/v1/clusters/{cluster}`: a cluster without agents is looked after no longer. No database is touched. Answers
/// with what it was. Fails with `unknown-cluster`, `has-agents`, `feature-level`, `key-reused`, `no-leader`,
/// `outcome-unknown`.
pub async fn forget(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
) -> Result<Json<ClusterView>, Problem> {
    let was = view(&peer, &cluster);
    without_agents(&peer, &cluster, "forgotten")?;
    let reply = peer
        .propose_sql_as(origin, cluster.clone(), SqlChange::Forget)
        .await;
    match reply.map_err(not_recorded)? {
        Ok(_) => {
            tracing::info!(%cluster, "cluster forgotten");
            was.map(Json).ok_or_else(|| unknown(&cluster))
        }
        Err(_) => Err(unknown(&cluster)),
    }
}

/// `POST /api/v1/clusters/{cluster}/switchover`: the primary is asked to be quiet and the named standby takes its place.
/// Answers with the cluster as soon as that has begun; its history says how it ended. Fails with `bad-body`, `too-large`,
/// `invalid`, `under-way`, `unknown-cluster`, `has-agents`, `feature-level`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn switchover(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<(StatusCode, Json<ClusterView>), Problem> {
    let body: SwitchoverBody = read(body, "{\"to\"}")?;
    let to = InstanceId::new(&body.to).map_err(|error| invalid(format!("to: {error}")))?;
    without_agents(&peer, &cluster, "switched over on request")?;
    let refusal = peer.look_over_sql(&cluster, |state, view, _| {
        let cluster = &state.cluster;
        let hears = view
            .fresh(&to)
            .is_some_and(|it| it.status.io_thread_running);
        let problem = if !cluster.members.contains_key(&to) {
            Err(invalid(format!("to: there is no instance {to}")))
        } else if cluster.primary.as_ref() == Some(&to) {
            Err(invalid(format!("to: {to} is the primary already")))
        } else if state.handover.is_some() || cluster.primary.is_none() {
            Err(busy(&cluster.name))
        } else if !hears {
            Err(invalid(format!("to: {to} does not stream")))
        } else {
            Ok(())
        };
        problem.map(|()| cluster.epoch)
    });
    let seen = refusal.ok_or_else(|| unknown(&cluster))??;
    let change = SqlChange::Begin {
        seen,
        cause: format!("{to} shall be the primary"),
        named: Some(to),
    };
    let reply = peer.propose_sql_as(origin, cluster.clone(), change).await;
    match reply.map_err(not_recorded)? {
        Ok(_) => {
            let now = view(&peer, &cluster).ok_or_else(|| unknown(&cluster))?;
            Ok((StatusCode::ACCEPTED, Json(now)))
        }
        Err(Rejection::Stale) => Err(busy(&cluster)),
        Err(rejection) => Err(invalid(rejection.to_string())),
    }
}

fn busy(cluster: &ClusterName) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "changing",
        format!("the primary of {cluster} is changing already"),
    )
    .hint("GET /api/v1/clusters/{cluster} says what it waits for")
}

fn without_agents(peer: &Peer, cluster: &ClusterName, what: &str) -> Result<(), Problem> {
    let has_agents = peer
        .consensus
        .read(|state| state.clusters.contains_key(cluster));
    match has_agents {
        true => Err(Problem::new(
            StatusCode::CONFLICT,
            "has-agents",
            format!("cluster {cluster} is looked after by agents, and cannot be {what} yet"),
        )
        .hint("only clusters that were adopted can be; nothing was changed")),
        false => Ok(()),
    }
}
