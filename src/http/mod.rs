//! What a peer's one port answers: people and programs (`/api/v1`), health checks, agents and other peers.
//!
//! Reads are linearizable unless the caller says otherwise; a follower passes them on to the leader, one
//! hop. Every refusal is `application/problem+json` with a stable code and a hint. Request bodies are
//! limited to [`BODY_LIMIT`]; connections, request headers and their time by the server; what is answered at once, kind
//! by kind, by `limits`; every wait has a deadline.

pub mod adoptions;
pub mod authorisation;
mod body;
#[cfg(test)]
mod bounds;
pub(crate) mod change;
pub mod clusters;
mod compat;
pub mod creation;
pub mod directives;
pub mod durability;
mod enrol;
pub mod explain;
pub mod failovers;
mod forward;
mod health;
mod internal;
pub mod invitations;
mod kv;
mod limits;
pub mod membership;
mod metrics;
mod pace;
pub mod peers;
pub mod problem;
mod problems;
mod refusal;
mod sign;
mod starting;
pub mod switchovers;
pub mod tokens;
pub mod views;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post, put};
use axum::{Extension, Router};

use crate::control::SESSION_PATH;
use crate::security::newcomer::{ENROL_PATH, RENEW_PATH};
use crate::server::{Peer, Routes};

use limits::Budgets;
use metrics::Meters;
use problem::Problem;

/// The most bytes of a request body, beside what peers send each other.
pub const BODY_LIMIT: usize = 64 * 1024;
/// Where another leader is asked for.
pub(crate) const TRANSFER: &str = "/api/v1/leader/transfer";
/// Which peer answered.
pub const ANSWERED_BY: HeaderName = HeaderName::from_static("primacy-answered-by");
/// The Raft term that it knew before it began with the answer.
pub const RAFT_TERM: HeaderName = HeaderName::from_static("primacy-raft-term");
/// The last log index that it had applied before it began with the answer, which shows at least that; none before the
/// first.
pub const RAFT_INDEX: HeaderName = HeaderName::from_static("primacy-raft-index");
/// How old the answer may be, in milliseconds: 0 from a confirmed leader, from others the time since they heard their
/// leader, and what the answer took; none if they never did.
pub const STALENESS: HeaderName = HeaderName::from_static("primacy-staleness-ms");

/// Everything that [`router`] answers for people and programs, as `METHOD path`; `docs/openapi.json`
/// describes exactly these.
pub const ROUTES: &[(&str, &str)] = &[
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/healthz"),
    ("get", "/metrics"),
    ("get", "/api/leader-check"),
    ("get", "/api/leader-check/{code}"),
    ("get", "/api/routed-leader-check"),
    ("get", "/api/routed-leader-check/{code}"),
    ("get", "/api/raft-health"),
    ("get", "/api/raft-leader"),
    ("get", "/api/raft-state"),
    ("get", "/api/raft-peers"),
    ("get", "/api/raft-status"),
    ("get", "/api/status"),
    ("get", "/api/health"),
    ("get", "/api/lb-check"),
    ("get", "/api/_ping"),
    ("get", "/api/check-global-recoveries"),
    ("get", "/api/v1/openapi.json"),
    ("get", "/api/v1/leader"),
    ("post", TRANSFER),
    ("get", "/api/v1/peers"),
    ("post", "/api/v1/peers"),
    ("get", "/api/v1/peers/{peer}"),
    ("delete", "/api/v1/peers/{peer}"),
    ("post", "/api/v1/peers/{peer}/promote"),
    ("get", "/api/v1/tokens"),
    ("post", "/api/v1/tokens"),
    ("delete", "/api/v1/tokens/{name}"),
    ("post", "/api/v1/invitations"),
    ("get", "/api/v1/pause"),
    ("post", "/api/v1/pause"),
    ("delete", "/api/v1/pause"),
    ("get", "/api/v1/problems"),
    ("get", "/api/v1/clusters"),
    ("post", "/api/v1/clusters"),
    ("get", "/api/v1/clusters/{cluster}"),
    ("delete", "/api/v1/clusters/{cluster}"),
    ("post", "/api/v1/clusters/{cluster}/switchover"),
    ("delete", "/api/v1/clusters/{cluster}/switchover"),
    ("put", durability::DURABILITY),
    ("post", failovers::FAILOVER),
    ("post", "/api/v1/clusters/{cluster}/pause"),
    ("delete", "/api/v1/clusters/{cluster}/pause"),
    ("post", directives::BLOCK),
    ("post", directives::PRIORITY),
    ("post", directives::ACKNOWLEDGE),
    ("post", directives::DOWNTIME),
    ("delete", directives::DOWNTIME),
    ("post", directives::RULE),
    ("post", "/api/v1/adoptions"),
    ("get", "/api/v1/clusters/{cluster}/primary"),
    ("get", "/api/v1/clusters/{cluster}/instances"),
    ("get", "/api/v1/clusters/{cluster}/history"),
    ("get", explain::FAILOVER),
    ("get", explain::SWITCHOVER),
    ("get", "/api/v1/clusters/{cluster}/recoveries"),
    ("get", kv::KV),
];

