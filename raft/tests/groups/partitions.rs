//! What a cut-off peer must not do to the others.

use std::thread;

use crate::peers::{Peers, SLOW, is_soon};
use raft::Role;

/// The old leader reaches one voter alone, whose vote the others need (databendlabs/openraft#2080). Without
/// `quorum_loss_probe` its heartbeats keep that vote from them for ever.
#[test]
fn an_old_leader_behind_a_bridge_does_not_block_the_others() {
    let peers = Peers::start(5);
    peers.add(1);
    peers.all_have(vec![1]);
    let old = peers.leader();
    let [bridge, one, two, dark] = peers.others(old)[..] else {
        panic!("five peers")
    };
    for other in [old, bridge, one, two] {
        peers.cut(dark, other, true);
    }
    for other in [one, two] {
        peers.cut(old, other, true);
    }
    let new = peers.leader();
    assert!([bridge, one, two].contains(&new));
    peers.add(2);
    for other in [old, bridge, one, two] {
        peers.cut(dark, other, false);
    }
    for other in [one, two] {
        peers.cut(old, other, false);
    }
    peers.all_have(vec![1, 2]);
}

/// Without pre-votes it comes back with a higher term, and the leader must give way.
#[test]
fn a_peer_that_returns_from_a_partition_does_not_depose_a_healthy_leader() {
    let peers = Peers::start_with(3, |config| config.timing = SLOW);
    peers.add(1);
    peers.all_have(vec![1]);
    let leader = peers.leader();
    let [away, other] = peers.others(leader)[..] else {
        panic!("three peers")
    };
    let term = peers.status(leader).term;
    peers.cut(away, leader, true);
    peers.cut(away, other, true);
    // Time for several elections that it cannot win.
    thread::sleep(4 * SLOW.election_max);
    peers.add(2);
    peers.cut(away, leader, false);
    peers.cut(away, other, false);
    peers.all_have(vec![1, 2]);
    thread::sleep(2 * SLOW.election_max);
    is_soon("it follows the leader of before", || {
        peers.status(away).leader == Some(leader)
    });
    for id in peers.ids() {
        assert_eq!(peers.status(id).term, term, "peer {id}");
    }
    assert_eq!(peers.status(leader).role, Role::Leader);
}
