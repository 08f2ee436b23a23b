//! The members of a group, changed under constant proposals: nothing acknowledged is lost, nothing is applied twice, and
//! what would cost the group its quorum is refused.

mod company;
mod handover;

use std::time::Duration;

use company::{Company, soon};
use raft::ChangeError;
use tokio::time::sleep;

/// A newcomer becomes a voter.
fn grow(company: &mut Company, id: u64) {
    let address = company.newcomer(id);
    company
        .at_leader(async |leader| leader.add_learner(id, &address).await)
        .unwrap();
    company
        .at_leader(async |leader| leader.promote(id).await)
        .unwrap();
}

fn shrink(company: &Company, id: u64) {
    company
        .at_leader(async |leader| leader.remove(id).await)
        .unwrap();
}

#[test]
fn three_peers_become_five_and_three_again_under_load() {
    let mut company = Company::start(3);
    company.leader();
    let clients = company.clients(4);
    grow(&mut company, 4);
    grow(&mut company, 5);
    assert_eq!(company.voters(), [1, 2, 3, 4, 5]);
    // Two of five may die.
    company.kill(2);
    company.kill(3);
    company.leader();
    shrink(&company, 2);
    shrink(&company, 3);
    assert_eq!(company.voters(), [1, 4, 5]);
    let told = clients.stop();
    assert!(!told.is_empty());
    company.all_hold(&told);
}

#[test]
fn a_dead_peer_is_replaced_under_load() {
    let mut company = Company::start(3);
    let dead = company.leader();
    let clients = company.clients(4);
    company.kill(dead);
    company.leader();
    grow(&mut company, 4);
    shrink(&company, dead);
    let voters = company.voters();
    assert!(voters.len() == 3 && voters.contains(&4), "{voters:?}");
    // The group is whole again: it bears another loss.
    let second = company.leader();
    company.kill(second);
    company.leader();
    let told = clients.stop();
    company.all_hold(&told);
}

#[test]
fn a_leader_that_is_to_go_hands_over_first() {
    let company = Company::start(3);
    let leader = company.leader();
    let refused = company.wait(soon("it hands over", async || {
        match company.consensus(leader).remove(leader).await {
            // It has only just been elected, and has not heard from the others.
            Err(ChangeError::NoQuorum { .. } | ChangeError::Transfer(_)) => None,
            other => Some(other),
        }
    }));
    let Err(ChangeError::HandedOver { to }) = refused else {
        panic!("{refused:?}");
    };
    assert_ne!(to, leader);
    shrink(&company, leader);
    assert!(!company.voters().contains(&leader));
    assert!(
        !company
            .consensus(to)
            .committed_members()
            .contains_key(&leader)
    );
}

#[test]
fn what_would_cost_the_quorum_is_refused_and_says_why() {
    let mut company = Company::start(3);
    let leader = company.leader();
    let others: Vec<_> = company
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    let (live, dead) = (others[0], others[1]);
    company.kill(dead);
    let consensus = company.consensus(leader);
    company.wait(soon("the dead one is silent", async || {
        let progress = consensus.progress();
        let silent = |id| {
            progress[id]
                .answered_ago
                .is_none_or(|ago| ago > Duration::from_secs(1))
        };
        silent(&dead).then_some(())
    }));
    let refused = company.wait(consensus.remove(live)).unwrap_err();
    assert!(
        matches!(
            refused,
            ChangeError::NoQuorum {
                voters: 2,
                needed: 2,
                answering: 1
            }
        ),
        "{refused}"
    );
    // Nobody listens there.
    company
        .wait(consensus.add_learner(9, "127.0.0.1:1"))
        .unwrap();
    let refused = company.wait(consensus.promote(9)).unwrap_err();
    assert!(
        matches!(refused, ChangeError::Silent { id: 9 }),
        "{refused}"
    );
    let refused = company
        .wait(consensus.add_learner(live, "127.0.0.1:2"))
        .unwrap_err();
    assert!(matches!(refused, ChangeError::Exists { .. }), "{refused}");
    for id in [live, leader] {
        let refused = company.wait(consensus.promote(id)).unwrap_err();
        assert!(matches!(refused, ChangeError::HasVote { .. }), "{refused}");
    }
    for refused in [
        company.wait(consensus.promote(77)),
        company.wait(consensus.remove(77)),
    ] {
        assert!(
            matches!(refused, Err(ChangeError::NoMember { id: 77 })),
            "{refused:?}"
        );
    }
    let refused = company
        .wait(company.consensus(live).remove(dead))
        .unwrap_err();
    assert!(
        matches!(refused, ChangeError::NotLeader { leader: known } if known == Some(leader)),
        "{refused}"
    );

    // What is dead may go, and then the group is two; of two none can be missed, and the last stays.
    company.wait(consensus.remove(9)).unwrap();
    shrink(&company, dead);
    assert_eq!(company.voters().len(), 2);
    shrink(&company, live);
    let refused = company
        .wait(company.consensus(leader).remove(leader))
        .unwrap_err();
    assert!(
        matches!(refused, ChangeError::LastVoter { .. }),
        "{refused}"
    );
}

#[test]
fn of_two_changes_at_once_each_is_made_whole_or_refused() {
    let mut company = Company::start(3);
    let addresses: Vec<_> = (4..=9).map(|id| (id, company.newcomer(id))).collect();
    let leader = company.leader();
    let consensus = company.consensus(leader);
    company.wait(async {
        let mut changes = tokio::task::JoinSet::new();
        for (id, address) in addresses {
            let consensus = consensus.clone();
            changes.spawn(async move {
                // Bounded by the deadline of the test.
                loop {
                    match consensus.add_learner(id, &address).await {
                        Ok(index) => return index,
                        Err(ChangeError::UnderWay) => sleep(Duration::from_millis(2)).await,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        changes.join_all().await
    });
    let status = consensus.status();
    assert_eq!(status.members.len(), 9, "{:?}", status.members);
    assert_eq!(status.voters, [1, 2, 3]);
}

#[test]
fn a_learner_that_lags_gets_no_vote() {
    let mut company = Company::start(3);
    let leader = company.leader();
    let consensus = company.consensus(leader);
    let clients = company.clients(8);
    let address = company.newcomer(4);
    company.wait(consensus.add_learner(4, &address)).unwrap();
    company
        .at_leader(async |leader| leader.promote(4).await)
        .unwrap();
    shrink(&company, 4);
    company.kill(4);
    // Dead from the start, it can never catch up; its silence or its lag is the reason.
    let address = company.newcomer(5);
    company.kill(5);
    company
        .at_leader(async |leader| leader.add_learner(5, &address).await)
        .unwrap();
    let leader = company.leader();
    let refused = company
        .wait(company.consensus(leader).promote(5))
        .unwrap_err();
    assert!(
        matches!(
            refused,
            ChangeError::Silent { id: 5 } | ChangeError::Behind { id: 5, .. }
        ),
        "{refused}"
    );
    let told = clients.stop();
    company.all_hold(&told);
}
