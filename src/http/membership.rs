//! Changes of the peers themselves: invite, give a vote, remove, transfer leadership.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::{Extension, Json};
use raft::ChangeError;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::PeerId;
use crate::server::hex::unhex;
use crate::server::propose::Origin;
use crate::server::{Peer, config};
use crate::state::PeersChange;
use crate::state::peers::{Digest, Invitation, OPEN};

use super::body::{Body, read};
use super::clusters::HOST_LIMIT;
use super::invitations::issuer;
use super::problem::Problem;
use super::refusal::{change_refused, not_recorded, transfer_refused, unknown_peer};
use super::views::{InvitedView, MembersView, TransferredView};

/// How long an invitation lasts, in milliseconds of the leader's wall clock.
pub(super) const INVITED_FOR: u64 = 60 * 60 * 1000;
/// The most bytes of a `host:port`: of the longest name, and of a port.
const ADDRESS_LIMIT: usize = HOST_LIMIT + ":65535".len();
/// How long a leader looks for a peer to transfer leadership to.
const SEARCH: Duration = Duration::from_secs(1);

/// The body of `POST /api/v1/peers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvitationBody {
    /// Where the newcomer will answer, `host:port`, at most 261 bytes.
    pub address: String,
    /// SHA-256 of its one-time secret, in hexadecimal digits: the secret itself stays with whoever drew it.
    pub secret_sha256: String,
}

/// The body of `POST /api/v1/leader/transfer`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferBody {
    /// Who shall lead; the one that is most up to date if absent.
    pub to: Option<u64>,
}

/// The peer that the path names.
pub struct Numbered(pub(super) PeerId);

impl<S: Send + Sync> FromRequestParts<S> for Numbered {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Numbered, Problem> {
        let number = Path::<u64>::from_request_parts(parts, state).await;
        number
            .map(|Path(id)| Numbered(PeerId(id)))
            .map_err(|_| unknown_peer("a peer is named by its number".to_owned()))
    }
}

