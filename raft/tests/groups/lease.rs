//! A lease read is answered by one peer at a time: the last one of an old leader was asked for before the first one of
//! its successor was answered, whatever cuts, kills and handovers do.
#![expect(clippy::disallowed_methods, reason = "all peers are on one clock here")]

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::peers::{Numbers, Peers, SLOW, is_soon};
use raft::{ConfirmError, Consensus, Timing};

/// Of one peer: when its last confirmed lease was asked for, and when its first was confirmed.
#[derive(Debug, Clone, Copy, Default)]
struct Confirmed {
    last_asked: Option<Instant>,
    first_answered: Option<Instant>,
}

/// Asks again and again until `done`; says when it was confirmed once.
fn ask(consensus: &Consensus<Numbers>, once: &AtomicBool, done: &AtomicBool) -> Confirmed {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut confirmed = Confirmed::default();
    while !done.load(Relaxed) {
        let asked = Instant::now();
        if runtime.block_on(consensus.confirm_lease()).is_ok() {
            confirmed.last_asked = Some(asked);
            once.store(true, Relaxed);
            confirmed.first_answered.get_or_insert_with(Instant::now);
        }
        thread::sleep(Duration::from_micros(300));
    }
    confirmed
}

/// Asks `old` and `watched`, and after `disturb` all that run, until another than `old` holds a lease.
#[track_caller]
fn succeeds(peers: &mut Peers, old: u64, watched: &[u64], disturb: impl FnOnce(&mut Peers)) {
    let [led, another, done] = [const { AtomicBool::new(false) }; 3];
    let leader = peers.consensus(old);
    let ask_other = |consensus| ask(&consensus, &another, &done);
    let watched: Vec<_> = watched.iter().map(|id| peers.consensus(*id)).collect();
    let (last, first) = thread::scope(|scope| {
        let last = scope.spawn(|| ask(&leader, &led, &done));
        let asked = watched.into_iter().map(|it| scope.spawn(|| ask_other(it)));
        let mut first: Vec<_> = asked.collect();
        is_soon("the old leader is confirmed", || led.load(Relaxed));
        disturb(peers);
        let others = peers.others(old);
        let others: Vec<_> = others.iter().map(|id| peers.consensus(*id)).collect();
        first.extend(others.into_iter().map(|it| scope.spawn(|| ask_other(it))));
        is_soon("another leader is confirmed", || another.load(Relaxed));
        // Long enough for a lease that should have ended to be seen.
        thread::sleep(peers.config(old).timing.election_max);
        done.store(true, Relaxed);
        let first = first
            .into_iter()
            .filter_map(|it| it.join().unwrap().first_answered);
        let first = first.min();
        (last.join().unwrap().last_asked, first)
    });
    let first = first.expect("another peer leads");
    let last = last.expect("the old leader led");
    assert!(
        last < first,
        "peer {old} answered a lease read that was asked for {:?} after another's was answered",
        last - first
    );
}

fn settled(timing: Timing) -> Peers {
    let peers = Peers::start_with(3, |config| config.timing = timing);
    peers.add(1);
    peers.all_have(vec![1]);
    peers
}

/// The leader with a lease, and the two others.
fn roles(peers: &Peers) -> (u64, u64, u64) {
    let leader = peers.leader();
    is_soon("the leader has a lease", || {
        peers.wait(peers.consensus(leader).confirm_lease()).is_ok()
    });
    let others = peers.others(leader);
    (leader, others[0], others[1])
}

#[test]
fn a_leader_that_is_cut_off_answers_no_lease_read_after_its_successor_has() {
    let mut peers = settled(Timing::lan());
    for number in 2..8 {
        let (leader, one, two) = roles(&peers);
        succeeds(&mut peers, leader, &[one, two], |peers| {
            peers.cut(leader, one, true);
            peers.cut(leader, two, true);
        });
        peers.cut(leader, one, false);
        peers.cut(leader, two, false);
        peers.add(number);
        peers.all_have((1..=number).collect());
    }
}

/// Without `Silence` the voter that restarts helps to elect another while the lease that it granted still runs.
#[test]
fn a_voter_that_restarts_keeps_the_lease_that_it_has_forgotten() {
    // A lease much longer than a restart takes.
    let mut peers = settled(SLOW);
    for number in 2..4 {
        let (leader, restarted, other) = roles(&peers);
        // The other no longer hears the leader, and would elect another.
        peers.cut(leader, other, true);
        thread::sleep(2 * peers.config(other).timing.election_max);
        assert_eq!(peers.leader(), leader);
        succeeds(&mut peers, leader, &[other], |peers| {
            peers.kill(restarted);
            peers.cut(leader, restarted, true);
            peers.restart(restarted);
        });
        peers.cut(leader, restarted, false);
        peers.cut(leader, other, false);
        peers.add(number);
        peers.all_have((1..=number).collect());
    }
}

/// Long leases are replaced by short ones, peer by peer. Without `Granted` the two that have restarted elect another while
/// the lease that one of them granted still runs.
#[test]
fn a_voter_that_restarts_with_another_timing_keeps_the_lease_that_it_granted() {
    let long = Timing {
        election_min: Duration::from_millis(3000),
        election_max: Duration::from_millis(4000),
        quorum_loss_probe: Duration::from_millis(8000),
        ..Timing::lan()
    };
    let mut peers = settled(long);
    let (leader, one, two) = roles(&peers);
    let noted = |peers: &Peers| {
        let note = fs::read(peers.config(one).folder.join("granted")).unwrap();
        Duration::from_millis(raft::unseal(&note, 1024).unwrap())
    };
    succeeds(&mut peers, leader, &[], |peers| {
        for id in [one, two] {
            peers.kill(id);
            peers.change(id, |config| config.timing = Timing::lan());
        }
        peers.restart(one);
        // Were it killed again now, it would still know.
        assert_eq!(noted(peers), long.election_max);
        peers.restart(two);
    });
    is_soon("the long lease is forgotten", || {
        noted(&peers) == Timing::lan().election_max
    });
}

#[test]
fn a_leader_that_hands_over_answers_no_lease_read_after_its_successor_has() {
    let mut peers = settled(SLOW);
    for _ in 0..6 {
        let (leader, one, two) = roles(&peers);
        succeeds(&mut peers, leader, &[one, two], |peers| {
            peers
                .wait(peers.consensus(leader).transfer_leadership(one))
                .unwrap();
        });
    }
}

#[test]
fn only_a_leader_with_a_majority_holds_a_lease() {
    let mut peers = settled(SLOW);
    let (leader, one, two) = roles(&peers);
    let lease = peers.wait(peers.consensus(leader).confirm_lease()).unwrap();
    assert_eq!(lease.term, peers.status(leader).term);
    assert!(lease.remaining <= SLOW.lease());
    assert!(peers.status(leader).heard_leader.is_some());
    let follower = peers
        .wait(peers.consensus(one).confirm_lease())
        .unwrap_err();
    let is_refused = |error: &ConfirmError| matches!(error, ConfirmError::NotLeader { leader: Some(of) } if *of == leader);
    assert!(is_refused(&follower), "{follower}");
    assert!(peers.consensus(one).lease().is_none());
    is_soon("the follower hears the leader", || {
        peers.status(one).heard_leader.is_some()
    });

    peers.kill(one);
    peers.kill(two);
    is_soon("the lease ends", || {
        peers.wait(peers.consensus(leader).confirm_lease()).is_err()
    });
    is_soon("it says so", || peers.consensus(leader).lease().is_none());
}
