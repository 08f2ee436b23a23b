//! Who belongs to a group of real peers: a newcomer joins with a token, takes the place of another, and who was removed
//! says so. And a rolling restart that no change notices.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use primacy::clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Installation, ends};
use crate::rig::{Peers, Running, free_address, read, run, told, until};

fn json(api: &str, verb: &[&str]) -> Option<Value> {
    let arguments = [&["--api", api][..], verb, &["--output", "json"]].concat();
    let (code, text, _) = run(&arguments);
    (code == Some(0)).then(|| serde_json::from_str(&text).unwrap())
}

#[test]
fn a_newcomer_joins_by_a_token_and_replaces_a_peer() {
    let mut group = Installation::start();
    let address = free_address();
    let mut token = String::new();
    until("it is invited", || {
        let (code, text, errors) = group.run(&["peers", "add", &address]);
        token = text.trim().to_owned();
        code == Some(0) && errors.starts_with("peer 4 at ")
    });
    assert!(token.starts_with("primacy-join-1."), "{token}");

    group.configure("fourth", &address, Some(&token));
    let mut fourth = group.spawn("fourth");
    let fourth_of = |group: &Installation| {
        let listed = group.json(&["peers"])?;
        let mut listed = listed.as_array()?.iter().cloned();
        listed.find(|peer| peer["id"] == 4)
    };
    until("it is a learner", || {
        fourth_of(&group).is_some_and(|peer| peer["role"] == "learner" && peer["vote"] == false)
    });
    // The token serves one folder.
    group.configure("second", &free_address(), Some(&token));
    let mut second = group.spawn("second");
    assert_eq!(ends(&mut second), Some(2), "{}", group.log("second"));
    let told = group.log("second");
    assert!(
        told.contains("the invitation was used by another one"),
        "{told}"
    );

    until("it has a vote", || {
        group.run(&["peers", "promote", "4"]).0 == Some(0)
    });
    // Restarted without its token, it knows its place.
    fourth.signal(Signal::TERM);
    assert_eq!(ends(&mut fourth), Some(0), "{}", group.log("fourth"));
    group.configure("fourth", &address, None);
    let mut fourth = group.spawn("fourth");
    until("it is back", || {
        fourth_of(&group).is_some_and(|peer| peer["reachable"] == true && peer["vote"] == true)
    });

    // The leader goes: it hands over, is removed, and says so at its end.
    let leader = group.leader();
    let place = usize::try_from(leader - 1).unwrap();
    let number = leader.to_string();
    group.addresses.push(address);
    until("it is removed", || {
        group.run(&["peers", "remove", &number]).0 == Some(0)
    });
    // The first peer's certificate is what the test shows: if that one went, so did its rights.
    let tls = group.path("fourth/tls");
    let promote = ["peers", "promote", &number];
    let (code, _, errors) = told_by(group.verb_with(&tls).args(promote));
    assert_eq!(code, Some(4), "{errors}");
    let gone = group.path(&format!("p{number}/tls"));
    let (code, _, errors) = told_by(group.verb_with(&gone).arg("leader"));
    assert_eq!(code, Some(3), "{errors}");
    let mut removed = group.running.remove(place);
    assert_eq!(ends(&mut removed), Some(3));
    let told = group.log(&format!("p{number}"));
    let said = format!("peer {number} was removed from its group");
    assert!(told.contains(&said), "{told}");

    // Three are left, and one of them may die: the newcomer counts.
    let list = ["peers", "--output", "json"];
    let (_, text, _) = told_by(group.verb_with(&tls).args(list));
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    group.running.remove(0);
    until("a majority with the newcomer leads", || {
        told_by(group.verb_with(&tls).arg("leader")).0 == Some(0)
    });
    assert!(fourth.lives());
}

fn told_by(command: &mut std::process::Command) -> (Option<i32>, String, String) {
    told(command.output().unwrap())
}

