//! While nobody leads: a change waits for the election, and the status says what is left. And addresses where no peer
//! is.

use std::net::TcpListener;
use std::thread;

use crate::fakes::{answer_as_stranger, hear, listeners, refuse};
use crate::rig::{Peers, Running, run, until};

const CREATE: &[&str] = &[
    "cluster",
    "create",
    "main",
    "--durability",
    "async",
    "--member",
    "a=127.0.0.1:5432/8008@z1",
];

fn create(api: &str) -> (Option<i32>, String, String) {
    run(&[&["--api", api][..], CREATE].concat())
}

#[test]
fn a_change_that_was_not_proposed_goes_to_the_next_peer() {
    let peers = Peers::start(1);
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("{},{}", first.local_addr().unwrap(), peers.api());
    let fake = thread::spawn(move || refuse(hear(&first), 503, "no-leader"));
    let (code, text, errors) = create(&api);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(text, "main created, epoch 1\n");
    fake.join().unwrap();
}

#[test]
fn a_change_is_tried_again_while_nobody_leads() {
    let alone = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = alone.local_addr().unwrap().to_string();
    let fake = thread::spawn(move || {
        refuse(hear(&alone), 503, "no-leader");
        refuse(hear(&alone), 409, "exists");
    });
    let (code, _, errors) = create(&api);
    assert_eq!((code, errors.as_str()), (Some(7), "error: why (exists)\n"));
    fake.join().unwrap();
}

#[test]
fn a_change_whose_outcome_is_unknown_is_not_sent_twice() {
    let (first, second, api) = listeners();
    let fake = thread::spawn(move || {
        refuse(hear(&first), 503, "outcome-unknown");
        (first, second)
    });
    let (code, _, errors) = create(&api);
    assert_eq!(code, Some(5));
    assert!(errors.starts_with("error: why (outcome-unknown)\n"));
    let (first, second) = fake.join().unwrap();
    for listener in [first, second] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "it was sent again");
    }
}

#[test]
fn a_peer_without_a_majority_says_what_it_last_saw() {
    let mut peers = Peers::start(3);
    // The leader itself: without the others it can confirm nothing.
    let alone = peers.any_leader();
    let gone: Vec<_> = (0..3).filter(|number| *number != alone).collect();
    for number in &gone {
        let Running(child) = &mut peers.running[*number];
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let api = peers.api();
    let (code, text, errors) = run(&["--api", &api, "status"]);
    let [(one, first), (two, second)] =
        [gone[0], gone[1]].map(|number| (number + 1, &peers.addresses[number]));
    let expected = format!(
        "\
WARN  stale, from peer {}; 1 of 3 peers answer, a majority is missing: no failover, and the primary stops when its lease ends
no clusters yet: primacy cluster create --help tells of those with agents; primacy cluster adopt HOST takes one without
peers 1/3 (no leader)
WARN  peer {one} at {first} does not answer
WARN  peer {two} at {second} does not answer
",
        alone + 1
    );
    assert_eq!((code, text), (Some(5), expected));
    let error = "error: this peer knows of no leader: a majority of the peers cannot be reached (no-leader)\n";
    assert!(errors.starts_with(error), "{errors}");

    let (code, text, errors) = run(&["--api", &api, "status", "--output", "json"]);
    assert_eq!((code, text.as_str()), (Some(5), "[]\n"));
    assert!(errors.starts_with(error), "{errors}");
    // Nobody is invented.
    let (code, text, _) = run(&["--api", &api, "status", "main"]);
    assert_eq!((code, text.as_str()), (Some(5), ""));

    let (code, _, errors) = create(&api);
    assert_eq!(code, Some(5));
    assert!(errors.starts_with(error), "{errors}");
}

#[test]
fn another_server_is_passed_over() {
    let peers = Peers::start(1);
    for status in ["404 Not Found", "200 OK"] {
        for verb in [&["leader"][..], CREATE] {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let api = format!("{},{}", first.local_addr().unwrap(), peers.api());
            let fake = thread::spawn(move || answer_as_stranger(hear(&first), status));
            let (code, _, errors) = run(&[&["--api", &api][..], verb].concat());
            assert!(matches!(code, Some(0 | 7)), "{errors}");
            fake.join().unwrap();
        }
    }
}

#[test]
fn every_address_that_was_tried_is_named() {
    for verb in [&["leader"][..], &["status"], CREATE] {
        let (first, second, _) = listeners();
        let (stranger, closed) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        drop(second);
        let fake = thread::spawn(move || {
            answer_as_stranger(hear(&first), "404 Not Found");
            first
        });
        let api = format!("{stranger},{closed}");
        let (code, text, errors) = run(&[&["--api", &api][..], verb].concat());
        assert_eq!((code, text.as_str()), (Some(5), ""), "{verb:?}");
        let expected = format!(
            "error: no peer answers: {stranger} is no peer of Primacy (it says 404), {closed} cannot be reached\n"
        );
        assert!(errors.starts_with(&expected), "{errors}");
        drop(fake.join().unwrap());
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for bad in ["nonsense", "127.0.0.1", "127.0.0.1:99999"] {
        let (code, _, errors) = run(&["--api", bad, "leader"]);
        assert_eq!(code, Some(2));
        let expected = format!(
            "error: --api or PRIMACY_API: {bad} is not host:port\n\
             hint: write for example 10.0.0.1:7001,10.0.0.2:7001\n"
        );
        assert_eq!(errors, expected);
    }
}

#[test]
fn the_help_ends_with_the_exit_codes() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    assert_eq!(codes.lines().count(), 9, "{codes}");
}

#[test]
fn a_peer_of_a_group_that_was_never_up_says_whom_it_waits_for() {
    let mut peers = Peers::plan(3);
    let alone = peers.command(1).stderr(std::process::Stdio::null()).spawn();
    peers.running.push(Running(alone.unwrap()));
    let api = peers.api();
    let why = "error: peer 2 does not take part yet: waiting for peer 1, 3 to answer";
    until("it says so", || {
        let (code, _, errors) = run(&["--api", &api, "status"]);
        code == Some(5) && errors.starts_with(why)
    });
    let (code, text, _) = run(&["--api", &api, "peers"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("starting"), "{text}");
}
