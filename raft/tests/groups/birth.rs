//! A group is born once, by all its first members, and an emptied folder is recognised.

use crate::peers::{Peers, is_soon};
use raft::{Timing, Waiting};

/// What a newcomer found: without its folder a peer forgot its vote, came back as new, and helped to elect a leader
/// that lacked an acknowledged command.
#[test]
fn a_peer_with_an_emptied_folder_is_refused_and_elects_nobody() {
    let mut peers = Peers::start(3);
    peers.add(1);
    peers.all_have(vec![1]);
    let leader = peers.leader();
    let [emptied, behind] = peers.others(leader)[..] else {
        panic!("three peers")
    };
    // Acknowledged by the leader and the peer that is about to lose its folder, missed by the third.
    peers.kill(behind);
    peers.add(2);
    peers.kill(leader);
    peers.kill(emptied);
    peers.empty(emptied);

    peers.restart(behind);
    peers.begin(emptied);
    let refused = peers.refused(emptied);
    assert!(refused.contains("Stranger"), "{refused}");
    assert_ne!(peers.status(behind).role, raft::Role::Leader);

    // Nothing is lost: with the old leader there is a majority.
    peers.kill(emptied);
    peers.restart(leader);
    peers.all_have(vec![1, 2]);
}

#[test]
fn a_group_is_not_born_of_peers_that_look_for_each_other_in_different_places() {
    let mut peers = Peers::prepare(3, |config| {
        if config.id == 2 {
            config.members.insert(3, "127.0.0.1:9".to_owned());
        }
    });
    for id in 1..=3 {
        peers.begin(id);
    }
    is_soon("they say who disagrees", || {
        [1, 3].map(|id| peers.waiting(id)) == [(); 2].map(|()| Some(Waiting::Disagree(vec![2])))
    });
}

#[test]
fn peers_of_different_timings_refuse_each_other() {
    let mut peers = Peers::prepare(3, |config| {
        if config.id == 3 {
            config.timing = Timing::wan();
        }
    });
    for id in 1..=3 {
        peers.begin(id);
    }
    is_soon("nobody speaks to the third", || {
        let silent = [vec![3], vec![3], vec![1, 2]].map(|ids| Some(Waiting::Silent(ids)));
        [1, 2, 3].map(|id| peers.waiting(id)) == silent
    });
}

#[test]
fn a_peer_with_an_emptied_folder_waits_while_nobody_can_tell() {
    let mut peers = Peers::start(3);
    peers.add(1);
    for id in 1..=3 {
        peers.shutdown(id);
    }
    peers.empty(1);
    peers.empty(2);
    peers.begin(1);
    peers.begin(2);
    let told = |id, other| {
        is_soon("it waits for the two", || {
            let silent = [Waiting::Silent(vec![other, 3]), Waiting::Silent(vec![3])];
            peers.waiting(id).is_some_and(|why| silent.contains(&why))
        });
    };
    told(1, 2);
    told(2, 1);
    // One that kept its folder is enough.
    peers.restart(3);
    for id in [1, 2] {
        assert!(peers.refused(id).contains("known_to: 3"));
    }
}

#[test]
fn a_group_is_not_born_before_all_first_members_are_up() {
    let mut peers = Peers::prepare(3, |_| {});
    peers.begin(1);
    peers.begin(3);
    for id in [1, 3] {
        is_soon("it waits for peer 2 alone", || {
            peers.waiting(id) == Some(Waiting::Silent(vec![2]))
        });
    }
    peers.restart(2);
    peers.started(1);
    peers.started(3);
    peers.add(1);
    peers.all_have(vec![1]);
}

/// One peer after the other is killed as soon as it answers, again and again, until all have started.
#[test]
fn a_birth_interrupted_anywhere_goes_on() {
    for round in 0..8 {
        let mut peers = Peers::prepare(3, |_| {});
        for id in 1..=3 {
            peers.begin(id);
        }
        for id in 1..=3 {
            // Another moment each time; no test of time.
            std::thread::sleep(std::time::Duration::from_millis(7 * round));
            peers.kill(id);
            peers.begin(id);
        }
        for id in 1..=3 {
            peers.started(id);
        }
        peers.add(1);
        peers.all_have(vec![1]);
    }
}
