//! Newcomers: they show the secret of a join token and are given a certificate, and peers a place in the group. And
//! holders of a certificate, who are given the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use raft::{ChangeError, GroupId};
use serde::Serialize;

use crate::clock;
use crate::model::address::host;
use crate::model::{PeerId, SecretHash};
use crate::security::enrolment::{Enrolled, Issuer, MESSAGE_LIMIT, Wish};
use crate::security::newcomer::{Admitted, Asking, Place};
use crate::security::{Caller, Invited, ToolName, Who};
use crate::server::propose::Origin;
use crate::server::{Config, Peer};
use crate::state::{AccessChange, Guest, PeersChange};

use super::body::Body;
use super::invitations::issuer;
use super::problem::Problem;
use super::refusal::{change_refused, not_recorded};

/// `POST /internal/v1/enrol` at the leader.
pub(super) async fn enrol(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<Response, Problem> {
    let asking = understood(body)?;
    // A stranger leaves no trace in the log, and reads no file.
    is_invited(&peer, &asking)?;
    let issuer = issuer(&peer.config)?;
    let secret = asking.enrol.secret.hash();
    let (who, hosts, place) = match &asking.enrol.wish {
        Wish::Peer => {
            let (id, address, place) = take_peer(&peer, origin, &secret, asking.nonce).await?;
            (Who::Peer(id), vec![host(&address).to_owned()], Some(place))
        }
        Wish::Agent { .. } | Wish::Tool(_) => {
            let who = take_guest(&peer, origin, &secret, &asking).await?;
            (who, vec![], None)
        }
    };
    tracing::info!(%who, "a newcomer is given its certificate");
    answer(&issuer, &asking, who, &hosts, place)
}

/// The same at the first peer before the group is born: only those come that it was told of when it was made.
pub(super) fn enrol_first(config: &Config, body: Body) -> Result<Response, Problem> {
    let asking = understood(body)?;
    let issuer = issuer(config)?;
    let folder = config.tls_folder();
    let broken = |error: crate::security::SecurityError| {
        tracing::error!(%error, "the invitations cannot be kept");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "broken",
            "the invitations cannot be read or written; look at the log of this peer",
        )
    };
    let mut invited = Invited::read(&folder).map_err(broken)?;
    if asking.enrol.wish != Wish::Peer {
        return Err(Problem::no_leader());
    }
    let secret = asking.enrol.secret.hash();
    let taken = invited.take(&secret, asking.nonce, clock::wall_millis());
    // The others may be a group already, which invited it a moment ago.
    let taken = taken.map_err(not_invited)?;
    let id = PeerId(taken.ok_or_else(Problem::no_leader)?);
    let address = config.peers.get(&id).cloned();
    let address =
        address.ok_or_else(|| not_invited("it is not in the configuration".to_owned()))?;
    // Before it is answered: the secret counts once.
    invited.keep(&folder).map_err(broken)?;
    let place = place(id, config.group, 0, &config.peers, true);
    tracing::info!(peer = %id, address, "one of the first peers is given its certificate");
    answer(
        &issuer,
        &asking,
        Who::Peer(id),
        &[host(&address).to_owned()],
        Some(place),
    )
}

/// `POST /internal/v1/renew`: the next certificate of whoever shows one.
pub(super) async fn renew(
    State(peer): State<Arc<Peer>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let request = body.map_err(|_| Problem::too_large())?;
    let who = caller.who().cloned().ok_or_else(Problem::no_leader)?;
    let issuer = issuer(&peer.config)?;
    let hosts: Vec<_> = match &who {
        Who::Peer(id) => peer
            .members()
            .get(id)
            .map(|it| host(it).to_owned())
            .into_iter()
            .collect(),
        Who::Agent { .. } | Who::Tool { .. } => vec![],
    };
    let mut enrolled = issue(&issuer, &request, who.clone(), &hosts)?;
    // Whoever had it once has it still.
    enrolled.authority = None;
    tracing::info!(%who, "a certificate is renewed");
    Ok(sealed(&enrolled))
}

/// Whether this peer knows of no invitation for whoever sends this: it may have none, or lag behind those who do.
pub(super) fn is_of_a_stranger(peer: &Peer, body: Bytes) -> bool {
    let asking = understood(Ok(body));
    asking.and_then(|asking| is_invited(peer, &asking)).is_err()
}

/// Looks the invitation up in what this peer has applied, as far as it does not depend on time. Fails with `not-invited`.
fn is_invited(peer: &Peer, asking: &Asking) -> Result<(), Problem> {
    let secret = asking.enrol.secret.hash();
    let invited = peer.consensus.read(|state| match &asking.enrol.wish {
        Wish::Peer => {
            let admitted = state.peers.would_admit(&secret.0, &asking.nonce);
            admitted.map_err(|refusal| refusal.to_string())
        }
        Wish::Agent { .. } | Wish::Tool(_) => match state.access.invitation(&secret) {
            Some(_) => Ok(()),
            None => Err("there is no such invitation".to_owned()),
        },
    });
    invited.map_err(not_invited)
}

