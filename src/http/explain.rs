//! What would happen, before it does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::decision::Programs;
use crate::decision::explain::{self, Candidate, Explanation};
use crate::decision::turns::Turn;
use crate::model::{ClusterName, Priority, View};
use crate::server::Peer;
use crate::state::ClusterState;

use super::clusters::{Named, unknown};
use super::problem::Problem;

/// If the primary died now.
pub(super) const FAILOVER: &str = "/api/v1/clusters/{cluster}/explain/failover";
/// If a switchover were asked for now.
pub(super) const SWITCHOVER: &str = "/api/v1/clusters/{cluster}/explain/switchover";

/// What would happen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationView {
    /// Who would be the primary; none if nobody would.
    pub to: Option<String>,
    /// Why nobody would, a stable word; none if somebody would.
    pub code: Option<String>,
    /// The same in words.
    pub text: Option<String>,
    /// What would be lost of what was acknowledged, in bytes of WAL by the last reports; none if that cannot be told.
    pub loss_bytes: Option<u64>,
    /// How long leases would be waited for at most, in ms.
    pub lease_wait_ms: u64,
    /// The stages of programs in `[hooks]` that would run first; one that fails keeps the failover off.
    #[serde(default)]
    pub programs: Vec<String>,
    /// That it would wait for its turn, in words; none if it would not.
    #[serde(default)]
    pub turn: Option<String>,
    /// Everybody but the primary.
    pub candidates: Vec<CandidateView>,
}

/// One of those who could be the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateView {
    /// Its name.
    pub name: String,
    /// The end of its flushed WAL; none if it did not say.
    pub lsn: Option<String>,
    /// What it lacks of the primary's, in bytes.
    pub behind_bytes: Option<u64>,
    /// `prefer`, `neutral`, `prefer_not` or `must_not`.
    pub promotion_rule: String,
    /// Why it would not be the primary; none of the one that would.
    pub obstacle: Option<String>,
}

fn explanation_view(said: Explanation, turn: Turn) -> ExplanationView {
    let candidate = |it: Candidate| CandidateView {
        name: it.instance.to_string(),
        lsn: it.at.map(|at| at.lsn.to_string()),
        behind_bytes: it.behind_bytes,
        promotion_rule: it.rule.name().to_owned(),
        obstacle: it.obstacle,
    };
    let why = said.outcome.as_ref().err();
    ExplanationView {
        to: said.outcome.as_ref().ok().map(ToString::to_string),
        code: why.map(|it| it.code().to_owned()),
        text: why.map(ToString::to_string),
        loss_bytes: said.loss_bytes,
        lease_wait_ms: u64::try_from(said.lease_wait.as_millis()).unwrap_or(u64::MAX),
        programs: said.programs.iter().map(ToString::to_string).collect(),
        turn: match turn {
            Turn::Has => None,
            Turn::Waits(queue) => Some(queue.to_string()),
        },
        candidates: said.candidates.into_iter().map(candidate).collect(),
    }
}

/// `GET /api/v1/clusters/{cluster}/explain/failover`: what would happen if the host of the primary died now, by the same
/// decision on the same readings. Fails with `unknown-cluster`, `without-agents`.
pub async fn failover(state: State<Arc<Peer>>, cluster: Named) -> Answer {
    explained(
        &state,
        cluster,
        explain::failover,
        |peer, cluster, priority| peer.turns.forecast(cluster, priority),
    )
}

/// `GET /api/v1/clusters/{cluster}/explain/switchover`: what would happen if a switchover were asked for now. Fails with
/// `unknown-cluster`, `without-agents`.
pub async fn switchover(state: State<Arc<Peer>>, cluster: Named) -> Answer {
    // Whoever asks for one does not wait.
    explained(&state, cluster, explain::switchover, |_, _, _| Turn::Has)
}

type Answer = Result<Json<ExplanationView>, Problem>;

fn explained(
    peer: &Peer,
    Named(cluster): Named,
    explain: fn(&ClusterState, &View, &Programs) -> Explanation,
    turn: fn(&Peer, &ClusterName, Priority) -> Turn,
) -> Answer {
    let said = peer.look_on(&cluster, |state, view, programs| {
        let said = explain(state, view, programs);
        (said, view.directives.priority)
    });
    match said {
        Some((said, priority)) => {
            let turn = turn(peer, &cluster, priority);
            Ok(Json(explanation_view(said, turn)))
        }
        None => Err(without_agents(peer, &cluster)),
    }
}

/// Why nothing can be said of this cluster, which none of those with agents is.
pub(super) fn without_agents(peer: &Peer, cluster: &ClusterName) -> Problem {
    if !peer.consensus.read(|state| state.sql.contains_key(cluster)) {
        return unknown(cluster);
    }
    Problem::new(
        StatusCode::CONFLICT,
        "without-agents",
        format!("cluster {cluster} has no agents, and this is for clusters with agents alone"),
    )
    .hint(format!(
        "primacy status {cluster} says what a failover guarantees, and docs/without-agents.md what a person does if none goes on"
    ))
}