/// Creates clusters through one peer after the other and gives the longest time that one took, in milliseconds.
fn create(api: &[String], client: usize, stop: &AtomicBool) -> (u64, usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let calls = primacy::server::calls::Calls::over(primacy::security::Wire::Plain);
    let (mut longest, mut count) = (0, 0);
    while !stop.load(Relaxed) {
        let name = format!("c{client}-{count}");
        let body = format!(
            r#"{{"name":"{name}","durability":"async","first":"a","members":{{"a":{{"host":"{name}","port":1,"health_port":2,"zone":"z"}}}}}}"#
        );
        let began = clock::monotonic();
        for attempt in 0.. {
            // A peer that is being restarted does not listen: any other will do.
            let address = &api[(client + count + attempt) % api.len()];
            let request = hyper::Request::post("/api/v1/clusters")
                .header("idempotency-key", &name)
                .body(http_body_util::Full::from(body.clone()))
                .unwrap();
            let told = runtime.block_on(calls.send(address, request, crate::rig::WITHIN));
            match told {
                Ok(response) if response.status() == 201 => break,
                Ok(response) => panic!("{name}: {} {:?}", response.status(), response.body()),
                Err(_) => assert!(attempt < 100, "{name}: nobody answers"),
            }
        }
        longest = longest.max(u64::try_from(clock::monotonic().since(began).as_millis()).unwrap());
        count += 1;
        thread::sleep(std::time::Duration::from_millis(20));
    }
    (longest, count)
}

#[test]
fn in_a_rolling_restart_no_change_fails_or_waits_for_an_election() {
    let rounds = std::env::var("ROLLING_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    // Where a busy machine changes no leader: who leads changes by a handover alone.
    let mut peers = Peers::plan(3);
    peers.network = "wan";
    let mut peers = peers.started();
    let api = peers.api();
    let term = || json(&api, &["leader"]).unwrap()["term"].as_u64().unwrap();
    let (before, mut handed_over) = (term(), 0);
    let stop = AtomicBool::new(false);
    let addresses = peers.addresses.clone();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (addresses, stop) = (&addresses, &stop);
                scope.spawn(move || create(addresses, client, stop))
            })
            .collect();
        // A failed assertion ends the clients too.
        let stopped = scopeguard(&stop);
        for round in 0..rounds {
            for place in 0..3 {
                let running = &mut peers.running[place];
                running.signal(Signal::TERM);
                assert_eq!(ends(running), Some(0), "round {round}");
                let said = read(&peers.log(place));
                assert!(!said.contains("leadership is not handed over"), "{said}");
                handed_over += u64::from(said.contains("leadership is handed over"));
                let log = fs::File::create(peers.log(place)).unwrap();
                let mut command = peers.command(place);
                peers.running[place] = Running(command.stderr(log).spawn().unwrap());
                let api = peers.addresses[place].clone();
                until("it is back", || json(&api, &["leader"]).is_some());
            }
        }
        drop(stopped);
        let told: Vec<_> = clients.into_iter().map(|it| it.join().unwrap()).collect();
        let made: usize = told.iter().map(|(_, count)| count).sum();
        let longest = told.iter().map(|(longest, _)| *longest).max().unwrap();
        eprintln!(
            "{made} changes in {rounds} rounds; longest wait of each client and its count: {told:?}"
        );
        eprintln!("{handed_over} handovers; longest wait of all {longest} ms");
        assert!(handed_over > 0, "no leader was restarted");
        assert_eq!(term() - before, handed_over, "there was an election");
        let mut listed = 0;
        until("all clusters are listed", || {
            let clusters = json(&api, &["status"]);
            listed = clusters
                .and_then(|it| Some(it.as_array()?.len()))
                .unwrap_or(0);
            listed > 0
        });
        assert_eq!(listed, made);
    });
}

/// Stops the clients when it goes.
fn scopeguard(stop: &AtomicBool) -> impl Drop + '_ {
    struct Guard<'a>(&'a AtomicBool);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    Guard(stop)
}
