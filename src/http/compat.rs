//! The checks that load balancers and scripts make of an orchestrator, with its paths and words
//! (openark/orchestrator `go/http/api.go`). Any method gets the same status: HAProxy asks `OPTIONS … HTTP/1.0`.
//!
//! Three differences, all towards the truth: `leader-check` confirms a lease where orchestrator tells a belief; a
//! peer that no longer hears its leader is unhealthy and names none at once, not only once it stands for election; and
//! nobody can have 200, or another status that passes for healthy, answered by a peer that does not lead by way of
//! `leader-check/200`, where orchestrator takes any number. Who takes standbys as well says so, in Vault's words:
//! `leader-check?standbyok=true`.
//! What changes anything is not here: a `GET` never does.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use raft::Role;

use crate::clock;
use crate::model::address::host;
use crate::server::{Config, Peer};

use super::health::{CONFIRM, is_part_of_group};
use super::views::OrchestratorAnswerView;
use super::views::{
    OrchestratorHealthView, OrchestratorNodeView, OrchestratorRaftView, OrchestratorSwitchView,
};

const LEADER_CHECK: &str = "/api/leader-check";

/// 200 on the peer that leads and holds a lease, so that no other gives the same answer; 404 on the others. With
/// `?standbyok=true` 200 on those too that hear a leader.
pub(super) async fn leader_check(State(peer): State<Arc<Peer>>, uri: Uri) -> Response {
    check(&peer, StatusCode::NOT_FOUND, is_standby_ok(&uri)).await
}

/// The same, with a status of the caller's choice for the others.
pub(super) async fn leader_check_or(
    State(peer): State<Arc<Peer>>,
    Path(code): Path<String>,
    uri: Uri,
) -> Response {
    check(&peer, chosen(&code), is_standby_ok(&uri)).await
}

/// 200 on every peer that the leader tells so; one hop.
pub(super) async fn routed_leader_check(State(peer): State<Arc<Peer>>) -> Response {
    routed(&peer, StatusCode::NOT_FOUND).await
}

/// The same, with a status of the caller's choice for the others.
pub(super) async fn routed_leader_check_or(
    State(peer): State<Arc<Peer>>,
    Path(code): Path<String>,
) -> Response {
    routed(&peer, chosen(&code)).await
}

/// Whether a peer that does not lead may pass. Anything but `true` is no: whoever errs has fewer that pass.
fn is_standby_ok(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair == "standbyok=true")
}

/// 404 if it is no status, or one that does not say for sure that something is wrong.
fn chosen(code: &str) -> StatusCode {
    let code: Option<u16> = code.parse().ok();
    let code = code.filter(|code| *code >= 400);
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    code.unwrap_or(StatusCode::NOT_FOUND)
}

async fn check(peer: &Peer, otherwise: StatusCode, standby_ok: bool) -> Response {
    let leads = peer.consensus.confirm_lease().await.is_ok();
    let passes = leads || (standby_ok && is_part_of_group(peer));
    told(passes, otherwise)
}

async fn routed(peer: &Peer, otherwise: StatusCode) -> Response {
    match peer.leader() {
        None => told(false, otherwise),
        Some((leader, _)) if leader == peer.config.id => check(peer, otherwise, false).await,
        Some((_, address)) => {
            let answer = peer.calls.get(&address, LEADER_CHECK, CONFIRM).await;
            let leads = answer.is_ok_and(|(status, _)| status == StatusCode::OK);
            told(leads, otherwise)
        }
    }
}

fn told(passes: bool, otherwise: StatusCode) -> Response {
    match passes {
        true => Json("OK").into_response(),
        false => (otherwise, Json("Not leader")).into_response(),
    }
}

/// Of a peer that does not take part yet.
pub(super) async fn not_leader(code: Option<Path<String>>) -> Response {
    let code = code.map_or(StatusCode::NOT_FOUND, |Path(code)| chosen(&code));
    told(false, code)
}

/// Whether recoveries begin by themselves, as this peer has heard last.
pub(super) async fn check_global_recoveries(State(peer): State<Arc<Peer>>) -> Response {
    let now = clock::wall_millis();
    let is_paused = peer
        .consensus
        .read(|state| state.directives.pause(now).is_some());
    let details = if is_paused { "disabled" } else { "enabled" };
    Json(OrchestratorSwitchView {
        code: "OK".to_owned(),
        message: format!("Global recoveries {details}"),
        details: details.to_owned(),
    })
    .into_response()
}

/// What a peer knows of its part in the group.
pub(super) struct Account {
    /// What the port speaks.
    scheme: &'static str,
    bind: String,
    advertise: String,
    state: &'static str,
    is_healthy: bool,
    /// `host:port`; empty if none is heard.
    leader: String,
    /// Those with a vote.
    peers: Vec<String>,
    /// Those of them that are known to take part.
    healthy: Vec<String>,
}

fn scheme(config: &Config) -> &'static str {
    match config.tls {
        Some(_) => "https",
        None => "http",
    }
}

