//! Health checks, with the paths and words that load balancers in front of orchestrators use.
//! Never a redirect and never a soft success: a load balancer takes 200 to 399 for healthy.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use raft::{Role, Status};

use crate::server::Peer;

/// Below the usual timeout of a health check, 1 s.
const CONFIRM: Duration = Duration::from_millis(500);
/// A leader that no majority has answered for this long is not healthy.
const QUORUM_WITHIN: u64 = 2_000;

/// 200 while the process answers.
pub(super) async fn alive() -> Json<&'static str> {
    Json("OK")
}

/// 200 while this peer knows a leader, and so can answer for the group.
pub(super) async fn ready(State(peer): State<Arc<Peer>>) -> Response {
    if hears_leader(&peer).await {
        Json("ready").into_response()
    } else {
        not_ready().await
    }
}

pub(super) async fn not_ready() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json("no leader is known")).into_response()
}

/// Whether the leader that this peer knows of answers it: a follower that is cut off keeps believing in
/// the last one.
async fn hears_leader(peer: &Peer) -> bool {
    match peer.leader() {
        None => false,
        // One that lost its majority may go on believing in itself.
        Some((leader, _)) if leader == peer.config.id => hears_majority(&peer.consensus.status()),
        Some((_, address)) => peer.calls.get(&address, "/livez", CONFIRM).await.is_ok(),
    }
}

fn hears_majority(status: &Status) -> bool {
    let ago = status.millis_since_quorum;
    status.voters.len() == 1 || ago.is_some_and(|ago| ago < QUORUM_WITHIN)
}

/// 200 on the peer that leads and holds a lease, so that no other gives the same answer; 404 on the others.
pub(super) async fn leader_check(State(peer): State<Arc<Peer>>) -> Response {
    check(&peer, StatusCode::NOT_FOUND).await
}

/// The same, with a status of the caller's choice for the others; 404 if it is none that a load balancer takes for
/// unhealthy.
pub(super) async fn leader_check_or(
    State(peer): State<Arc<Peer>>,
    Path(code): Path<String>,
) -> Response {
    let code = code.parse().ok();
    let code = code.filter(|code| (400..=599).contains(code));
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    check(&peer, code.unwrap_or(StatusCode::NOT_FOUND)).await
}

async fn check(peer: &Peer, otherwise: StatusCode) -> Response {
    if peer.consensus.confirm_lease().await.is_ok() {
        Json("OK").into_response()
    } else {
        (otherwise, Json("Not leader")).into_response()
    }
}

pub(super) async fn not_leader() -> Response {
    (StatusCode::NOT_FOUND, Json("Not leader")).into_response()
}

/// 200 while this peer is part of a group that has a leader.
pub(super) async fn raft_health(State(peer): State<Arc<Peer>>) -> Response {
    let status = peer.consensus.status();
    let healthy = match status.role {
        Role::Leader => hears_majority(&status),
        Role::Follower | Role::Learner => hears_leader(&peer).await,
        Role::Candidate | Role::Stopped => false,
    };
    if healthy {
        Json("healthy").into_response()
    } else {
        not_healthy().await
    }
}

pub(super) async fn not_healthy() -> Response {
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        Json("unhealthy: no leader is known"),
    )
        .into_response()
}
