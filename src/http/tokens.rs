//! The tokens of people and their programs: made, listed, revoked. The secret of a token is drawn by whoever asks for it
//! and never sent: what is recorded is its hash.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::{AccessRole, ClusterName, Scope, SecretHash, TokenRecord};
use crate::security::ToolName;
use crate::server::Peer;
use crate::server::hex::unhex;
use crate::server::propose::Origin;
use crate::state::{self, AccessChange, AccessRefusal};

use super::body::{Body, read};
use super::clusters::names;

use super::problem::Problem;
use super::refusal::not_recorded;
use super::views::TokenView;

/// The longest that a token may count: longer ones are forgotten by those who gave them.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3_600);

/// The most clusters that a token may name.
pub(super) const CLUSTERS: usize = 64;

/// The body of `POST /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// What people call it.
    pub name: String,
    /// What its holder may do.
    pub role: AccessRole,
    /// In which clusters, at most 64; in the whole installation if absent.
    pub clusters: Option<BTreeSet<ClusterName>>,
    /// SHA-256 of its secret, in hexadecimal digits: the secret itself stays with whoever drew it.
    pub secret_sha256: String,
    /// How long it counts, in seconds.
    pub expires_in_seconds: u64,
}

/// `POST /api/v1/tokens`: a token is valid from now on. Fails with `bad-body`, `too-large`, `invalid`, `exists`,
/// `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn create(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<(StatusCode, Json<TokenView>), Problem> {
    let shape = "{\"name\", \"role\", \"secret_sha256\", \"expires_in_seconds\"}";
    let body: TokenBody = read(body, shape)?;
    let name = ToolName::new(&body.name).map_err(|error| invalid(format!("name: {error}")))?;
    let hash = unhex(&body.secret_sha256).map(SecretHash);
    let hash =
        hash.ok_or_else(|| invalid("secret_sha256: it is not 64 hexadecimal digits".to_owned()))?;
    let life = Duration::from_secs(body.expires_in_seconds);
    if life.is_zero() || life > LONGEST {
        let days = LONGEST.as_secs() / (24 * 3_600);
        let why = format!("expires_in_seconds: it is none, or more than {days} days");
        return Err(invalid(why));
    }
    // Each route over one cluster is for viewers, and what an admin may do besides concerns the installation.
    if body.role == AccessRole::Admin && body.clusters.is_some() {
        let why = "clusters: an admin is one of the whole installation; for some clusters a token could look, and nothing \
                   else that an admin may";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why).hint(
            "leave the clusters out (no --cluster), or give the role viewer or operator; nothing was changed",
        ));
    }
    if body.clusters.as_ref().is_some_and(|it| it.len() > CLUSTERS) {
        let why = format!("clusters: more than {CLUSTERS} are named");
        return Err(invalid(why));
    }
    let now = clock::wall_millis();
    let record = TokenRecord {
        name: name.to_string(),
        hash,
        role: body.role,
        scope: body.clusters.map_or(Scope::Everything, Scope::Clusters),
        created_at: now,
        expires_at: now.saturating_add(life.as_millis() as u64),
    };
    let change = AccessChange::AddToken(record.clone());
    let made = peer.propose_access(origin, change).await;
    made.map_err(not_recorded)?.map_err(refused)?;
    tracing::info!(name = record.name, role = %record.role, "a token is made");
    let view = peer.consensus.read(|state| view(&record, now, state));
    Ok((StatusCode::CREATED, Json(view)))
}

/// `GET /api/v1/tokens`: every token, by name.
pub async fn list(State(peer): State<Arc<Peer>>) -> Json<Vec<TokenView>> {
    let now = clock::wall_millis();
    let tokens = peer.consensus.read(|state| {
        let tokens = state.access.tokens().into_iter();
        tokens.map(|record| view(record, now, state)).collect()
    });
    Json(tokens)
}

/// `DELETE /api/v1/tokens/{name}`: the token is not valid any more. Fails with `unknown-token`, `key-reused`,
/// `no-leader`, `outcome-unknown`.
pub async fn revoke(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
) -> Result<Json<Vec<TokenView>>, Problem> {
    let change = AccessChange::RevokeToken { name: name.clone() };
    let revoked = peer.propose_access(origin, change).await;
    revoked.map_err(not_recorded)?.map_err(refused)?;
    tracing::info!(name, "a token is revoked");
    Ok(list(State(peer)).await)
}

fn view(record: &TokenRecord, now: u64, state: &state::State) -> TokenView {
    let clusters = match &record.scope {
        Scope::Everything => None,
        Scope::Clusters(clusters) => Some(clusters.iter().map(ClusterName::to_string).collect()),
    };
    TokenView {
        name: record.name.clone(),
        role: record.role.to_string(),
        clusters,
        created_at: clock::text_of(record.created_at),
        expires_at: clock::text_of(record.expires_at),
        expired: now >= record.expires_at,
        warnings: unknown(&record.scope, state),
    }
}

/// A cluster may be created later, or again; it may also be a slip.
fn unknown(scope: &Scope, state: &state::State) -> Vec<String> {
    match scope {
        Scope::Everything => vec![],
        Scope::Clusters(clusters) => clusters
            .iter()
            .filter(|cluster| !names(state).contains(*cluster))
            .map(|cluster| format!("there is no cluster {cluster}: the token shows nothing of it"))
            .collect(),
    }
}

fn invalid(why: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why)
        .hint("correct the field and send it again; nothing was changed")
}

pub(super) fn refused(refusal: AccessRefusal) -> Problem {
    let why = refusal.to_string();
    match refusal {
        AccessRefusal::Exists => Problem::new(StatusCode::CONFLICT, "exists", why)
            .hint("GET /api/v1/tokens lists the tokens"),
        AccessRefusal::Full => Problem::new(StatusCode::CONFLICT, "exists", why)
            .hint("GET /api/v1/tokens lists the tokens"),
        // The last two are of invitations that are taken, which is not asked for here.
        AccessRefusal::Unknown | AccessRefusal::Taken | AccessRefusal::Ended => {
            Problem::new(StatusCode::NOT_FOUND, "unknown-token", why)
                .hint("GET /api/v1/tokens lists the tokens")
        }
    }
}
