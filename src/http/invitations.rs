//! Invitations of agents and tools; peers are invited where they are listed.

use std::sync::Arc;

use axum::extract;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::{AccessRole, ClusterName, InstanceId, SecretHash};
use crate::security::enrolment::Issuer;
use crate::security::{ToolName, Who};
use crate::server::hex::unhex;
use crate::server::propose::Origin;
use crate::server::{self, Config, Peer};
use crate::state::{AccessChange, Guest, State};

use super::body::{Body, read};
use super::membership::INVITED_FOR;

use super::problem::Problem;
use super::refusal::not_recorded;
use super::tokens;
use super::views::GuestView;

/// The body of `POST /api/v1/invitations`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestBody {
    /// Who the newcomer will be.
    pub guest: GuestKind,
    /// SHA-256 of its one-time secret, in hexadecimal digits: the secret itself stays with whoever drew it.
    pub secret_sha256: String,
}

/// Who a newcomer will be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GuestKind {
    /// The agent of an instance.
    Agent {
        /// Its cluster, which need not be there yet.
        cluster: ClusterName,
        /// The instance.
        instance: InstanceId,
    },
    /// A person, or a program.
    Tool {
        /// Its name.
        name: ToolName,
        /// What it may do in the whole installation.
        role: AccessRole,
    },
}

/// `POST /api/v1/invitations`: whoever shows the secret within an hour is given a certificate, once. Fails with `bad-body`,
/// `too-large`, `invalid`, `exists`, `no-authority`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn invite(
    extract::State(peer): extract::State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<(StatusCode, Json<GuestView>), Problem> {
    let shape = "{\"guest\": {\"agent\": {\"cluster\", \"instance\"}}, \"secret_sha256\"}";
    let body: GuestBody = read(body, shape)?;
    let secret = unhex(&body.secret_sha256).map(SecretHash);
    let secret = secret.ok_or_else(|| {
        let why = "secret_sha256: it is not 64 hexadecimal digits";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why)
            .hint("correct the field and send it again; nothing was changed")
    })?;
    let issuer = issuer(&peer.config)?;
    let (guest, slip, who) = match body.guest {
        GuestKind::Agent { cluster, instance } => (
            Guest::Agent {
                cluster: cluster.clone(),
                instance: instance.clone(),
            },
            peer.consensus
                .read(|state| unknown(state, &cluster, &instance)),
            Who::Agent { cluster, instance },
        ),
        GuestKind::Tool { name, role } => (
            Guest::Tool {
                role,
                name: name.to_string(),
            },
            None,
            Who::Tool { role, name },
        ),
    };
    let expires_at = clock::wall_millis() + INVITED_FOR;
    let change = AccessChange::Invite {
        secret,
        guest,
        expires_at,
    };
    let invited = peer.propose_access(origin, change).await;
    invited.map_err(not_recorded)?.map_err(tokens::refused)?;
    tracing::info!(%who, "a newcomer is invited");
    let view = GuestView {
        guest: who.to_string(),
        group: peer.consensus.group().to_string(),
        members: peer.members().into_values().collect(),
        authority: issuer.authority.fingerprint().to_string(),
        expires_at: clock::text_of(expires_at),
        warnings: slip.into_iter().collect(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// What is not there yet of an agent's place. An agent may be invited first; it may also be a slip.
fn unknown(state: &State, cluster: &ClusterName, instance: &InstanceId) -> Option<String> {
    match state.clusters.get(cluster) {
        None => Some(format!(
            "there is no cluster {cluster}: the agent does nothing before it is created"
        )),
        Some(it) if !it.cluster.members.contains_key(instance) => {
            let members: Vec<_> = it.cluster.members.keys().map(InstanceId::as_str).collect();
            Some(format!(
                "cluster {cluster} has no instance {instance}, only {}: the agent does nothing",
                members.join(", ")
            ))
        }
        Some(_) => None,
    }
}

/// What this peer signs with.
pub(super) fn issuer(config: &Config) -> Result<Issuer, Problem> {
    server::issuer(config).map_err(|why| {
        Problem::new(StatusCode::PRECONDITION_FAILED, "no-authority", why).hint(
            "whoever distributes the certificates makes one for the newcomer: primacy cert --help",
        )
    })
}
