//! Clusters without agents: adopted and forgotten.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::decision::sql_only::adoption::unproven;
use crate::model::{Address, ClusterName, FenceDemand};
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::server::sql_only::NotAdopted;
use crate::state::{SqlChange, State as Recorded};

use super::body::{Body, read};
use super::clusters::{HOST_LIMIT, Named, invalid, unknown, view};
use super::problem::Problem;
use super::refusal::not_recorded;
use super::views::{AdoptionView, ClusterView, adoption_view};

/// The most addresses that may be given.
const ADDRESSES: usize = 64;

/// Where an instance answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceBody {
    /// Host name or IP address.
    pub host: String,
    /// TCP port; `DefaultInstancePort` of the leader's configuration if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl PlaceBody {
    fn address(self, default_port: u16) -> Address {
        Address {
            host: self.host,
            port: self.port.unwrap_or(default_port),
        }
    }
}

/// The body of `POST /api/v1/adoptions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptionBody {
    /// Where an instance answers.
    pub address: PlaceBody,
    /// Where those answer that cannot be found.
    #[serde(default)]
    pub instances: Vec<PlaceBody>,
    /// The name of the cluster; `pg-` and its system identifier if absent.
    pub name: Option<String>,
    /// `courtesy`, or `required`: then nothing is failed over without agents.
    #[serde(default)]
    pub fence: FenceDemand,
    /// Only what would be recorded is asked for.
    #[serde(default)]
    pub dry_run: bool,
    /// It is recorded although another installation of Primacy looks after it.
    #[serde(default, skip_serializing_if = "is_off")]
    pub insist: bool,
}

/// What is not asked for is not said: older peers do not know it.
fn is_off(insist: &bool) -> bool {
    !*insist
}

/// `POST /api/v1/adoptions`: finds a cluster from one address, and records it to be looked after over SQL. No database is
/// changed. Fails with `bad-body`, `too-large`, `invalid`, `not-a-cluster`, `no-credentials`, `exists`, `feature-level`,
/// `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn adopt(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<Json<AdoptionView>, Problem> {
    let shape = "{\"address\": {\"host\", \"port\"}, \"instances\": […], \"name\", \"fence\", \"dry_run\", \"insist\"}";
    let body: AdoptionBody = read(body, shape)?;
    if body.instances.len() > ADDRESSES {
        return Err(invalid(format!(
            "instances: there are more than {ADDRESSES}"
        )));
    }
    let port = peer.default_instance_port();
    let port = port.ok_or_else(|| not_adopted(&NotAdopted::NoAccess))?;
    let places = std::iter::once(body.address).chain(body.instances);
    let given: Vec<Address> = places.map(|it| it.address(port)).collect();
    if let Some(odd) = given
        .iter()
        .find(|it| it.host.is_empty() || it.host.len() > HOST_LIMIT || it.port == 0)
    {
        let why = format!("address: '{odd}' is no host of at most {HOST_LIMIT} bytes with a port");
        return Err(invalid(why));
    }
    let name = body.name.as_deref().map(ClusterName::new).transpose();
    let name = name.map_err(|error| invalid(format!("name: {error}")))?;
    let first = given[0].clone();
    let found = match peer.plan_adoption(given, body.fence).await {
        Ok(found) => found,
        Err(error) => {
            // Of one that is known this says more than why it cannot be found now.
            not_known(&peer, &format!("the server at {first}"), |state| {
                state.cluster_at(&first)
            })?;
            return Err(not_adopted(&error));
        }
    };
    let system = found.adopted.system;
    not_known(&peer, &format!("the database system {system}"), |state| {
        state.cluster_of(system)
    })?;
    let own = || ClusterName::new(&format!("pg-{}", found.adopted.system));
    let name = match name {
        Some(name) => name,
        None => own().map_err(|error| invalid(format!("name: {error}")))?,
    };
    if body.dry_run {
        return Ok(Json(adoption_view(name.to_string(), &found, false)));
    }
    if let Some((address, group)) = found.others.first().filter(|_| !body.insist) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "exists",
            format!(
                "another installation of Primacy, of the group {group}, looks after {address} already"
            ),
        )
        .hint(
            "two that do not know of each other would each promote for themselves: primacy cluster forget there first; \
             \"insist\": true (--insist) records it all the same; nothing was changed",
        ));
    }
    let change = SqlChange::Adopt(unproven(found.adopted.clone()));
    let reply = peer.propose_sql_as(origin, name.clone(), change).await;
    match reply.map_err(not_recorded)? {
        Ok(_) => {
            tracing::info!(cluster = %name, "cluster adopted");
            peer.note_adopted(&name, &found);
            Ok(Json(adoption_view(name.to_string(), &found, true)))
        }
        Err(Rejection::Exists(what)) => Err(Problem::new(
            StatusCode::CONFLICT,
            "exists",
            format!("{what} exists already"),
        )
        .hint(
            "primacy status shows what is looked after already; another name helps only where the name is taken: of each \
             history there is one cluster",
        )),
        Err(rejection) => Err(invalid(rejection.to_string())),
    }
}

/// Refuses what this group looks after already.
fn not_known(
    peer: &Peer,
    what: &str,
    known: impl Fn(&Recorded) -> Option<&ClusterName>,
) -> Result<(), Problem> {
    let known = peer.consensus.read(|state| known(state).cloned());
    match known {
        None => Ok(()),
        Some(name) => Err(Problem::new(
            StatusCode::CONFLICT,
            "exists",
            format!("{what} is looked after here already, in cluster {name}"),
        )
        .hint(format!(
            "primacy status {name} shows it; nothing was changed"
        ))),
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
    without_agents(&peer, &cluster)?;
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

fn without_agents(peer: &Peer, cluster: &ClusterName) -> Result<(), Problem> {
    let has_agents = peer
        .consensus
        .read(|state| state.clusters.contains_key(cluster));
    match has_agents {
        true => Err(Problem::new(
            StatusCode::CONFLICT,
            "has-agents",
            format!("cluster {cluster} is looked after by agents, and cannot be forgotten yet"),
        )
        .hint("only clusters that were adopted can be; nothing was changed")),
        false => Ok(()),
    }
}
