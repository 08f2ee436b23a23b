//! What agents and other peers ask. Not for people; may change with any version.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::clock;
use crate::control::SESSION_PROTOCOL;
use crate::control::backing::BACKERS_HEADER;
use crate::model::{ClusterName, InstanceId, PeerId};
use crate::security::Caller;
use crate::server::Peer;
use crate::server::control::Looked;
use crate::server::leaving::{Word, word_of};
use crate::server::sessions::Upgrade;
use crate::server::sql_only::Thought;

use super::limits::Budgets;
use super::peers::this_peer;
use super::problem::Problem;
use super::views::PeerView;

/// Upgrades to an agent's session.
pub(super) async fn session(State(peer): State<Arc<Peer>>, mut request: Request) -> Response {
    let caller = request.extensions().get::<Caller>();
    let caller = caller.and_then(Caller::who).cloned();
    let asked = request.headers().get(UPGRADE);
    let takes_backers = request.headers().contains_key(BACKERS_HEADER);
    let speaks_it = asked.is_some_and(|protocol| protocol == SESSION_PROTOCOL);
    let upgrade = request
        .extensions_mut()
        .remove::<hyper::upgrade::OnUpgrade>();
    let Some(upgrade) = upgrade.filter(|_| speaks_it) else {
        return Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade-required",
            format!("this path is for agents that speak {SESSION_PROTOCOL}"),
        )
        .hint("run the same version on agents and peers")
        .into_response();
    };
    if !peer.accept_session(Upgrade {
        upgrade,
        caller,
        takes_backers,
    }) {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many sessions are being opened",
        )
        .hint("the agent tries again by itself")
        .into_response();
    }
    let headers = [
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static(SESSION_PROTOCOL)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Whether this peer hears an agent.
pub(super) async fn look(
    State(peer): State<Arc<Peer>>,
    Path((cluster, instance)): Path<(ClusterName, InstanceId)>,
) -> Json<Looked> {
    let heard = peer.board.hears(&cluster, &instance, clock::monotonic());
    Json(Looked { heard })
}

/// What this peer thinks of an instance without an agent; it looks first.
pub(super) async fn sql_look(
    State(peer): State<Arc<Peer>>,
    Path((cluster, instance)): Path<(ClusterName, InstanceId)>,
) -> Json<Thought> {
    let opinion = peer.sql_opinion(&cluster, &instance).await;
    Json(Thought { opinion })
}

/// This peer's account of itself.
pub(super) async fn peer(State(peer): State<Arc<Peer>>) -> Json<PeerView> {
    Json(this_peer(&peer))
}

/// A call of the Raft group.
pub(super) async fn raft(
    State(peer): State<Arc<Peer>>,
    Extension(budgets): Extension<Arc<Budgets>>,
    request: Request,
) -> Response {
    // Before the body is read.
    let _place = match budgets.of_raft(request.uri().path()).take() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    peer.consensus.handle(request).await.map(Body::new)
}

/// `GET /internal/v1/peers/{peer}`: what this peer knows of another one.
pub(super) async fn word(State(peer): State<Arc<Peer>>, Path(id): Path<u64>) -> Json<Word> {
    Json(word_of(&peer, PeerId(id)))
}
