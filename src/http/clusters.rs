//! Clusters: what is recorded, what is seen, and what follows from both.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use crate::decision::Finding;
use crate::decision::sql_only::SqlFinding;
use crate::model::{ClusterName, Scope};
use crate::server::Peer;
use crate::server::standing::{key, key_over_sql};
use crate::state::State as Replicated;

use super::pace::Array;
use super::problem::Problem;
use super::views::{ClusterView, InstanceView, cluster_view, recovery_view, sql_cluster_view};

/// The most bytes of the name of a host, as in DNS.
pub(super) const HOST_LIMIT: usize = 255;

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

pub(super) fn invalid(why: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why)
        .hint("correct the field and send it again; nothing was changed")
}