/// What [`crate::server::run`] puts on a peer's port.
pub const PORT: Routes = Routes {
    starting: starting::router,
    serving: router,
};

/// All routes of a peer that takes part.
pub fn router(peer: Arc<Peer>) -> Router {
    let budgets = Arc::new(Budgets::new());
    let meters = Arc::new(Meters::new(budgets.clone()));
    let within = |budget: &Arc<limits::Budget>| {
        middleware::from_fn_with_state(budget.clone(), limits::within)
    };
    let to_leader =
        middleware::from_fn_with_state((peer.clone(), budgets.clone()), forward::to_leader);
    let here_first =
        middleware::from_fn_with_state((peer.clone(), budgets.clone()), forward::here_first);
    let led = Router::new()
        .route("/api/v1/leader", get(peers::leader))
        .route(TRANSFER, post(membership::transfer))
        .route("/api/v1/peers/{peer}/promote", post(membership::promote))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{name}", delete(tokens::revoke))
        .route("/api/v1/invitations", post(invitations::invite))
        .route(ENROL_PATH, post(enrol::enrol))
        .route("/api/v1/problems", get(problems::list))
        .merge(directives::routes())
        .route(
            "/api/v1/clusters",
            get(clusters::list).post(creation::create),
        )
        .route(
            "/api/v1/clusters/{cluster}",
            get(clusters::one).delete(adoptions::forget),
        )
        .route(
            "/api/v1/clusters/{cluster}/switchover",
            post(switchovers::switchover).delete(switchovers::call_off),
        )
        .route(durability::DURABILITY, put(durability::change))
        .route(failovers::FAILOVER, post(failovers::failover))
        .route("/api/v1/adoptions", post(adoptions::adopt))
        .route("/api/v1/clusters/{cluster}/primary", get(clusters::primary))
        .route(
            "/api/v1/clusters/{cluster}/instances",
            get(clusters::instances),
        )
        .route("/api/v1/clusters/{cluster}/history", get(clusters::history))
        .route(explain::FAILOVER, get(explain::failover))
        .route(explain::SWITCHOVER, get(explain::switchover))
        .route(
            "/api/v1/clusters/{cluster}/recoveries",
            get(clusters::history),
        )
        .route_layer(to_leader.clone());
    // Asked of any peer, without a leader too; changed by the leader alone.
    let peers = post(membership::invite)
        .route_layer(to_leader.clone())
        .merge(get(peers::peers).route_layer(here_first.clone()));
    let one = delete(membership::remove)
        .route_layer(to_leader)
        .merge(get(peers::one).route_layer(here_first));
    let own = Router::new()
        .route("/api/v1/openapi.json", get(openapi))
        .route(kv::KV, get(kv::get))
        .route_layer(within(&budgets.reads));
    let scraped = Router::new()
        .route("/metrics", any(metrics::metrics))
        .route_layer(within(&budgets.metrics));
    let group = Router::new()
        .route("/internal/v1/peers/{peer}", get(internal::word))
        .route(RENEW_PATH, post(enrol::renew))
        .route(
            "/internal/v1/look/{cluster}/{instance}",
            get(internal::look),
        )
        .route(
            "/internal/v1/sql/{cluster}/{instance}",
            get(internal::sql_look),
        )
        .route("/internal/v1/peer", get(internal::peer))
        .route(SESSION_PATH, get(internal::session))
        .route_layer(within(&budgets.group));
    Router::new()
        .merge(led)
        .route("/api/v1/peers", peers)
        .route("/api/v1/peers/{peer}", one)
        .merge(own)
        .merge(group)
        .merge(checks().route_layer(within(&budgets.health)))
        .merge(scraped)
        .route("/raft/v1/{call}", post(internal::raft))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(
            authorisation::Records(Some(peer.clone())),
            authorisation::authorise,
        ))
        .layer(middleware::from_fn_with_state(peer.clone(), sign::sign))
        .layer(middleware::from_fn_with_state(
            meters.clone(),
            metrics::count,
        ))
        .layer(Extension(budgets))
        .layer(Extension(meters))
        .with_state(peer)
}

/// What load balancers and orchestration ask, by any method.
fn checks() -> Router<Arc<Peer>> {
    Router::new()
        .route("/livez", any(health::alive))
        .route("/healthz", any(health::alive))
        .route("/readyz", any(health::ready))
        .route("/api/lb-check", any(health::alive))
        .route("/api/_ping", any(health::alive))
        .route(
            "/api/check-global-recoveries",
            any(compat::check_global_recoveries),
        )
        .route("/api/leader-check", any(compat::leader_check))
        .route("/api/leader-check/{code}", any(compat::leader_check_or))
        .route("/api/routed-leader-check", any(compat::routed_leader_check))
        .route(
            "/api/routed-leader-check/{code}",
            any(compat::routed_leader_check_or),
        )
        .merge(compat::accounts(compat::Account::of))
}

async fn openapi() -> Response {
    let document = include_str!("../../docs/openapi.json");
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        format!("there is nothing at {}", uri.path()),
    )
    .hint("GET /api/v1/openapi.json lists what there is")
}

async fn not_allowed(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{} does not take this method", uri.path()),
    )
    .hint("GET /api/v1/openapi.json lists the methods")
}
