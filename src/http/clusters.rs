//! Clusters: what is recorded, what is seen, and what follows from both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::decision::Finding;
use crate::decision::sql_only::SqlFinding;
use crate::model::{Address, ClusterName, Durability, InstanceId, Reads, Scope, Zone};
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::server::standing::{key, key_over_sql};
use crate::state::command::NewMember;
use crate::state::{Change, NewCluster, State as Replicated};

use super::body::{Body, read};
use super::pace::Array;
use super::problem::Problem;
use super::refusal::not_recorded;
use super::views::{ClusterView, InstanceView, cluster_view, recovery_view, sql_cluster_view};

/// The most clusters that there may be: far more than one group of peers is for.
pub(super) const CLUSTERS: usize = 1_000;
/// The most members that a cluster may have: more standbys than one primary feeds.
pub(super) const MEMBERS: usize = 32;
/// The most bytes of the name of a host, as in DNS.
pub(super) const HOST_LIMIT: usize = 255;

/// The body of `POST /api/v1/clusters`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewClusterBody {
    /// Its name.
    pub name: String,
    /// `"async"` or `{"quorum": 1}`, which is the default.
    #[serde(default)]
    pub durability: DurabilityBody,
    /// `"fast"` or `"strict"`: whether a failover also waits until nobody can read from the old primary.
    #[serde(default)]
    pub reads: Reads,
    /// Its instances, by name.
    pub members: BTreeMap<String, MemberBody>,
    /// The one that is initialised; the others are cloned from it.
    pub first: String,
}

/// How many standbys a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DurabilityBody {
    /// None.
    Async,
    /// So many.
    Quorum(u8),
}

impl Default for DurabilityBody {
    fn default() -> Self {
        DurabilityBody::Quorum(1)
    }
}

/// One instance of a cluster to be created.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberBody {
    /// Where it answers SQL; at most 255 bytes.
    pub host: String,
    /// Where it answers SQL.
    pub port: u16,
    /// Where its agent answers health checks, at most 255 bytes; `host` if absent.
    pub health_host: Option<String>,
    /// Where its agent answers health checks.
    pub health_port: u16,
    /// Its failure domain.
    pub zone: String,
}

/// The cluster that the path names. Fails with `unknown-cluster`.
pub struct Named(pub(super) ClusterName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| none_such("the name of the cluster is no text".to_owned()))?;
        let name = ClusterName::new(&text);
        name.map(Named)
            .map_err(|error| none_such(error.to_string()))
    }
}

fn none_such(detail: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-cluster", detail)
        .hint("GET /api/v1/clusters lists the clusters")
}

pub(super) fn unknown(cluster: &ClusterName) -> Problem {
    none_such(format!("there is no cluster {cluster}"))
}

/// What is recorded and seen of one cluster; none if it is not recorded.
pub(super) fn view(peer: &Peer, cluster: &ClusterName) -> Option<ClusterView> {
    let under_way = peer.under_way(cluster);
    let mut warnings = peer.config.warnings.clone();
    if let Some(view) = over_sql(peer, cluster, &warnings) {
        return Some(view);
    }
    warnings.extend(peer.contested(cluster).into_iter().map(|id| {
        format!("a second agent says that it is {id}'s, and is turned away: stop it, or correct `instance` in its configuration")
    }));
    peer.look(cluster, |state, view, plan| {
        let since = |finding: &Finding| peer.standing.since(cluster, &key(finding));
        cluster_view(state, view, plan, &under_way, warnings, since)
    })
}

fn over_sql(peer: &Peer, cluster: &ClusterName, warnings: &[String]) -> Option<ClusterView> {
    let under_way = peer.sql.under_way(cluster);
    let mut warnings = warnings.to_vec();
    if !peer.speaks_sql() {
        let why = "this peer has no table [postgresql] in its configuration and sees nothing of clusters without agents";
        warnings.push(why.to_owned());
    }
    peer.look_over_sql(cluster, |state, view, plan| {
        let unfound = peer.sql.board.not_found(cluster);
        let since = |finding: &SqlFinding| peer.standing.since(cluster, &key_over_sql(finding));
        let found = (&unfound[..], under_way.as_slice());
        sql_cluster_view(state, (view, plan), found, warnings, since)
    })
}

/// The names of all clusters.
pub(super) fn names(state: &Replicated) -> BTreeSet<ClusterName> {
    state
        .clusters
        .keys()
        .chain(state.sql.keys())
        .cloned()
        .collect()
}

