//! What agents and other peers ask. Not for people; may change with any version.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use raft::ChangeError;

use crate::clock;
use crate::control::SESSION_PROTOCOL;
use crate::model::{ClusterName, InstanceId, PeerId};
use crate::server::Peer;
use crate::server::control::Looked;
use crate::server::join::{Asking, Place};
use crate::server::leaving::{Word, word_of};
use crate::server::propose::Origin;
use crate::server::token::{Secret, unhex};
use crate::state::PeersChange;

use super::membership::{Body as Asked, not_recorded, read, refused};
use super::peers::this_peer;
use super::problem::Problem;
use super::views::PeerView;

/// Upgrades to an agent's session.
pub(super) async fn session(State(peer): State<Arc<Peer>>, mut request: Request) -> Response {
    let asked = request.headers().get(UPGRADE);
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
    if !peer.accept_session(upgrade) {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many sessions are being opened",
        )
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

/// This peer's account of itself.
pub(super) async fn peer(State(peer): State<Arc<Peer>>) -> Json<PeerView> {
    Json(this_peer(&peer))
}

/// A call of the Raft group.
pub(super) async fn raft(State(peer): State<Arc<Peer>>, request: Request) -> Response {
    peer.consensus.handle(request).await.map(Body::new)
}

/// `POST /internal/v1/join`: a newcomer shows its secret and is let in as a learner.
pub(super) async fn join(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Asked,
) -> Result<Json<Place>, Problem> {
    let asking: Asking = read(body, "what a newcomer of this version sends")?;
    let forbidden = |why: String| Problem::new(StatusCode::FORBIDDEN, "not-invited", why);
    let (secret, nonce) = Secret::parse(&asking.secret)
        .zip(unhex(&asking.nonce))
        .ok_or_else(|| forbidden("the token is not whole".to_owned()))?;
    // A stranger leaves no trace in the log.
    let is_known = peer
        .consensus
        .read(|state| state.peers.would_admit(&secret.digest(), &nonce));
    is_known.map_err(|refusal| forbidden(refusal.to_string()))?;
    let change = PeersChange::Take {
        secret: secret.digest(),
        nonce,
    };
    let id = peer
        .propose_peers(origin, change)
        .await
        .map_err(not_recorded)?;
    let id = id.map_err(|refusal| forbidden(refusal.to_string()))?;
    let recorded = peer
        .consensus
        .read(|state| state.peers.invitation(id).cloned());
    let recorded = recorded.ok_or_else(|| forbidden("the invitation was withdrawn".to_owned()))?;
    match peer.consensus.add_learner(id.0, &recorded.address).await {
        Ok(_) | Err(ChangeError::Exists { .. }) => {}
        Err(error) => return Err(refused(&error)),
    }
    let members = peer.members().into_iter();
    let members: BTreeMap<_, _> = members.map(|(id, address)| (id.0, address)).collect();
    tracing::info!(peer = %id, address = recorded.address, "a peer joined as a learner");
    Ok(Json(Place {
        id: id.0,
        group: peer.consensus.group().to_string(),
        members,
    }))
}

/// `GET /internal/v1/peers/{peer}`: what this peer knows of another one.
pub(super) async fn word(State(peer): State<Arc<Peer>>, Path(id): Path<u64>) -> Json<Word> {
    Json(word_of(&peer, PeerId(id)))
}
