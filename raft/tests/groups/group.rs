//! A group of three peers on the loopback: elections, crashes, restarts, snapshots, refusals.

use std::time::Duration;

use crate::peers::{Command, Peers, SLOW, is_soon};
use raft::{ConfirmError, ProposeError, Role, TransferError};

#[test]
fn a_group_survives_its_leader_and_the_leader_comes_back_from_its_disk() {
    let mut peers = Peers::start(3);
    let first = peers.leader();
    for value in 0..20 {
        peers.add(value);
    }
    peers.kill(first);
    let second = peers.leader();
    assert_ne!(first, second);
    for value in 20..40 {
        peers.add(value);
    }
    peers.restart(first);
    peers.all_have((0..40).collect());
}

#[test]
fn a_group_killed_as_a_whole_keeps_what_it_acknowledged() {
    let mut peers = Peers::start(3);
    for value in 0..20 {
        peers.add(value);
    }
    for id in 1..=3 {
        peers.kill(id);
    }
    for id in 1..=3 {
        peers.restart(id);
    }
    peers.all_have((0..20).collect());
}

#[test]
fn a_peer_far_behind_catches_up_from_a_snapshot() {
    let mut peers = Peers::start_with(3, |config| {
        config.snapshot_every = 20;
        config.keep_before_snapshot = 0;
    });
    let leader = peers.leader();
    let behind = peers.others(leader)[0];
    peers.add(0);
    peers.all_have(vec![0]);
    peers.kill(behind);
    for value in 1..200 {
        peers.add(value);
    }
    let leader = peers.leader();
    is_soon("the log of the leader is purged", || {
        peers.status(leader).purged_index > Some(100)
    });
    peers.restart(behind);
    peers.all_have((0..200).collect());
    let status = peers.status(behind);
    assert!(status.snapshot_index > Some(100), "{status:?}");

    // The snapshot it was sent is the one it starts from.
    peers.shutdown(behind);
    peers.restart(behind);
    peers.all_have((0..200).collect());
}

#[test]
fn leadership_is_handed_over_on_request() {
    let peers = Peers::start_with(3, |config| config.timing = SLOW);
    peers.add(0);
    peers.all_have(vec![0]);
    let from = peers.leader();
    let to = peers.others(from)[0];
    let handed = |id, to| peers.wait(peers.consensus(id).transfer_leadership(to));
    assert!(matches!(
        handed(from, 9),
        Err(TransferError::NotAVoter { to: 9 })
    ));
    assert!(
        matches!(handed(to, from), Err(TransferError::NotLeader { leader }) if leader == Some(from))
    );
    handed(from, to).unwrap();
    is_soon("all see the new leader", || {
        peers
            .ids()
            .iter()
            .all(|id| peers.status(*id).leader == Some(to))
    });
    peers.add(1);
}

#[test]
fn only_the_leader_of_a_majority_confirms_and_accepts() {
    let mut peers = Peers::start_with(3, |config| config.timing = SLOW);
    let applied = peers.add(1);
    // Born at once by all three, the group may change its first leader; it has settled when all have applied.
    peers.all_have(vec![1]);
    let leader = peers.leader();
    let others = peers.others(leader);

    let confirm = |peers: &Peers, id| {
        peers.wait(
            peers
                .consensus(id)
                .confirm_leadership(Duration::from_secs(2)),
        )
    };
    let leadership = confirm(&peers, leader).unwrap();
    assert_eq!(leadership.leader, leader);
    assert!(leadership.read_index >= applied.index);
    let follower = confirm(&peers, others[0]).unwrap_err();
    assert!(
        matches!(follower, ConfirmError::NotLeader { leader: known } if known == Some(leader)),
        "{follower}"
    );
    let refused = peers
        .wait(peers.consensus(others[0]).propose(Command::One(2)))
        .unwrap_err();
    assert!(
        matches!(refused, ProposeError::NotLeader { leader: known } if known == Some(leader)),
        "{refused}"
    );

    peers.kill(others[0]);
    peers.kill(others[1]);
    let alone = confirm(&peers, leader).unwrap_err();
    assert!(
        matches!(
            alone,
            ConfirmError::Unconfirmed | ConfirmError::NotLeader { .. }
        ),
        "{alone}"
    );
}

#[test]
fn a_single_peer_is_a_group() {
    let mut peers = Peers::start(1);
    assert_eq!(peers.leader(), 1);
    assert_eq!(peers.add(7).reply, 1);
    let confirmed = peers
        .wait(
            peers
                .consensus(1)
                .confirm_leadership(Duration::from_secs(2)),
        )
        .unwrap();
    assert_eq!(confirmed.leader, 1);
    peers.shutdown(1);
    peers.restart(1);
    peers.all_have(vec![7]);
}

#[test]
fn the_view_shows_applied_commands_and_the_end() {
    let peers = Peers::start(1);
    let applied = peers.add(7);
    let consensus = peers.consensus(1);
    let mut view = consensus.watch();
    let seen = peers
        .wait(view.wait_for(|view| view.applied_index >= Some(applied.index)))
        .map(|view| *view);
    assert_eq!(seen.unwrap().leader, Some(1));
    peers.wait(consensus.clone().shutdown());
    let end = peers
        .wait(view.wait_for(|view| view.role == Role::Stopped))
        .map(|view| *view);
    assert_eq!(end.unwrap().applied_index, Some(applied.index));
    assert!(consensus.status().stopped.is_some());
    assert!(matches!(
        peers.wait(consensus.propose(Command::One(8))),
        Err(ProposeError::Stopped(_))
    ));
}

#[test]
fn a_command_that_panics_stops_the_peer() {
    let peers = Peers::start(1);
    peers.add(7);
    let consensus = peers.consensus(1);
    peers.wait(consensus.propose(Command::Panic)).unwrap_err();
    let mut view = consensus.watch();
    peers
        .wait(view.wait_for(|view| view.role == Role::Stopped))
        .unwrap();
    let reason = consensus.status().stopped.unwrap();
    assert!(reason.contains("applying a command panicked"), "{reason}");
}

#[test]
fn a_restarted_peer_says_no_less_than_before() {
    let mut peers = Peers::start(3);
    peers.add(1);
    let term = peers.status(1).term;
    for id in 1..=3 {
        peers.kill(id);
    }
    // Alone, so that nobody tells it.
    peers.restart(1);
    assert!(peers.status(1).term >= term);
    let watched = peers.consensus(1).watch().borrow().term;
    assert!(watched >= term);
}