/// The clusters that a caller of this scope may see.
pub(super) fn shown_to(peer: &Peer, scope: Option<&Scope>) -> Vec<ClusterName> {
    let may_see = |name: &&ClusterName| match scope {
        Some(Scope::Clusters(names)) => names.contains(*name),
        Some(Scope::Everything) | None => true,
    };
    let names = peer.consensus.read(|state| names(state));
    names.into_iter().filter(|name| may_see(&name)).collect()
}

/// `GET /api/v1/clusters`: all of them that the caller may see, as [`ClusterView`]s. Each is read after the consistency that
/// was asked for was proven, one after the other: a later one may be of a later state than an earlier one.
pub async fn list(State(peer): State<Arc<Peer>>, scope: Option<Extension<Scope>>) -> Response {
    let mut shown = Array::begin().await;
    for name in &shown_to(&peer, scope.as_deref()) {
        if let Some(cluster) = view(&peer, name) {
            shown.push(&cluster);
        }
        shown.part().await;
    }
    shown.into_response()
}

/// `GET /api/v1/clusters/{cluster}`. Fails with `unknown-cluster`.
pub async fn one(
    State(peer): State<Arc<Peer>>,
    Named(cluster): Named,
) -> Result<Json<ClusterView>, Problem> {
    let found = view(&peer, &cluster);
    found.map(Json).ok_or_else(|| unknown(&cluster))
}

/// `GET /api/v1/clusters/{cluster}/instances`. Fails with `unknown-cluster`.
pub async fn instances(
    state: State<Arc<Peer>>,
    cluster: Named,
) -> Result<Json<Vec<InstanceView>>, Problem> {
    let Json(view) = one(state, cluster).await?;
    Ok(Json(view.instances))
}

/// `GET /api/v1/clusters/{cluster}/primary`: `host:port` as text. Fails with `unknown-cluster`, and with
/// `no-primary` while none is recorded or it is not promoted yet.
pub async fn primary(
    State(peer): State<Arc<Peer>>,
    Named(cluster): Named,
) -> Result<String, Problem> {
    let found = peer.look(&cluster, |state, _, _| {
        let recorded = state.cluster.primary.as_ref();
        let serving = recorded.filter(|_| state.is_established());
        serving.map(|primary| state.cluster.members[primary].address.to_string())
    });
    let found = found.or_else(|| {
        peer.look_over_sql(&cluster, |state, _, plan| {
            let is_dead = |it: &SqlFinding| matches!(it, SqlFinding::DeadPrimary { .. });
            if plan.findings.iter().any(is_dead) {
                return None;
            }
            let primary = state.cluster.primary.as_ref()?;
            let member = state.cluster.members.get(primary)?;
            Some(member.address.to_string())
        })
    });
    found.ok_or_else(|| unknown(&cluster))?.ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-primary",
            format!("cluster {cluster} has no primary at the moment"),
        )
        .hint(format!(
            "GET /api/v1/clusters/{cluster} says what is waited for"
        ))
    })
}

/// `GET /api/v1/clusters/{cluster}/history`, also `/recoveries`: newest first, as
/// [`RecoveryView`](super::views::RecoveryView)s. Fails with `unknown-cluster`.
pub async fn history(
    State(peer): State<Arc<Peer>>,
    Named(cluster): Named,
) -> Result<Response, Problem> {
    let mut shown = Array::begin().await;
    let mut before = u64::MAX;
    loop {
        // Nothing is applied while somebody looks, so one is looked at a time. One that begins meanwhile is not shown.
        let found = peer.consensus.read(|state| {
            let with_agents = state.clusters.get(&cluster).map(|it| &it.history);
            let history = with_agents.or_else(|| state.sql.get(&cluster).map(|it| &it.history));
            let mut newest_first = history?.records().rev();
            let next = newest_first.find(|record| record.id < before);
            Some(next.map(recovery_view))
        });
        let Some(recovery) = found.ok_or_else(|| unknown(&cluster))? else {
            return Ok(shown.into_response());
        };
        before = recovery.id;
        shown.push(&recovery);
        shown.part().await;
    }
}

