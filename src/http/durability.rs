//! How many standbys a commit waits for is changed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::model::Durability;
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::state::{Change, NewDurability};

use super::body::{Body, read};
use super::clusters::{Named, invalid, unknown, view};
use super::creation::DurabilityBody;
use super::explain::without_agents;
use super::problem::Problem;
use super::refusal::not_recorded;
use super::switchovers::changing;
use super::views::ClusterView;

/// Where it is changed.
pub(super) const DURABILITY: &str = "/api/v1/clusters/{cluster}/durability";

/// The body of `PUT /api/v1/clusters/{cluster}/durability`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeDurabilityBody {
    /// `"async"` or `{"quorum": 2}`.
    pub durability: DurabilityBody,
    /// Who asks, at most 64 bytes; `somebody` if absent.
    #[serde(default)]
    pub owner: Option<String>,
    /// Why, at most 240 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

const SHAPE: &str = "{\"durability\": {\"quorum\": 2}, \"owner\", \"reason\"}";

/// `PUT /api/v1/clusters/{cluster}/durability`: a commit waits for another number of standbys from now on. Fewer are recorded
/// at once; `async` in the place of a quorum once leases and words that last longer than its failovers wait have ended. More are
/// recorded once every walsender waits for them and a commit was acknowledged under that; the cluster shows how far that is. What is asked for again changes nothing, and what is recorded takes back what was asked for before. Fails
/// with `bad-body`, `too-large`, `invalid`, `changing`, `without-agents`, `unknown-cluster`, `feature-level`, `key-reused`,
/// `no-leader`, `outcome-unknown`.
pub async fn change(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    Named(cluster): Named,
    body: Body,
) -> Result<(StatusCode, Json<ClusterView>), Problem> {
    let body: ChangeDurabilityBody = read(body, SHAPE)?;
    let to = match body.durability {
        DurabilityBody::Async => Durability::Async,
        DurabilityBody::Quorum(standbys) => Durability::Quorum { standbys },
    };
    if peer.look(&cluster, |_, _, _| ()).is_none() {
        return Err(without_agents(&peer, &cluster));
    }
    let owner = body.owner.unwrap_or_else(|| "somebody".to_owned());
    let reason = body.reason;
    let reason = reason.unwrap_or_else(|| "no reason was given".to_owned());
    let asked_by = owner.clone();
    let change = Change::PlanDurability(NewDurability { to, owner, reason });
    let reply = peer.propose_as(origin, cluster.clone(), change).await;
    match reply.map_err(not_recorded)? {
        Ok(_) => {
            tracing::info!(%cluster, owner = asked_by, durability = %to, "another durability is asked for");
            let now = view(&peer, &cluster).ok_or_else(|| unknown(&cluster))?;
            let status = match now.durability_change {
                Some(_) => StatusCode::ACCEPTED,
                None => StatusCode::OK,
            };
            Ok((status, Json(now)))
        }
        Err(Rejection::Stale | Rejection::WrongPhase) => Err(changing(&cluster)),
        Err(rejection) => Err(invalid(rejection.to_string())),
    }
}
