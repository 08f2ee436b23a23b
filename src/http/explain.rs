//! What would happen, before it does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::decision::explain::{self, Candidate, Explanation};
use crate::decision::sql_only::explain as over_sql;
use crate::decision::sql_only::switchover::SqlObstacle;
use crate::decision::turns::Turn;
use crate::model::ClusterName;
use crate::recovery::Reason;
use crate::recovery::sql_only::SqlReason;
use crate::server::Peer;

use super::clusters::{Named, unknown};
use super::problem::Problem;
use super::views::{guarantee, guarantee_over_sql};

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
    /// How long leases would be waited for at most, in ms; none without agents, where there are none.
    pub lease_wait_ms: Option<u64>,
    /// The stages of programs in `[hooks]` that would run first; one that fails keeps the failover off.
    #[serde(default)]
    pub programs: Vec<String>,
    /// That it would wait for its turn, in words; none if it would not.
    #[serde(default)]
    pub turn: Option<String>,
    /// What is missing somewhere that a failover needs there, which may keep it off; nothing with agents.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// What a failover does and does not guarantee, in words; without agents it begins with how an old primary is fenced.
    #[serde(default)]
    pub guarantee: String,
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
    /// `prefer`, `neutral`, `prefer_not` or `must_not`; none without agents, where there are no such rules.
    pub promotion_rule: Option<String>,
    /// Why it would not be the primary; none of the one that would.
    pub obstacle: Option<String>,
}

fn explanation_view<Why: ToString>(
    said: Explanation<Why>,
    code: fn(&Why) -> &'static str,
    (turn, guarantee): (Turn, String),
) -> ExplanationView {
    let candidate = |it: Candidate| CandidateView {
        name: it.instance.to_string(),
        lsn: it.at.map(|at| at.lsn.to_string()),
        behind_bytes: it.behind_bytes,
        promotion_rule: it.rule.map(|rule| rule.name().to_owned()),
        obstacle: it.obstacle,
    };
    let why = said.outcome.as_ref().err();
    let wait = said.lease_wait.map(|it| it.as_millis());
    ExplanationView {
        to: said.outcome.as_ref().ok().map(ToString::to_string),
        code: why.map(|it| code(it).to_owned()),
        text: why.map(ToString::to_string),
        loss_bytes: said.loss_bytes,
        lease_wait_ms: wait.map(|it| u64::try_from(it).unwrap_or(u64::MAX)),
        programs: said.programs.iter().map(ToString::to_string).collect(),
        turn: match turn {
            Turn::Has => None,
            Turn::Waits(queue) => Some(queue.to_string()),
        },
        lacks: said.lacks,
        guarantee,
        candidates: said.candidates.into_iter().map(candidate).collect(),
    }
}

/// `GET /api/v1/clusters/{cluster}/explain/failover`: what would happen if the host of the primary died now, by the same
/// decision on the same readings. Fails with `unknown-cluster`.
pub async fn failover(state: State<Arc<Peer>>, Named(cluster): Named) -> Answer {
    let said = of_failover(&state, &cluster);
    said.map(Json).ok_or_else(|| unknown(&cluster))
}

/// `GET /api/v1/clusters/{cluster}/explain/switchover`: what would happen if a switchover were asked for now. Fails with
/// `unknown-cluster`.
pub async fn switchover(state: State<Arc<Peer>>, Named(cluster): Named) -> Answer {
    let said = of_switchover(&state, &cluster);
    said.map(Json).ok_or_else(|| unknown(&cluster))
}

type Answer = Result<Json<ExplanationView>, Problem>;

/// The same of one cluster, if there is one of this name.
pub(super) fn of_failover(peer: &Peer, cluster: &ClusterName) -> Option<ExplanationView> {
    let with_agents = peer.look_on(cluster, |state, view, programs| {
        let said = explain::failover(state, view, programs);
        let guarantee = guarantee(state.cluster.durability).to_owned();
        (said, guarantee, view.directives.priority)
    });
    if let Some((said, guarantee, priority)) = with_agents {
        let turn = peer.turns.forecast(cluster, priority);
        return Some(explanation_view(said, Reason::code, (turn, guarantee)));
    }
    let (said, guarantee, priority) =
        peer.look_over_sql_with(cluster, |state, view, programs| {
            let said = over_sql::failover(state, view, programs);
            let guarantee = guarantee_over_sql(state, view);
            (said, guarantee, view.directives.priority)
        })?;
    let turn = peer.turns.forecast(cluster, priority);
    Some(explanation_view(said, SqlReason::code, (turn, guarantee)))
}

fn of_switchover(peer: &Peer, cluster: &ClusterName) -> Option<ExplanationView> {
    let with_agents = peer.look_on(cluster, |state, view, programs| {
        let said = explain::switchover(state, view, programs);
        (said, guarantee(state.cluster.durability).to_owned())
    });
    // Whoever asks for one does not wait.
    if let Some((said, guarantee)) = with_agents {
        return Some(explanation_view(said, Reason::code, (Turn::Has, guarantee)));
    }
    let (said, guarantee) = peer.look_over_sql_with(cluster, |state, view, _| {
        let said = over_sql::switchover(state, view);
        (said, guarantee_over_sql(state, view))
    })?;
    let code = SqlObstacle::code;
    Some(explanation_view(said, code, (Turn::Has, guarantee)))
}

/// Why something cannot be done with this cluster, which none of those with agents is.
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
