//! The Raft group, as this peer knows it.

use std::time::Duration;

use raft::{Role, Status};

use crate::http::health::is_part_of_group;
use crate::server::Peer;

use super::{Labels, Page};

const ROLES: [(Role, &str); 5] = [
    (Role::Leader, "leader"),
    (Role::Follower, "follower"),
    (Role::Candidate, "candidate"),
    (Role::Learner, "learner"),
    (Role::Stopped, "stopped"),
];

pub(super) fn tell(page: &mut Page, peer: &Peer) {
    let status = peer.consensus.status();
    page.gauge(
        "raft_is_leader",
        "1 if this peer leads, as far as it knows",
        u64::from(status.role == Role::Leader),
    );
    page.gauge(
        "raft_has_leader",
        "1 while this peer hears a leader, or leads and hears a majority",
        u64::from(is_part_of_group(peer)),
    );
    page.gauges(
        "raft_role",
        "1 for the part that this peer plays in its group",
        ROLES.map(|(role, name)| (of("role", name), u64::from(role == status.role))),
    );
    page.gauge(
        "raft_term",
        "The latest term; it grows with every election",
        status.term,
    );
    let learners = status.members.len().saturating_sub(status.voters.len());
    let members = [("yes", status.voters.len()), ("no", learners)];
    page.gauges(
        "raft_members",
        "Members of the group, by whether they have a vote",
        members.map(|(vote, count)| (of("vote", vote), count as u64)),
    );
    let lease = peer.consensus.lease().map(|lease| lease.remaining);
    page.seconds(
        "raft_leader_lease_remaining_seconds",
        "How long this peer may still answer as the leader, unless its lease is renewed; 0 if it holds none",
        [(vec![], lease.map_or(0, millis))],
    );
    page.seconds(
        "raft_staleness_seconds",
        "How old the state of this peer may be; no value before it heard a leader",
        status.heard_leader.map(|ago| (vec![], millis(ago))),
    );
    log(page, &status);
    // Known to the leader alone, and empty elsewhere.
    let progress = peer.consensus.progress();
    let others = || progress.iter().map(|(id, it)| (of("peer", id), it));
    page.gauges(
        "raft_peer_behind_entries",
        "Entries of the leader's log that a peer is not known to have; told by the leader",
        others().map(|(labels, it)| (labels, it.behind)),
    );
    page.seconds(
        "raft_peer_answered_seconds",
        "The time since a peer last answered the leader; told by the leader",
        others().filter_map(|(labels, it)| Some((labels, millis(it.answered_ago?)))),
    );
}

fn log(page: &mut Page, status: &Status) {
    let indexes = [
        (
            "raft_last_log_index",
            "The last entry of the log",
            status.last_log_index,
        ),
        (
            "raft_commit_index",
            "The last entry that is known to be on a majority",
            status.committed_index,
        ),
        (
            "raft_applied_index",
            "The last entry that was applied",
            status.applied_index,
        ),
        (
            "raft_snapshot_index",
            "The last entry in the snapshot",
            status.snapshot_index,
        ),
        (
            "raft_purged_index",
            "The last entry that was dropped from the log",
            status.purged_index,
        ),
    ];
    for (name, help, index) in indexes {
        page.gauges(name, help, index.map(|index| (vec![], index)));
    }
    page.counters(
        "raft_log_writes",
        "Writes of entries and votes since the start",
        [(vec![], status.log_writes)],
    );
    page.counters(
        "raft_log_flushes",
        "Flushes of the log to the disk since the start",
        [(vec![], status.log_flushes)],
    );
}

fn of(name: &'static str, value: impl ToString) -> Labels {
    vec![(name, value.to_string())]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
