//! The peers and their leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::task::JoinSet;

use crate::clock;
use crate::model::PeerId;
use crate::server::calls::Calls;
use crate::server::{Config, Peer};
use crate::state::level::spoken;
use crate::state::peers::Invitation;

use super::membership::Numbered;
use super::problem::Problem;
use super::refusal::unknown_peer;
use super::views::{INVITED, JOINING, LeaderView, PeerView};

/// How long another peer may take to tell about itself.
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// `GET /api/v1/leader`: who leads. With the default consistency the leader itself answers, after a
/// majority confirmed it. Fails with `no-leader`.
pub async fn leader(State(peer): State<Arc<Peer>>) -> Result<Json<LeaderView>, Problem> {
    let (leader, address) = peer.leader().ok_or_else(Problem::no_leader)?;
    let term = peer.consensus.watch().borrow().term;
    let remaining = match leader == peer.config.id {
        true => lease_of(&peer).and_then(|(of, left)| (of == term).then_some(left)),
        false => granted(
            peer.consensus.heard_leader(),
            peer.consensus.timing().lease(),
        ),
    };
    Ok(Json(LeaderView {
        leader: leader.0,
        address,
        term,
        since: peer.led_since(leader, term).map(clock::text_of),
        lease_remaining_ms: remaining,
        lease_until: remaining.map(|left| clock::text_of(clock::wall_millis() + left)),
        answered_by: peer.config.id.0,
    }))
}

/// The milliseconds left of the lease that a follower granted when it heard its leader, if any are. For display: what
/// others granted may end later, and a handover ends all.
fn granted(heard: Option<Duration>, lease: Duration) -> Option<u64> {
    let left = lease.checked_sub(heard?)?;
    (!left.is_zero()).then_some(left.as_millis() as u64)
}

/// The term of the lease that this peer holds, and the milliseconds left of it.
fn lease_of(peer: &Peer) -> Option<(u64, u64)> {
    let lease = peer.consensus.lease()?;
    Some((lease.term, lease.remaining.as_millis() as u64))
}

/// `GET /api/v1/peers`: every peer, each asked now, and those who are invited. Works without a leader, unless another consistency is asked for.
pub async fn peers(State(peer): State<Arc<Peer>>) -> Json<Vec<PeerView>> {
    let (members, voters) = (peer.members(), peer.voters());
    let invited = invited(&peer, &members);
    let progress = peer.consensus.progress();
    // One that was removed, or is not a member yet, is no peer of the group.
    let own = members
        .contains_key(&peer.config.id)
        .then(|| this_peer(&peer));
    let mut views = all(members, peer.config.id, &peer.calls, own).await;
    for view in &mut views {
        view.vote = voters.contains(&PeerId(view.id));
        view.behind = progress.get(&view.id).map(|progress| progress.behind);
    }
    warn_of_differences(&mut views, peer.config.id);
    views.extend(invited);
    views.sort_by_key(|view| view.id);
    Json(views)
}

/// Whoever leads runs its own programs and obeys its own limit: one that has others would do something else.
fn warn_of_differences(views: &mut [PeerView], this: PeerId) {
    let leads = views.iter().find(|view| view.role == "leader");
    let own = views.iter().find(|view| view.id == this.0);
    let Some((of, expected)) = leads.or(own).map(|it| (it.id, it.configuration.clone())) else {
        return;
    };
    for view in views {
        if let (Some(expected), Some(found)) = (&expected, &view.configuration)
            && expected != found
        {
            view.warnings.push(format!(
                "hooks: the table [hooks] or max_concurrent_recoveries of peer {} differs from that of peer {of}; give all peers the same",
                view.id
            ));
        }
    }
}

/// Those who may join, or are about to, as this peer knows it.
fn invited(peer: &Peer, members: &BTreeMap<PeerId, String>) -> Vec<PeerView> {
    let now = clock::wall_millis();
    peer.consensus.read(|state| {
        let invitations = state.peers.invitations(now);
        let newcomers = invitations.filter(|(id, _)| !members.contains_key(id));
        newcomers.map(|(id, it)| newcomer(id, it)).collect()
    })
}

fn newcomer(id: PeerId, invitation: &Invitation) -> PeerView {
    let (role, until) = match invitation.taken_by {
        None => (INVITED, Some(clock::text_of(invitation.expires_at))),
        Some(_) => (JOINING, None),
    };
    PeerView {
        role: role.to_owned(),
        invited_until: until,
        ..unreachable_peer(id, invitation.address.clone())
    }
}

/// `GET /api/v1/peers/{peer}`: one peer, asked now; of itself it tells without any other. Works without a leader, unless
/// another consistency is asked for. Fails with `unknown-peer`.
pub async fn one(
    State(peer): State<Arc<Peer>>,
    Numbered(id): Numbered,
) -> Result<Json<PeerView>, Problem> {
    if id == peer.config.id {
        return Ok(Json(this_peer(&peer)));
    }
    let mut members = peer.members();
    let Some((id, address)) = members.remove_entry(&id) else {
        let mut invited = invited(&peer, &members).into_iter();
        let invited = invited.find(|view| view.id == id.0);
        return invited.map(Json).ok_or_else(|| no_member(id));
    };
    let told = all([(id, address)].into(), peer.config.id, &peer.calls, None);
    let mut view = told.await.pop().ok_or_else(|| no_member(id))?;
    view.vote = peer.voters().contains(&id);
    Ok(Json(view))
}

