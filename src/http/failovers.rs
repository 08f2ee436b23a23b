//! A failover is forced, by an operator who accepts the loss.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::decision::forced::forecast;
use crate::model::WalPosition;
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::state::{Change, ForceFailover};

use super::body::{Body, read};
use super::clusters::{Named, invalid, unknown, view};
use super::explain::without_agents;
use super::problem::Problem;
use super::refusal::not_recorded;
use super::switchovers::{changing, refused};
use super::views::ClusterView;

/// Where one is forced.
pub(super) const FAILOVER: &str = "/api/v1/clusters/{cluster}/failover";

/// The body of `POST /api/v1/clusters/{cluster}/failover`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverBody {
    /// Whether what cannot be proven to be held elsewhere may be lost.
    #[serde(default)]
    pub accept_loss: bool,
    /// What must not be lost: all up to this position, as `would-lose` said it; what is known now if absent. Whoever holds less
    /// is not elected without a new word.
    #[serde(default)]
    pub up_to: Option<String>,
    /// Whether the old primary is off, or those who may back it: needed where that cannot be told.
    #[serde(default)]
    pub old_is_off: bool,
    /// Who says so, at most 64 bytes.
    pub owner: String,
    /// Why, at most 240 bytes.
    pub reason: String,
}

const SHAPE: &str = "{\"accept_loss\", \"up_to\", \"old_is_off\", \"owner\", \"reason\"}";

/// `POST /api/v1/clusters/{cluster}/failover`: has the best of those who can be asked elected, although nobody can prove
/// that they hold every acknowledged commit; once every lease has ended, and those who are slow to answer were waited for.
/// Nobody is elected who holds less than was accepted. Refused where the ordinary failover waits for no
/// such proof. Fails with `bad-body`, `too-large`, `invalid`, `changing`, `not-now`, `would-lose`, `unknown-cluster`,
/// `feature-level`, `key-reused`, `no-leader`, `outcome-unknown`.
pub async fn failover(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<(StatusCode, Json<ClusterView>), Problem> {
    let body: FailoverBody = read(body, SHAPE)?;
    let up_to = body.up_to.as_deref().map(WalPosition::from_str).transpose();
    let up_to = up_to.map_err(|error| invalid(format!("up_to: {error}")))?;
    let found = peer.look(&cluster, |state, view, plan| {
        forecast(state, view, plan).map(|loss| (loss, state.cluster.epoch))
    });
    let found = found.ok_or_else(|| without_agents(&peer, &cluster))?;
    let (loss, seen) = found.map_err(|obstacle| refused(&cluster, &obstacle))?;
    let accepted = up_to.unwrap_or(loss.at);
    let may_serve_on = loss.may_go_on.as_ref().filter(|_| !body.old_is_off);
    if !body.accept_loss || loss.at < accepted || may_serve_on.is_some() {
        let at = loss.at;
        let command = format!("primacy failover {cluster} --accept-loss --up-to {at}");
        let hint = match may_serve_on {
            None => format!(
                "start those that are missing, or accept the loss of what lies beyond: {command}"
            ),
            Some((old, _)) => format!(
                "start those that are missing; or switch off the host of {old}, or of those who may help it, and accept the loss of what lies beyond: {command} --old-is-off"
            ),
        };
        let problem = Problem::new(StatusCode::CONFLICT, "would-lose", loss.to_string());
        return Err(problem.hint(hint));
    }
    let (owner, told) = (body.owner.clone(), loss.to_string());
    let change = Change::ForceFailover(ForceFailover {
        seen,
        owner: body.owner,
        reason: body.reason,
        loss: told.clone(),
        accepted,
        old_is_off: body.old_is_off,
    });
    let reply = peer.propose_as(origin, cluster.clone(), change).await;
    match reply.map_err(not_recorded)? {
        Ok(_) => {
            tracing::warn!(%cluster, owner, loss = told, "a failover is forced");
            let now = view(&peer, &cluster).ok_or_else(|| unknown(&cluster))?;
            Ok((StatusCode::ACCEPTED, Json(now)))
        }
        Err(Rejection::Stale | Rejection::WrongPhase) => Err(changing(&cluster)),
        Err(rejection) => Err(invalid(rejection.to_string())),
    }
}