async fn take_peer(
    peer: &Peer,
    origin: Origin,
    secret: &SecretHash,
    nonce: [u8; 16],
) -> Result<(PeerId, String, Place), Problem> {
    let change = PeersChange::Take {
        secret: secret.0,
        nonce,
    };
    let taken = peer.propose_peers(origin, change).await;
    let id = taken.map_err(not_recorded)?;
    let id = id.map_err(|refusal| not_invited(refusal.to_string()))?;
    let recorded = peer
        .consensus
        .read(|state| state.peers.invitation(id).cloned());
    let gone = || not_invited("the invitation was withdrawn".to_owned());
    let address = recorded.ok_or_else(gone)?.address;
    match peer.consensus.add_learner(id.0, &address).await {
        Ok(_) | Err(ChangeError::Exists { .. }) => {}
        Err(error) => return Err(change_refused(&error)),
    }
    tracing::info!(peer = %id, address, "a peer joined as a learner");
    let raft = &peer.consensus;
    let place = place(id, raft.group(), raft.beginning(), &peer.members(), false);
    Ok((id, address, place))
}

/// Who an agent or a tool is from now on.
async fn take_guest(
    peer: &Peer,
    origin: Origin,
    secret: &SecretHash,
    asking: &Asking,
) -> Result<Who, Problem> {
    let recorded = peer
        .consensus
        .read(|state| state.access.invitation(secret).cloned());
    let unknown = || not_invited("there is no such invitation".to_owned());
    let guest = recorded.ok_or_else(unknown)?.guest;
    let who = match (&guest, &asking.enrol.wish) {
        (Guest::Agent { cluster, instance }, Wish::Agent { .. }) => Who::Agent {
            cluster: cluster.clone(),
            instance: instance.clone(),
        },
        (Guest::Tool { name, .. }, Wish::Tool(wished)) if wished.to_string() != *name => {
            return Err(not_invited(format!(
                "the invitation is for the tool {name}, not for {wished}"
            )));
        }
        (Guest::Tool { role, name }, Wish::Tool(_)) => Who::Tool {
            role: *role,
            name: ToolName::new(name).map_err(|error| not_invited(error.to_string()))?,
        },
        _ => return Err(not_invited("the invitation is for another kind".to_owned())),
    };
    if let (Wish::Agent { cluster, instance }, Who::Agent { .. }) = (&asking.enrol.wish, &who) {
        let wished = Who::Agent {
            cluster: cluster.clone(),
            instance: instance.clone(),
        };
        if wished != who {
            return Err(not_invited(format!(
                "the invitation is for {who}, not for {wished}"
            )));
        }
    }
    let change = AccessChange::Take {
        secret: *secret,
        nonce: asking.nonce,
    };
    let taken = peer.propose_access(origin, change).await;
    let taken = taken.map_err(not_recorded)?;
    taken.map_err(|refusal| not_invited(refusal.to_string()))?;
    Ok(who)
}

fn place(
    id: PeerId,
    group: GroupId,
    beginning: u64,
    members: &BTreeMap<PeerId, String>,
    is_first: bool,
) -> Place {
    let members = members.iter().map(|(id, at)| (id.0, at.clone()));
    Place {
        id: id.0,
        group: group.to_string(),
        beginning,
        members: members.collect(),
        is_first,
    }
}

fn understood(body: Body) -> Result<Asking, Problem> {
    let body = body.map_err(|_| Problem::too_large())?;
    raft::unseal(&body, MESSAGE_LIMIT).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-body", error.to_string())
            .hint("use the same version as the peers")
    })
}

fn issue(issuer: &Issuer, request: &[u8], who: Who, hosts: &[String]) -> Result<Enrolled, Problem> {
    let issued = issuer.enrol(request, who, hosts, clock::wall_millis());
    issued.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad-body", error.to_string()))
}

fn answer(
    issuer: &Issuer,
    asking: &Asking,
    who: Who,
    hosts: &[String],
    place: Option<Place>,
) -> Result<Response, Problem> {
    let enrolled = issue(issuer, &asking.enrol.request, who, hosts)?;
    Ok(sealed(&Admitted { enrolled, place }))
}

fn sealed(answer: &impl Serialize) -> Response {
    let record = raft::seal(answer).expect("bytes and texts have an encoded form");
    ([(CONTENT_TYPE, "application/octet-stream")], record).into_response()
}

fn not_invited(why: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "not-invited", why).hint("ask for a new join token")
}