fn no_member(id: PeerId) -> Problem {
    unknown_peer(format!("peer {id} is no member of the group"))
}

/// What each of `members` says of itself; `own` is what `this` one says.
pub(super) async fn all(
    members: BTreeMap<PeerId, String>,
    this: PeerId,
    calls: &Calls,
    own: Option<PeerView>,
) -> Vec<PeerView> {
    let mut asked = JoinSet::new();
    for (id, address) in members {
        if id == this {
            continue;
        }
        let calls = calls.clone();
        asked.spawn(async move {
            let told = calls.get(&address, "/internal/v1/peer", TELL_WITHIN).await;
            let told = told
                .ok()
                .and_then(|(_, body)| serde_json::from_slice(&body).ok());
            told.unwrap_or_else(|| unreachable_peer(id, address))
        });
    }
    let mut views = asked.join_all().await;
    views.extend(own);
    views.sort_by_key(|view| view.id);
    views
}

fn unreachable_peer(id: PeerId, address: String) -> PeerView {
    PeerView {
        id: id.0,
        address,
        group: None,
        zone: None,
        reachable: false,
        role: "unknown".to_owned(),
        leader: None,
        term: None,
        lease_remaining_ms: None,
        last_log_index: None,
        applied_index: None,
        vote: false,
        behind: None,
        feature_level_spoken: None,
        feature_level: None,
        invited_until: None,
        configuration: None,
        warnings: vec![],
    }
}

/// A peer that can say nothing of its log.
pub(super) fn silent_view(config: &Config, role: &str, warnings: Vec<String>) -> PeerView {
    let address = config.peers.get(&config.id).cloned().unwrap_or_default();
    PeerView {
        group: Some(config.group.to_string()),
        zone: Some(config.zone.to_string()),
        reachable: true,
        role: role.to_owned(),
        feature_level_spoken: Some(spoken().number()),
        configuration: Some(config.recovery_digest()),
        warnings,
        ..unreachable_peer(config.id, address)
    }
}

/// This peer's account of itself.
pub(super) fn this_peer(peer: &Peer) -> PeerView {
    let status = peer.consensus.status();
    let config = &peer.config;
    PeerView {
        id: config.id.0,
        address: peer.members().remove(&config.id).unwrap_or_default(),
        group: Some(config.group.to_string()),
        zone: Some(config.zone.to_string()),
        reachable: true,
        role: format!("{:?}", status.role).to_lowercase(),
        leader: status.leader,
        term: Some(status.term),
        lease_remaining_ms: lease_of(peer).map(|(_, remaining)| remaining),
        last_log_index: status.last_log_index,
        applied_index: status.applied_index,
        vote: status.voters.contains(&config.id.0),
        behind: None,
        feature_level_spoken: Some(spoken().number()),
        feature_level: Some(peer.consensus.read(|state| state.level.number())),
        invited_until: None,
        configuration: Some(config.recovery_digest()),
        warnings: config
            .warnings
            .iter()
            .cloned()
            .chain(peer.publisher.warnings())
            .chain(peer.hook_warnings())
            .chain(peer.sql.board.refusals(clock::monotonic()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_with_another_configuration_is_named() {
        let view = |id: u64, role: &str, configuration: Option<&str>| PeerView {
            role: role.to_owned(),
            configuration: configuration.map(str::to_owned),
            ..unreachable_peer(PeerId(id), String::new())
        };
        let warned = |mut views: Vec<PeerView>| {
            warn_of_differences(&mut views, PeerId(1));
            let warned = views.iter().filter(|it| !it.warnings.is_empty());
            warned.map(|it| it.id).collect::<Vec<_>>()
        };
        let none = Vec::<u64>::new();
        let of = |a, b, c| {
            vec![
                view(1, "follower", a),
                view(2, "leader", b),
                view(3, "follower", c),
            ]
        };
        assert_eq!(warned(of(Some("x"), Some("x"), Some("x"))), none);
        assert_eq!(warned(of(Some("x"), Some("x"), Some("y"))), [3]);
        assert_eq!(warned(of(Some("x"), Some("y"), Some("x"))), [1, 3]);
        // An older one, or one that does not answer, says nothing.
        assert_eq!(warned(of(Some("x"), Some("x"), None)), none);
        assert_eq!(
            warned(vec![
                view(1, "follower", Some("x")),
                view(3, "unknown", None)
            ]),
            none
        );
    }

    #[test]
    fn a_follower_shows_what_is_left_of_the_lease_that_it_granted() {
        let lease = Duration::from_millis(350);
        for (heard, left) in [
            (Some(0), Some(350)),
            (Some(100), Some(250)),
            (Some(350), None),
            (Some(9_000), None),
            (None, None),
        ] {
            let heard = heard.map(Duration::from_millis);
            assert_eq!(granted(heard, lease), left, "{heard:?}");
        }
    }
}
