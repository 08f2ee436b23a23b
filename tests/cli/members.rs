//! Who belongs to a group of real peers: a newcomer joins with a token, takes the place of another, and who was removed
//! says so. And a rolling restart that no change notices.

use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use primacy::clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::rig::{Peers, Running, program, run, until};

fn json(api: &str, verb: &[&str]) -> Option<Value> {
    let arguments = [&["--api", api][..], verb, &["--output", "json"]].concat();
    let (code, text, _) = run(&arguments);
    (code == Some(0)).then(|| serde_json::from_str(&text).unwrap())
}

/// The newcomer at `address`, with or without its token; its log goes to the file `log`.
fn newcomer(peers: &Peers, name: &str, address: &str, token: Option<&str>) -> Running {
    let folder = peers.folder.path();
    let join = token.map_or(String::new(), |token| format!("join = \"{token}\"\n"));
    let text = format!(
        "zone = \"z4\"\nfolder = \"{}\"\nlisten = \"{address}\"\n{join}",
        folder.join(name).display()
    );
    let config = folder.join(format!("{name}.toml"));
    fs::write(&config, text).unwrap();
    let log = fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut command = program();
    command.arg("server").arg("--config").arg(config);
    Running(command.stderr(log).stdout(Stdio::null()).spawn().unwrap())
}

fn log(peers: &Peers, name: &str) -> String {
    fs::read_to_string(peers.folder.path().join(format!("{name}.log"))).unwrap()
}

fn free_address() -> String {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    held.local_addr().unwrap().to_string()
}

fn ends(process: &mut Running) -> Option<i32> {
    let mut code = None;
    until("it ends", || {
        code = process.0.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    });
    code.unwrap()
}

#[test]
fn a_newcomer_joins_by_a_token_and_replaces_a_peer() {
    let mut peers = Peers::start(3);
    let address = free_address();
    let mut token = String::new();
    until("it is invited", || {
        let (code, text, errors) = run(&["--api", &peers.api(), "peers", "add", &address]);
        token = text.trim().to_owned();
        code == Some(0) && errors.starts_with("peer 4 at ")
    });
    assert!(token.starts_with("primacy-join-1:"), "{token}");

    let mut fourth = newcomer(&peers, "fourth", &address, Some(&token));
    let api = format!("{},{address}", peers.api());
    let fourth_of = || {
        let listed = json(&api, &["peers"])?;
        let mut listed = listed.as_array()?.iter().cloned();
        listed.find(|peer| peer["id"] == 4)
    };
    until("it is a learner", || {
        fourth_of().is_some_and(|peer| peer["role"] == "learner" && peer["vote"] == false)
    });
    // The token serves one folder.
    let mut second = newcomer(&peers, "second", &free_address(), Some(&token));
    assert_eq!(ends(&mut second), Some(2), "{}", log(&peers, "second"));
    let told = log(&peers, "second");
    assert!(
        told.contains("the invitation was used by another one"),
        "{told}"
    );

    until("it has a vote", || {
        run(&["--api", &api, "peers", "promote", "4"]).0 == Some(0)
    });
    // Restarted without its token, it knows its place.
    fourth.signal(Signal::TERM);
    assert_eq!(ends(&mut fourth), Some(0), "{}", log(&peers, "fourth"));
    let mut fourth = newcomer(&peers, "fourth", &address, None);
    until("it is back", || {
        fourth_of().is_some_and(|peer| peer["reachable"] == true && peer["vote"] == true)
    });

    // The leader goes: it hands over, is removed, and says so at its end.
    let leader = peers.any_leader();
    let number = (leader + 1).to_string();
    until("it is removed", || {
        run(&["--api", &api, "peers", "remove", &number]).0 == Some(0)
    });
    let (code, _, errors) = run(&["--api", &api, "peers", "promote", &number]);
    assert_eq!(code, Some(4), "{errors}");
    let mut removed = peers.running.remove(leader);
    assert_eq!(ends(&mut removed), Some(1));
    let told = fs::read_to_string(peers.log(leader)).unwrap();
    let said = format!("peer {number} was removed from its group");
    assert!(told.contains(&said), "{told}");

    // Three are left, and one of them may die: the newcomer counts.
    let listed = json(&api, &["peers"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    peers.running.remove(0);
    let left: Vec<_> = (0..3).filter(|place| *place != leader).collect();
    let last = &peers.addresses[left[1]];
    let api = format!("{last},{address}");
    until("a majority with the newcomer leads", || {
        json(&api, &["leader"]).is_some()
    });
    assert!(fourth.lives());
}

/// Creates clusters through one peer after the other and gives the longest time that one took, in milliseconds.
fn create(api: &[String], client: usize, stop: &AtomicBool) -> (u64, usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let calls = primacy::server::calls::Calls::default();
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
fn in_a_rolling_restart_no_change_fails() {
    let rounds = std::env::var("ROLLING_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut peers = Peers::start(3);
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
        eprintln!(
            "{made} changes in {rounds} rounds; longest wait of each client and its count: {told:?}"
        );
        let api = peers.api();
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
