//! Peers that are killed, and whose disks fail.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use primacy::clock;
use rustix::process::Signal;

use crate::installation::ends;
use crate::rig::{Peers, Running, WITHIN, read, run, traced, until};

/// The status of one check, as a load balancer sees it; none if nobody answers.
fn status(address: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// What the checklist asks for: a kill, not a stop in order.
#[test]
fn a20_after_the_leader_is_killed_one_other_passes_the_leader_check() {
    let mut peers = Peers::start(3);
    for _ in 0..2 {
        let leader = peers.any_leader();
        let others: Vec<_> = (0..3).filter(|number| *number != leader).collect();
        let check = |number: usize| status(&peers.addresses[number], "/api/leader-check");
        until("the leader passes", || check(leader) == Some(200));
        for number in &others {
            assert_eq!(check(*number), Some(404));
            let address = &peers.addresses[*number];
            assert_eq!(status(address, "/api/leader-check/503"), Some(503));
        }
        peers.running[leader].signal(Signal::KILL);
        let killed = clock::monotonic();
        loop {
            let passed: Vec<_> = others.iter().map(|it| check(*it)).collect();
            let took = clock::monotonic().since(killed);
            match passed.iter().filter(|it| **it == Some(200)).count() {
                0 => assert!(took < Duration::from_secs(5), "{took:?} {passed:?}"),
                1 => break,
                _ => panic!("two pass: {passed:?}"),
            }
        }
        peers.running[leader].0.wait().unwrap();
        let log = fs::File::create(peers.log(leader)).unwrap();
        let child = peers.command(leader).stderr(log).spawn().unwrap();
        peers.running[leader] = Running(child);
        let address = peers.addresses[leader].clone();
        until("it is back", || {
            status(&address, "/api/raft-health") == Some(200)
        });
    }
}

/// The disk refuses one flush after the other, each time a later one: the peer says so and ends, and what it had
/// acknowledged is there when the disk is well again.
#[test]
fn a_peer_whose_disk_refuses_a_flush_says_so_and_ends() {
    for refused in [30, 45] {
        let mut peers = Peers::plan(1);
        let server = peers.command(0);
        let inject = format!("fdatasync,fsync:error=EIO:when={refused}+");
        let Some(mut command) = traced("fdatasync,fsync", &inject, &server) else {
            return;
        };
        let log = fs::File::create(peers.log(0)).unwrap();
        let mut running = Running(command.stderr(log).spawn().unwrap());
        let api = peers.api();
        let mut acknowledged = vec![];
        // Until it listens, each attempt is in vain.
        let began = clock::monotonic();
        for number in 0.. {
            if !running.lives() {
                break;
            }
            let waited = clock::monotonic().since(began);
            assert!(waited < 2 * WITHIN, "it lives; attempt {number}");
            let name = format!("t{number}");
            let create = ["--api", &api, "token", "create", &name, "--role", "viewer"];
            if run(&create).0 == Some(0) {
                acknowledged.push(name);
            }
        }
        assert_ne!(ends(&mut running), Some(0));
        let said = read(&peers.log(0));
        assert!(
            said.contains("the log cannot be flushed; what is on the disk is unknown"),
            "{said}"
        );
        assert!(said.contains("Input/output error"), "{said}");
        peers.spawn(0);
        let mut listed = String::new();
        until("it serves again", || {
            let (code, text, _) = run(&["--api", &api, "token", "list"]);
            listed = text;
            code == Some(0)
        });
        for name in &acknowledged {
            assert!(listed.contains(name.as_str()), "{name}:\n{listed}");
        }
    }
}