/// `POST /api/v1/peers`: gives the next number to whoever will show the secret. Fails with `bad-body`, `too-large`,
/// `invalid`, `exists`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn invite(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<(StatusCode, Json<InvitedView>), Problem> {
    let body: InvitationBody = read(body, "{\"address\": \"host:port\", \"secret_sha256\"}")?;
    let invalid = |why: &str| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why)
            .hint("correct the field and send it again; nothing was changed")
    };
    if body.address.len() > ADDRESS_LIMIT {
        let why = format!("address: it has more than {ADDRESS_LIMIT} bytes");
        return Err(invalid(&why));
    }
    if config::port(&body.address).is_none() {
        return Err(invalid("address: it is not host:port"));
    }
    let secret: Digest = unhex(&body.secret_sha256)
        .ok_or_else(|| invalid("secret_sha256: it is not 64 hexadecimal digits"))?;
    let issuer = issuer(&peer.config)?;
    if peer.consensus.was_born_alone() {
        return Err(change_refused(&ChangeError::BornAlone));
    }
    let members = peer.members();
    if let Some((id, _)) = members
        .iter()
        .find(|(_, address)| **address == body.address)
    {
        let detail = format!("peer {id} has the address {}", body.address);
        return Err(Problem::new(StatusCode::CONFLICT, "exists", detail)
            .hint("remove it first, or give the newcomer another address"));
    }
    let now = clock::wall_millis();
    let has_room = peer
        .consensus
        .read(|state| state.peers.has_room(now, &body.address));
    if !has_room {
        let why = format!("address: {OPEN} invitations are open, as many as there may be");
        return Err(invalid(&why).hint(
            "withdraw one (primacy peers remove NUMBER), or wait: each ends within an hour",
        ));
    }
    let change = PeersChange::Invite {
        address: body.address.clone(),
        secret,
        at_least: members.keys().map(|id| id.0).max().unwrap_or(0),
        expires_at: now + INVITED_FOR,
    };
    let id = peer
        .propose_peers(origin, change)
        .await
        .map_err(not_recorded)?;
    let id = id.map_err(|refusal| invalid(&refusal.to_string()))?;
    let recorded = peer
        .consensus
        .read(|state| state.peers.invitation(id).cloned());
    // A repetition, after it was withdrawn.
    let recorded =
        recorded.ok_or_else(|| unknown_peer(format!("the invitation {id} was withdrawn")))?;
    tracing::info!(peer = %id, address = recorded.address, "a peer is invited");
    let view = InvitedView {
        id: id.0,
        address: recorded.address,
        group: peer.consensus.group().to_string(),
        members: members.into_values().collect(),
        authority: issuer.authority.fingerprint().to_string(),
        expires_at: clock::text_of(recorded.expires_at),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// `POST /api/v1/peers/{peer}/promote`: gives a learner a vote. Fails with `unknown-peer`, `not-joined`, `behind`, `silent`,
/// `no-quorum`, `under-way`, `no-leader`, `outcome-unknown`.
pub async fn promote(
    State(peer): State<Arc<Peer>>,
    Numbered(id): Numbered,
) -> Result<Json<MembersView>, Problem> {
    match peer.consensus.promote(id.0).await {
        // A repetition of what was done.
        Ok(_) | Err(ChangeError::HasVote { .. }) => Ok(Json(members(&peer))),
        Err(error @ ChangeError::NoMember { .. }) => {
            let invited = peer.consensus.read(|state| {
                let invitation = state.peers.invitation(id);
                invitation.map(|it| not_joined(id, it, clock::wall_millis()))
            });
            Err(invited.unwrap_or_else(|| change_refused(&error)))
        }
        Err(error) => Err(change_refused(&error)),
    }
}

/// It was invited, and is no member yet.
fn not_joined(id: PeerId, invitation: &Invitation, now: u64) -> Problem {
    let address = &invitation.address;
    let refused =
        |detail: String| Problem::new(StatusCode::PRECONDITION_FAILED, "not-joined", detail);
    match invitation.taken_by {
        None if now <= invitation.expires_at => refused(format!(
            "peer {id} is invited and has not joined yet: its token counts until {}",
            clock::text_of(invitation.expires_at)
        ))
        .hint(format!(
            "start it at {address} with its token as `join`, then promote it"
        )),
        None => refused(format!(
            "peer {id} was invited and did not join in time: its invitation has ended"
        ))
        .hint(format!(
            "invite it anew: primacy peers add {address}; it gets another number"
        )),
        Some(_) => refused(format!(
            "peer {id} at {address} has used its invitation and is no member yet"
        ))
        .hint("it joins while it runs: look at its log, then promote it"),
    }
}

/// `DELETE /api/v1/peers/{peer}`: removes a peer for ever, or withdraws its invitation.
pub async fn remove(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Numbered(id): Numbered,
) -> Result<Json<MembersView>, Problem> {
    let is_member = peer.members().contains_key(&id);
    let is_invited = peer
        .consensus
        .read(|state| state.peers.invitation(id).is_some());
    let committed = peer.consensus.committed_members();
    let is_gone = peer
        .consensus
        .read(|state| state.peers.is_gone(id, &committed));
    if !is_member && !is_invited {
        // A repetition of what was done.
        return match is_gone {
            true => Ok(Json(members(&peer))),
            false => Err(change_refused(&ChangeError::NoMember { id: id.0 })),
        };
    }
    // Its number is spent before it goes, whatever becomes of the rest.
    let change = PeersChange::Leave { peer: id };
    let left = peer
        .propose_peers(origin, change)
        .await
        .map_err(not_recorded)?;
    left.map_err(|refusal| unknown_peer(refusal.to_string()))?;
    // Also if it was no member a moment ago: it may have joined meanwhile.
    match peer.consensus.remove(id.0).await {
        Ok(_) | Err(ChangeError::NoMember { .. }) => {}
        Err(error) => return Err(change_refused(&error)),
    }
    tracing::info!(peer = %id, "a peer is removed");
    Ok(Json(members(&peer)))
}

/// `POST /api/v1/leader/transfer`: another peer leads.
pub async fn transfer(
    State(peer): State<Arc<Peer>>,
    body: Body,
) -> Result<Json<TransferredView>, Problem> {
    let body = body.map_err(|_| Problem::too_large())?;
    let TransferBody { to } = match body.is_empty() {
        true => TransferBody::default(),
        false => read(Ok(body), "{\"to\": a peer} or {}")?,
    };
    let transferred = match to {
        // It leads already, or it was a repetition.
        Some(to) if to == peer.config.id.0 => Ok(to),
        Some(to) => peer.consensus.transfer_leadership(to).await.map(|()| to),
        None => match peer.consensus.hand_over(SEARCH).await {
            Ok(Some(to)) => Ok(to),
            Ok(None) => return Err(Problem::no_leader()),
            Err(error) => Err(error),
        },
    };
    let leader = transferred.map_err(|error| transfer_refused(&error))?;
    Ok(Json(TransferredView { leader }))
}

fn members(peer: &Peer) -> MembersView {
    let status = peer.consensus.status();
    let members = status.members.keys().copied();
    MembersView {
        learners: members.filter(|id| !status.voters.contains(id)).collect(),
        voters: status.voters,
    }
}
