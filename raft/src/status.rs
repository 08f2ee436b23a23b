//! What a peer says of itself: a short view to wait on, and a longer status to show.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, time::Duration};

use openraft::{
    Instant as _, RaftMetrics, ServerState, async_runtime::WatchReceiver,
    metrics::RaftServerMetrics, type_config::alias::WatchReceiverOf,
};
use tokio::sync::watch;

use crate::{lease::Instant, log_writer::Flushes, types::TypeConfig};

/// The part a peer plays in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Orders the commands.
    Leader,
    /// Has a vote and follows a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Receives the log, has no vote.
    Learner,
    /// Takes no part any more; only a new start helps.
    Stopped,
}

impl From<ServerState> for Role {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Leader => Self::Leader,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Learner => Self::Learner,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}

/// What callers wait for. Its changes come through [`Consensus::watch`](crate::Consensus::watch).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The part this peer plays.
    pub role: Role,
    /// The latest term this peer has voted in or heard of. No fencing token: two leaders may share a term.
    pub term: u64,
    /// The leader as far as this peer knows. It may have been replaced already.
    pub leader: Option<u64>,
    /// The last log index whose effects [`Consensus::read`](crate::Consensus::read) sees.
    pub applied_index: Option<u64>,
    /// Where the latest membership stands in the log.
    pub members_index: Option<u64>,
}

impl View {
    /// Before a peer has heard of anything.
    pub(crate) const FIRST: Self = Self {
        role: Role::Learner,
        term: 0,
        leader: None,
        applied_index: None,
        members_index: None,
    };
}

/// A peer's own account of itself, for people and for metrics. Nothing may be decided on it: it is what this peer
/// knew a moment ago. Log indexes begin at 0; `None` means that there is no such entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This peer.
    pub id: u64,
    /// The part it plays.
    pub role: Role,
    /// See [`View::term`].
    pub term: u64,
    /// See [`View::leader`].
    pub leader: Option<u64>,
    /// Last entry of this peer's log.
    pub last_log_index: Option<u64>,
    /// Last entry known to be on a majority.
    pub committed_index: Option<u64>,
    /// See [`View::applied_index`].
    pub applied_index: Option<u64>,
    /// Last entry contained in this peer's snapshot.
    pub snapshot_index: Option<u64>,
    /// Last entry dropped from this peer's log.
    pub purged_index: Option<u64>,
    /// On a leader, milliseconds since a majority last answered it.
    pub millis_since_quorum: Option<u64>,
    /// How long ago this peer last took entries or a heartbeat of a leader; on a leader, how long ago it sent what a
    /// majority answered. What this peer shows is that old, and a little more.
    pub heard_leader: Option<Duration>,
    /// All members, id to address, by the latest membership in the log.
    pub members: BTreeMap<u64, String>,
    /// Where that membership stands in the log.
    pub members_index: Option<u64>,
    /// Those of the members that have a vote.
    pub voters: Vec<u64>,
    /// Writes of entries and votes since the start.
    pub log_writes: u64,
    /// Flushes of the log to the platter since the start; fewer than the writes, because concurrent ones share.
    pub log_flushes: u64,
    /// Why this peer has stopped, in words for people.
    pub stopped: Option<String>,
}

impl Status {
    pub(crate) fn of(
        metrics: &RaftMetrics<TypeConfig>,
        flushes: &Flushes,
        heard: Option<Instant>,
    ) -> Self {
        let membership = metrics.membership_config.membership();
        let stopped = metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string);
        Self {
            id: metrics.id,
            role: if stopped.is_some() {
                Role::Stopped
            } else {
                metrics.state.into()
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index: metrics.last_log_index,
            committed_index: metrics.local_committed.map(|id| id.index),
            applied_index: metrics.last_applied.map(|id| id.index),
            snapshot_index: metrics.snapshot.map(|id| id.index),
            purged_index: metrics.purged.map(|id| id.index),
            millis_since_quorum: metrics
                .last_quorum_acked
                .map(|acked| u64::try_from(acked.elapsed().as_millis()).unwrap_or(u64::MAX)),
            heard_leader: heard_leader(metrics, heard),
            members: membership
                .nodes()
                .map(|(id, node)| (*id, node.addr.clone()))
                .collect(),
            members_index: metrics.membership_config.log_id().map(|id| id.index),
            voters: membership.voter_ids().collect(),
            log_writes: flushes.writes.load(Relaxed),
            log_flushes: flushes.flushes.load(Relaxed),
            stopped,
        }
    }
}

/// See [`Status::heard_leader`]; `heard` is when a follower last took something of a leader.
pub(crate) fn heard_leader(
    metrics: &RaftMetrics<TypeConfig>,
    heard: Option<Instant>,
) -> Option<Duration> {
    let mut voters = metrics.membership_config.voter_ids();
    let is_alone = voters.next() == Some(metrics.id) && voters.next().is_none();
    match metrics.state {
        ServerState::Leader if is_alone => Some(Duration::ZERO),
        ServerState::Leader => metrics.last_quorum_acked.map(|acked| acked.elapsed()),
        _ => heard.map(|heard| heard.elapsed()),
    }
}

/// Has `view` show what openraft says of leader and term now.
pub(crate) fn note(
    server: &WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
    view: &watch::Sender<View>,
) {
    let (role, term, leader, members) = {
        let server = server.borrow_watched();
        let members = server.membership_config.log_id().map(|id| id.index);
        (
            Role::from(server.state),
            server.vote.leader_id.term,
            server.current_leader,
            members,
        )
    };
    update(view, role, term, leader, members);
}

/// Keeps `view` in step with what openraft says of leader and term, until it stops. Applying reports for itself.
pub(crate) async fn follow(
    mut server: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
    view: watch::Sender<View>,
) {
    loop {
        note(&server, &view);
        if server.changed().await.is_err() {
            let View {
                term,
                members_index,
                ..
            } = *view.borrow();
            update(&view, Role::Stopped, term, None, members_index);
            return;
        }
    }
}

fn update(
    view: &watch::Sender<View>,
    role: Role,
    term: u64,
    leader: Option<u64>,
    members_index: Option<u64>,
) {
    view.send_if_modified(|view| {
        let before = *view;
        *view = View {
            role,
            term,
            leader,
            applied_index: before.applied_index,
            members_index,
        };
        *view != before
    });
}