/// `POST /api/v1/clusters`: records a cluster and the permit to initialise its first instance. Answers
/// 201 with the cluster. Fails with `bad-body`, `too-large`, `invalid`, `exists`, `bad-key`, `key-reused`, `no-leader`,
/// `outcome-unknown`.
pub async fn create(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<(StatusCode, Json<ClusterView>), Problem> {
    let shape =
        "{\"name\", \"durability\": {\"quorum\": 1} or \"async\", \"members\": {…}, \"first\"}";
    let body: NewClusterBody = read(body, shape)?;
    let (name, new) = checked(body)?;
    // Not when it is applied, so that a build with another number has the same state. What is sent again is no new one.
    let (count, is_known) = peer
        .consensus
        .read(|state| (names(state).len(), state.clusters.contains_key(&name)));
    has_room(count, is_known)?;
    let reply = peer.propose_as(origin, name.clone(), Change::Create(new));
    match reply.await {
        Ok(Ok(_)) => {
            tracing::info!(cluster = %name, "cluster created");
            let view = view(&peer, &name).ok_or_else(|| unknown(&name))?;
            Ok((StatusCode::CREATED, Json(view)))
        }
        Ok(Err(Rejection::Exists(_))) => Err(exists(&name)),
        Ok(Err(rejection)) => Err(invalid(rejection.to_string())),
        Err(error) => Err(not_recorded(error)),
    }
}

fn has_room(count: usize, is_known: bool) -> Result<(), Problem> {
    match count < CLUSTERS || is_known {
        true => Ok(()),
        false => {
            let why = format!("name: there are {count} clusters, and at most {CLUSTERS} may be");
            Err(invalid(why).hint("record it in another installation; nothing was changed"))
        }
    }
}

fn exists(name: &ClusterName) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "exists",
        format!("cluster {name} exists already"),
    )
    .hint("choose another name")
}

pub(super) fn invalid(why: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why)
        .hint("correct the field and send it again; nothing was changed")
}

pub(crate) fn checked(body: NewClusterBody) -> Result<(ClusterName, NewCluster), Problem> {
    let field = |field: &str, why: String| invalid(format!("{field}: {why}"));
    let name = ClusterName::new(&body.name).map_err(|error| field("name", error.to_string()))?;
    let first = InstanceId::new(&body.first).map_err(|error| field("first", error.to_string()))?;
    if body.members.len() > MEMBERS {
        let why = format!(
            "there are {}, and at most {MEMBERS} may be",
            body.members.len()
        );
        return Err(field("members", why));
    }
    let mut members = BTreeMap::new();
    for (id, member) in body.members {
        let path = format!("members.{id}");
        let instance = InstanceId::new(&id).map_err(|error| field(&path, error.to_string()))?;
        let zone = Zone::new(&member.zone)
            .map_err(|error| field(&format!("{path}.zone"), error.to_string()))?;
        if member.host.is_empty() || member.port == 0 || member.health_port == 0 {
            return Err(field(
                &path,
                "host, port and health_port must be given".to_owned(),
            ));
        }
        for (name, host) in [
            ("host", Some(&member.host)),
            ("health_host", member.health_host.as_ref()),
        ] {
            if host.is_some_and(|host| host.len() > HOST_LIMIT) {
                let why = format!("it has more than {HOST_LIMIT} bytes");
                return Err(field(&format!("{path}.{name}"), why));
            }
        }
        let address = Address {
            host: member.host.clone(),
            port: member.port,
        };
        let twice = members
            .iter()
            .find(|(_, other): &(&InstanceId, &NewMember)| other.address == address);
        if let Some((other, _)) = twice {
            return Err(field(
                &path,
                format!("{other} has the address {address} too"),
            ));
        }
        let health = Address {
            host: member.health_host.unwrap_or(member.host),
            port: member.health_port,
        };
        members.insert(
            instance,
            NewMember {
                address,
                health,
                zone,
            },
        );
    }
    let durability = match body.durability {
        DurabilityBody::Async => Durability::Async,
        DurabilityBody::Quorum(0) => {
            return Err(field(
                "durability",
                "a quorum needs at least 1 standby; write \"async\" for none".to_owned(),
            ));
        }
        DurabilityBody::Quorum(standbys) => Durability::Quorum { standbys },
    };
    if !members.contains_key(&first) {
        return Err(field("first", format!("there is no member {first}")));
    }
    let (least, given) = (durability.standby_acks() + 1, members.len());
    if given < least {
        let why = format!("{durability} needs at least {least} members, not {given}");
        return Err(field("durability", why));
    }
    Ok((
        name,
        NewCluster {
            durability,
            reads: body.reads,
            members,
            first,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_too_many_is_refused_and_one_that_is_known_is_not() {
        for (count, is_known, has) in [
            (CLUSTERS - 1, false, true),
            (CLUSTERS, true, true),
            (CLUSTERS, false, false),
        ] {
            let found = has_room(count, is_known);
            assert_eq!(found.is_ok(), has, "{count} {is_known}");
            if let Err(problem) = found {
                assert_eq!((problem.status, &*problem.code), (422, "invalid"));
                assert!(problem.detail.contains("at most 1000"));
            }
        }
    }
}
