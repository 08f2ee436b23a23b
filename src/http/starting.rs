//! What a peer answers before it takes part: that it lives, that it is not ready and leads nobody, what it waits for, and
//! the questions of other peers about the birth of the group.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use raft::Newborn;

use crate::security::newcomer::ENROL_PATH;
use crate::server::Config;
use crate::server::calls::Calls;

use super::forward::{Consistency, consistency};
use super::limits::Budgets;
use super::problem::Problem;
use super::views::PeerView;
use super::{ANSWERED_BY, BODY_LIMIT, authorisation, body, compat, enrol, health, metrics, peers};

struct Starting {
    config: Config,
    newborn: Newborn,
    calls: Calls,
    budgets: Budgets,
    turn: tokio::sync::Mutex<()>,
}

pub(super) fn router(config: Config, newborn: Newborn, calls: Calls) -> Router {
    let starting = Arc::new(Starting {
        config,
        newborn,
        calls,
        budgets: Budgets::new(),
        turn: tokio::sync::Mutex::default(),
    });
    Router::new()
        .route("/livez", any(health::alive))
        .route("/healthz", any(health::alive))
        .route("/api/lb-check", any(health::alive))
        .route("/api/_ping", any(health::alive))
        .route("/readyz", any(health::not_ready))
        .route("/metrics", any(metrics::starting))
        .route("/api/leader-check", any(compat::not_leader))
        .route("/api/leader-check/{code}", any(compat::not_leader))
        .route("/api/routed-leader-check", any(compat::not_leader))
        .route("/api/routed-leader-check/{code}", any(compat::not_leader))
        .merge(compat::accounts(account))
        .route("/api/v1/peers", get(all))
        .route("/internal/v1/peer", get(this))
        .route("/raft/v1/{call}", post(raft))
        .route(ENROL_PATH, post(enrol_first))
        .fallback(not_yet)
        .method_not_allowed_fallback(not_yet)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(
            authorisation::Records(None),
            authorisation::authorise,
        ))
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

fn account(starting: &Starting) -> compat::Account {
    compat::Account::starting(&starting.config)
}

async fn all(
    State(starting): State<Arc<Starting>>,
    method: Method,
    uri: Uri,
) -> Result<Json<Vec<PeerView>>, Problem> {
    match consistency(&uri, &method, Consistency::Stale)? {
        Consistency::Stale => {}
        Consistency::Led(_) => return Err(not_yet(State(starting)).await),
    }
    let Config { id, peers, .. } = &starting.config;
    let own = Some(starting.view());
    let views = peers::all(peers.clone(), *id, &starting.calls, own).await;
    Ok(Json(views))
}

async fn enrol_first(
    State(starting): State<Arc<Starting>>,
    body: body::Body,
) -> Result<Response, Problem> {
    // One at a time: each changes the file with the invitations.
    let _turn = starting.turn.lock().await;
    enrol::enrol_first(&starting.config, body)
}

async fn this(State(starting): State<Arc<Starting>>) -> Json<PeerView> {
    Json(starting.view())
}

async fn raft(State(starting): State<Arc<Starting>>, request: Request) -> Response {
    let _place = match starting.budgets.of_raft(request.uri().path()).take() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
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
