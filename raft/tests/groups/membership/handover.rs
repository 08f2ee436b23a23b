//! Graceful leadership and proposals that take effect once.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{clients::propose, company::Company};

/// How many rounds over all peers; the figure of the longest wait is printed, not asserted.
fn rounds() -> usize {
    let asked = std::env::var("ROLLING_ROUNDS").ok();
    asked.map_or(2, |rounds| rounds.parse().unwrap())
}

#[test]
fn in_a_rolling_restart_no_proposal_fails() {
    let mut company = Company::start(3);
    company.leader();
    let clients = company.clients(6);
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
                async move { propose(&handles, round, number).await },
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
