//! Graceful leadership and proposals that take effect once.

use std::{sync::Arc, time::Duration};

use raft::Timing;
use tokio::task::JoinSet;

use super::{
    clients::{Amid, propose},
    company::Company,
};

/// Elections that no busy machine takes for a hand-over, or the other way round: one takes some 20 ms; without it nobody
/// votes before `election_max` has passed in silence, and nobody stands before `election_min` more.
const TIMING: Timing = Timing {
    election_min: Duration::from_secs(8),
    election_max: Duration::from_secs(10),
    quorum_loss_probe: Duration::from_secs(25),
    ..Timing::lan()
};

/// How many rounds over all peers; the longest waits are printed.
fn rounds() -> usize {
    let asked = std::env::var("ROLLING_ROUNDS").ok();
    asked.map_or(2, |rounds| rounds.parse().unwrap())
}

#[test]
fn in_a_rolling_restart_no_proposal_fails() {
    let mut company = Company::start_with(3, |config| config.timing = TIMING);
    // Born at once by all three, the group may change its first leader without a hand-over; no more once all have
    // applied.
    let first = 6_000_000;
    company.wait(propose(&company.handles(), 6, first, Amid::Deaths));
    company.all_hold(&[first]);
    // What is taken within this time no election has decided.
    let clients = company.clients_amid(6, Amid::HandOvers(TIMING.election_max));
    company.pause(Duration::from_millis(500));
    clients.longest_wait();
    let mut waits = vec![];
    for _ in 0..rounds() {
        for id in company.ids() {
            let led = company.leader() == id;
            company.stop(id);
            company.run(id);
            company.leader();
            company.pause(Duration::from_millis(300));
            waits.push((clients.longest_wait(), led));
        }
    }
    let told = clients.stop();
    company.all_hold(&told);
    assert!(waits.iter().any(|(_, led)| *led), "no leader was restarted");
    let longest = waits.iter().max();
    eprintln!(
        "{} proposals, longest wait {longest:?} ms; each restart (ms, of the leader): {waits:?}",
        told.len()
    );
}

/// The leader is killed amid proposals, again and again. All whose outcome was unknown are proposed again.
#[test]
fn what_is_proposed_again_after_a_crash_takes_effect_once() {
    let mut company = Company::start(3);
    company.leader();
    let handles = company.handles();
    let mut told = vec![];
    for round in 0..4_u64 {
        let leader = company.leader();
        let mut proposals = JoinSet::new();
        let runtime = Arc::new(tokio::runtime::Runtime::new().unwrap());
        for n in 0..200 {
            let (handles, number) = (handles.clone(), round * 1000 + n);
            told.push(number);
            proposals.spawn_on(
                async move { propose(&handles, round, number, Amid::Deaths).await },
                runtime.handle(),
            );
        }
        std::thread::sleep(Duration::from_millis(3 + 4 * round));
        company.kill(leader);
        company.wait(proposals.join_all());
        company.run(leader);
    }
    company.all_hold(&told);
    let leader = company.consensus(company.leader());
    assert_eq!(leader.read(|state| state.0.len()), told.len());
}