impl Account {
    pub(super) fn of(peer: &Peer) -> Account {
        let status = peer.consensus.status();
        let members = peer.members();
        let is_healthy = is_part_of_group(peer);
        let leader = peer.leader().filter(|_| is_healthy);
        let leader = leader.map(|(_, address)| address).unwrap_or_default();
        let advertise = members.get(&peer.config.id).cloned().unwrap_or_default();
        // Only the leader hears from the others.
        let progress = peer.consensus.progress();
        let quiet = peer.consensus.timing().election_max;
        let answers = progress.iter().filter(|(_, it)| {
            let ago = it.answered_ago;
            ago.is_some_and(|ago| ago < quiet)
        });
        let known = answers.filter_map(|(id, _)| status.members.get(id).cloned());
        let ours = [advertise.clone(), leader.clone()].into_iter();
        let mut healthy: Vec<_> = ours.filter(|it| is_healthy && !it.is_empty()).collect();
        healthy.extend(known.filter(|_| is_healthy));
        healthy.sort();
        healthy.dedup();
        let voters = peer.voters();
        Account {
            scheme: scheme(&peer.config),
            bind: peer.config.listen.to_string(),
            advertise,
            state: match status.role {
                Role::Leader => "Leader",
                Role::Follower => "Follower",
                Role::Candidate => "Candidate",
                Role::Learner => "Learner",
                Role::Stopped => "Shutdown",
            },
            is_healthy,
            leader,
            peers: voters
                .iter()
                .filter_map(|id| members.get(id).cloned())
                .collect(),
            healthy,
        }
    }

    /// Of a peer that does not take part yet.
    pub(super) fn starting(config: &Config) -> Account {
        Account {
            scheme: scheme(config),
            bind: config.listen.to_string(),
            advertise: config.peers.get(&config.id).cloned().unwrap_or_default(),
            state: "Starting",
            is_healthy: false,
            leader: String::new(),
            peers: config.peers.values().cloned().collect(),
            healthy: vec![],
        }
    }

    fn leads(&self) -> bool {
        self.is_healthy && self.state == "Leader"
    }

    fn leader_uri(&self) -> String {
        match self.leader.as_str() {
            "" => String::new(),
            address => format!("{}://{address}", self.scheme),
        }
    }

    fn raft_health(&self) -> Response {
        match self.is_healthy {
            true => Json("healthy").into_response(),
            false => {
                let says = Json("unhealthy: no leader is known");
                (StatusCode::INTERNAL_SERVER_ERROR, says).into_response()
            }
        }
    }

    fn raft_status(&self) -> OrchestratorRaftView {
        OrchestratorRaftView {
            bind: self.bind.clone(),
            advertise: self.advertise.clone(),
            state: self.state.to_owned(),
            healthy: self.is_healthy,
            is_part_of_quorum: self.is_healthy,
            leader: self.leader.clone(),
            leader_uri: self.leader_uri(),
            peers: self.peers.clone(),
        }
    }

    fn health(&self) -> Response {
        let node = |address: &str| OrchestratorNodeView {
            hostname: host(address).to_owned(),
            token: String::new(),
        };
        let (code, message, status) = match self.is_healthy {
            true => ("OK", "Application node is healthy", StatusCode::OK),
            false => (
                "ERROR",
                "Application node is unhealthy: no leader is known",
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
        };
        let details = OrchestratorHealthView {
            healthy: self.is_healthy,
            hostname: host(&self.advertise).to_owned(),
            token: String::new(),
            is_active_node: self.leads(),
            active_node: node(&self.leader),
            available_nodes: self.healthy.iter().map(|it| node(it)).collect(),
            raft_leader: self.leader.clone(),
            is_raft_leader: self.leads(),
            raft_leader_uri: self.leader_uri(),
            raft_advertise: self.advertise.clone(),
            raft_healthy_members: self.healthy.clone(),
        };
        let answer = OrchestratorAnswerView {
            code: code.to_owned(),
            message: message.to_owned(),
            details,
        };
        (status, Json(answer)).into_response()
    }
}

/// The paths that tell what a peer knows, and ask nobody.
pub(super) fn accounts<S: Send + Sync + 'static>(account: fn(&S) -> Account) -> Router<Arc<S>> {
    let tell = |tells: fn(Account) -> Response| {
        any(move |State(of): State<Arc<S>>| async move { tells(account(&of)) })
    };
    Router::new()
        .route("/api/raft-health", tell(|it| it.raft_health()))
        .route(
            "/api/raft-leader",
            tell(|it| Json(it.leader).into_response()),
        )
        .route("/api/raft-state", tell(|it| Json(it.state).into_response()))
        .route("/api/raft-peers", tell(|it| Json(it.peers).into_response()))
        .route(
            "/api/raft-status",
            tell(|it| Json(it.raft_status()).into_response()),
        )
        .route("/api/status", tell(|it| it.health()))
        .route("/api/health", tell(|it| it.health()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_that_passes_for_healthy_can_be_chosen() {
        for (code, status) in [
            ("503", 503),
            ("429", 429),
            ("400", 400),
            ("599", 599),
            ("200", 404),
            ("302", 404),
            ("399", 404),
            ("600", 600),
            ("999", 999),
            ("1000", 404),
            ("99", 404),
            ("none", 404),
        ] {
            assert_eq!(chosen(code).as_u16(), status, "{code}");
        }
    }

    #[test]
    fn a_standby_passes_only_for_whoever_says_so() {
        for (uri, is_ok) in [
            ("/api/leader-check?standbyok=true", true),
            ("/api/leader-check/503?x=1&standbyok=true", true),
            ("/api/leader-check", false),
            ("/api/leader-check?standbyok=false", false),
            ("/api/leader-check?standbyok", false),
            ("/api/leader-check?nostandbyok=true", false),
        ] {
            assert_eq!(is_standby_ok(&uri.parse().unwrap()), is_ok, "{uri}");
        }
    }
}
