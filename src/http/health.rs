//! Whether a peer lives, is ready, and is part of a group that has a leader. For orchestration (`/livez`, `/readyz`,
//! `/healthz`) and for the checks of load balancers in [`compat`](super::compat).
//! Never a redirect and never a soft success: a load balancer takes 200 to 399 for healthy.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use raft::{Role, Timing};

use crate::server::Peer;

/// Below the usual timeout of a health check, 1 s.
pub(super) const CONFIRM: Duration = Duration::from_millis(500);
/// A peer that has heard no leader for this long, or a leader no majority, is not healthy: many missed heartbeats, and
/// not longer than the shortest interval at which anybody checks.
const QUIET: Duration = Duration::from_secs(2);

/// 200 while the process answers, whatever becomes of the group: what fails this is restarted, and that helps nobody
/// whose majority is away.
pub(super) async fn alive() -> Json<&'static str> {
    Json("OK")
}

/// 200 while this peer hears a leader and reaches it, and so can answer for the group.
pub(super) async fn ready(State(peer): State<Arc<Peer>>) -> Response {
    if is_part_of_group(&peer) && reaches_leader(&peer).await {
        Json("ready").into_response()
    } else {
        not_ready().await
    }
}

pub(super) async fn not_ready() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json("no leader is known")).into_response()
}

async fn reaches_leader(peer: &Peer) -> bool {
    match peer.leader() {
        None => false,
        Some((leader, _)) if leader == peer.config.id => true,
        Some((_, address)) => peer.calls.get(&address, "/livez", CONFIRM).await.is_ok(),
    }
}

/// Whether this peer leads a majority, or hears who does. Asks nobody.
pub(super) fn is_part_of_group(peer: &Peer) -> bool {
    let status = peer.consensus.status();
    // The last leader is remembered long after it was heard.
    let heard = status.leader.and(status.heard_leader);
    is_part(status.role, heard, peer.consensus.timing())
}

fn is_part(role: Role, heard: Option<Duration>, timing: Timing) -> bool {
    let quiet = QUIET.max(2 * timing.election_max);
    match role {
        Role::Leader | Role::Follower | Role::Learner => heard.is_some_and(|ago| ago < quiet),
        Role::Candidate | Role::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_heard_no_leader_for_a_while_is_not_healthy_whatever_it_believes() {
        let is_healthy = |role, heard: Option<u64>, timing| {
            let heard = heard.map(Duration::from_millis);
            is_part(role, heard, timing)
        };
        let (lan, wan) = (Timing::lan(), Timing::wan());
        for role in [Role::Leader, Role::Follower, Role::Learner] {
            assert!(is_healthy(role, Some(1900), lan));
            assert!(!is_healthy(role, Some(2000), lan));
            assert!(!is_healthy(role, None, lan));
            // Heartbeats are slow there.
            assert!(is_healthy(role, Some(3900), wan));
            assert!(!is_healthy(role, Some(4000), wan));
        }
        for role in [Role::Candidate, Role::Stopped] {
            assert!(!is_healthy(role, Some(0), lan));
        }
    }
}
