//! The members of a group, changed under constant proposals: nothing acknowledged is lost, nothing is applied twice, and
//! what would cost the group its quorum is refused.

mod clients;
mod company;
mod handover;

use std::time::Duration;

use company::{Company, Handle, soon};
use raft::{ChangeError, Progress};
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
    company.leader();
    let handles = company.handles();
    let (gone, answer) = company.wait(soon("it hands over", async || {
        let leads = |handle: &&Handle| handle.status().leader == Some(handle.id());
        let leader = handles.lock().unwrap().values().find(leads).cloned()?;
        match leader.remove(leader.id()).await {
            // It has only just been elected, or leads no more.
            Err(
                ChangeError::NoQuorum { .. }
                | ChangeError::Transfer(_)
                | ChangeError::NotLeader { .. },
            ) => None,
            other => Some((leader.id(), other)),
        }
    }));
    let Err(ChangeError::HandedOver { to }) = answer else {
        panic!("{answer:?}");
    };
    assert_ne!(to, gone);
    shrink(&company, gone);
    assert!(!company.voters().contains(&gone));
    let leader = company.consensus(company.leader());
    assert!(!leader.committed_members().contains_key(&gone));
}

/// Waits until the leader has not heard from `dead` for a while.
async fn is_silent(leader: &Handle, dead: u64) -> Result<(), ChangeError> {
    loop {
        match leader.progress().get(&dead) {
            None => return Err(ChangeError::NotLeader { leader: None }),
            Some(Progress { answered_ago, .. }) => {
                if answered_ago.is_none_or(|ago| ago > Duration::from_secs(1)) {
                    return Ok(());
                }
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn what_would_cost_the_quorum_is_refused_and_says_why() {
    let mut company = Company::start(3);
    let leader = company.leader();
    let dead = company.ids().into_iter().find(|id| *id != leader).unwrap();
    company.kill(dead);
    let ids = company.ids();
    // On a busy machine the two that are left may change their leader at any time.
    let other = |leader: &Handle| ids.iter().copied().find(|id| *id != leader.id()).unwrap();
    let refused = company.refused_by_leader(async |leader| {
        is_silent(&leader, dead).await?;
        leader.remove(other(&leader)).await
    });
    assert!(
        matches!(
            refused,
            Err(ChangeError::NoQuorum {
                voters: 2,
                needed: 2,
                answering: 0..=1
            })
        ),
        "{refused:?}"
    );
    // Nobody listens there.
    let added = company.at_leader(async |leader| leader.add_learner(9, "127.0.0.1:1").await);
    added.unwrap();
    let refused = company.refused_by_leader(async |leader| leader.promote(9).await);
    assert!(
        matches!(refused, Err(ChangeError::Silent { id: 9 })),
        "{refused:?}"
    );
    for id in ids.clone() {
        let refused = company.refused_by_leader(async |leader| leader.add_learner(id, "h:2").await);
        assert!(
            matches!(refused, Err(ChangeError::Exists { .. })),
            "{refused:?}"
        );
        let refused = company.refused_by_leader(async |leader| leader.promote(id).await);
        assert!(
            matches!(refused, Err(ChangeError::HasVote { .. })),
            "{refused:?}"
        );
    }
    let refused = company.refused_by_leader(async |leader| leader.promote(77).await);
    assert!(
        matches!(refused, Err(ChangeError::NoMember { id: 77 })),
        "{refused:?}"
    );
    let refused = company.refused_by_leader(async |leader| leader.remove(77).await);
    assert!(
        matches!(refused, Err(ChangeError::NoMember { id: 77 })),
        "{refused:?}"
    );

    // What is dead may go, and then the group is two; one of them may go, and the last stays.
    shrink(&company, 9);
    shrink(&company, dead);
    assert_eq!(company.voters().len(), 2);
    let left = company.at_leader(async |leader| leader.remove(other(&leader)).await);
    left.unwrap();
    let refused = company.refused_by_leader(async |leader| leader.remove(leader.id()).await);
    assert!(
        matches!(refused, Err(ChangeError::LastVoter { .. })),
        "{refused:?}"
    );
}

#[test]
fn of_two_changes_at_once_each_is_made_whole_or_refused() {
    let mut company = Company::start(3);
    let addresses: Vec<_> = (4..=9).map(|id| (id, company.newcomer(id))).collect();
    company.leader();
    let company = &company;
    std::thread::scope(|scope| {
        for (id, address) in addresses {
            scope.spawn(move || {
                loop {
                    match company.at_leader(async |leader| leader.add_learner(id, &address).await) {
                        // The answer to an earlier attempt may have been lost with a leader.
                        Ok(_) | Err(ChangeError::Exists { .. }) => return,
                        Err(ChangeError::Unknown) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let status = company.consensus(company.leader()).status();
    assert_eq!(status.members.len(), 9, "{:?}", status.members);
    assert_eq!(status.voters, [1, 2, 3]);
}

#[test]
fn a_learner_that_lags_gets_no_vote() {
    let mut company = Company::start(3);
    company.leader();
    let clients = company.clients(8);
    let address = company.newcomer(4);
    company
        .at_leader(async |leader| leader.add_learner(4, &address).await)
        .unwrap();
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
    let refused = company
        .refused_by_leader(async |leader| leader.promote(5).await)
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

#[test]
fn a_group_that_begins_with_one_peer_stays_alone() {
    let mut company = Company::start(1);
    let address = company.newcomer(2);
    let refused = company.at_leader(async |leader| leader.add_learner(2, &address).await);
    assert!(
        matches!(refused, Err(ChangeError::BornAlone)),
        "{refused:?}"
    );
}
