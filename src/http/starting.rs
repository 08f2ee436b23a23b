//! What a peer answers before it takes part: that it lives, what it waits for, and the questions of other peers about
//! the birth of the group.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use raft::Newborn;

use crate::server::Config;
use crate::server::calls::Calls;

use super::problem::Problem;
use super::views::PeerView;
use super::{ANSWERED_BY, compat, peers};

struct Starting {
    config: Config,
    newborn: Newborn,
    calls: Calls,
}

pub(super) fn router(config: Config, newborn: Newborn) -> Router {
    let starting = Arc::new(Starting {
        config,
        newborn,
        calls: Calls::default(),
    });
    Router::new()
        .route("/livez", any(compat::alive))
        .route("/api/lb-check", any(compat::alive))
        .route("/readyz", any(compat::not_ready))
        .route("/api/leader-check", any(compat::not_leader))
        .route("/api/raft-health", any(compat::not_healthy))
        .route("/api/v1/peers", get(all))
        .route("/internal/v1/peer", get(this))
        .route("/raft/v1/{call}", post(raft))
        .fallback(not_yet)
        .method_not_allowed_fallback(not_yet)
        .layer(middleware::from_fn_with_state(starting.clone(), sign))
        .with_state(starting)
}

impl Starting {
    /// What it waits for, in words.
    fn why(&self) -> String {
        let waiting = self.newborn.waiting();
        let why = waiting.map_or("its log is being read".to_owned(), |why| why.to_string());
        format!("peer {} does not take part yet: {why}", self.config.id)
    }

    fn view(&self) -> PeerView {
        let mut warnings = self.config.warnings.clone();
        warnings.push(self.why());
        peers::silent_view(&self.config, "starting", warnings)
    }
}

async fn all(State(starting): State<Arc<Starting>>) -> Json<Vec<PeerView>> {
    let Config { id, peers, .. } = &starting.config;
    let own = Some(starting.view());
    Json(peers::all(peers.clone(), *id, &starting.calls, own).await)
}

async fn this(State(starting): State<Arc<Starting>>) -> Json<PeerView> {
    Json(starting.view())
}

async fn raft(State(starting): State<Arc<Starting>>, request: Request) -> Response {
    starting.newborn.handle(request).await.map(Body::new)
}

async fn not_yet(State(starting): State<Arc<Starting>>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-leader", starting.why())
        .hint("start the other peers: a group is born when all its first members are up")
}

async fn sign(State(starting): State<Arc<Starting>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let by = HeaderValue::from(starting.config.id.0);
    response.headers_mut().insert(ANSWERED_BY, by);
    response.into_response()
}
