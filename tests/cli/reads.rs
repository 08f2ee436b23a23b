//! A peer that hangs delays nobody who can ask another.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use primacy::clock;
use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, listen, socket_with};
use rustix::net::{SocketFlags, sockopt::set_socket_reuseaddr};
use rustix::process::Signal;

use crate::fakes::{answer, hear, listeners, refuse};
use crate::rig::{Peers, WITHIN, run, until};

const LEADER: &str = r#"{"leader":1,"address":"somewhere:1","term":7,"answered_by":1}"#;

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let nothing_came = stream.peek(&mut [0]);
    nothing_came.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn the_next_peer_is_asked_while_the_first_still_is() {
    let (silent, second, api) = listeners();
    let peers = thread::spawn(move || {
        let silent = hear(&silent);
        let stream = hear(&second);
        let was_open = is_open(&silent);
        answer(stream, "200 OK", LEADER);
        // Held until the verb has its answer.
        (was_open, silent)
    });
    let (code, text, errors) = run(&["--api", &api, "leader"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(text, "peer 1 at somewhere:1 leads in term 7\n");
    let (was_open, _) = peers.join().unwrap();
    assert!(
        was_open,
        "the first was given up before the second was asked"
    );
}

#[test]
fn the_first_good_answer_counts_whoever_gives_it() {
    let (slow, second, api) = listeners();
    let (done, is_done) = sync_channel::<()>(1);
    let peers = thread::spawn(move || {
        let slow = hear(&slow);
        // One that says "not now" is no answer; and one that says nothing holds nobody up.
        answer(hear(&second), "503 Service Unavailable", "{}");
        answer(slow, "200 OK", LEADER);
        is_done.recv_timeout(WITHIN).unwrap();
    });
    let (code, text, errors) = run(&["--api", &api, "leader"]);
    done.send(()).unwrap();
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(text, "peer 1 at somewhere:1 leads in term 7\n");
    peers.join().unwrap();
}

#[test]
fn a_refusal_is_not_asked_for_twice() {
    let (first, second, api) = listeners();
    let peers = thread::spawn(move || {
        let problem = r#"{"type":"urn:primacy:problem:unknown-cluster","title":"Not Found","status":404,
            "detail":"there is no cluster nope","code":"unknown-cluster","hint":"GET /api","retryable":false}"#;
        answer(hear(&first), "404 Not Found", problem);
        second
    });
    let (code, _, errors) = run(&["--api", &api, "status", "nope"]);
    assert_eq!(code, Some(4));
    let expected = "error: there is no cluster nope (unknown-cluster)\nhint: primacy status lists the clusters\n";
    assert_eq!(errors, expected);
    let second = peers.join().unwrap();
    second.set_nonblocking(true).unwrap();
    assert!(second.accept().is_err(), "the second was asked too");
}

#[test]
fn a_peer_that_hangs_is_not_waited_for_long_once_another_has_said_not_now() {
    let (silent, second, api) = listeners();
    let peers = thread::spawn(move || {
        let silent = hear(&silent);
        refuse(hear(&second), 503, "no-leader");
        // Held until the verb has ended.
        silent
    });
    let began = clock::monotonic();
    let (code, _, errors) = run(&["--api", &api, "leader"]);
    let took = clock::monotonic().since(began);
    assert_eq!(code, Some(5));
    assert!(errors.starts_with("error: why (no-leader)\n"), "{errors}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    drop(peers.join().unwrap());
}

/// An address whose host drops what is sent to it: its queue of connections is full.
struct BlackHole {
    address: SocketAddr,
    _held: Vec<OwnedFd>,
}

impl BlackHole {
    fn new() -> BlackHole {
        let fresh = || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
        };
        let listener = fresh();
        set_socket_reuseaddr(&listener, true).unwrap();
        bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let client = fresh();
            let _ = connect(&client, &address);
            held.push(client);
        }
        BlackHole {
            address,
            _held: held,
        }
    }
}

#[test]
fn a_black_hole_is_passed_over() {
    let hole = BlackHole::new();
    let second = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("{},{}", hole.address, second.local_addr().unwrap());
    let peer = thread::spawn(move || answer(hear(&second), "200 OK", LEADER));
    let (code, _, errors) = run(&["--api", &api, "leader"]);
    assert_eq!(code, Some(0), "{errors}");
    peer.join().unwrap();

    let alone = hole.address.to_string();
    let (code, _, errors) = run(&["--api", &alone, "leader"]);
    assert_eq!(code, Some(5));
    let expected = format!("error: no peer answers: {alone} cannot be reached\n");
    assert!(errors.starts_with(&expected), "{errors}");
}

/// A follower passes a read on to a leader that hangs; once it is replaced, it asks the next one.
#[test]
fn a_leader_that_hangs_holds_up_no_read() {
    let peers = Peers::start(3);
    let leader = peers.any_leader();
    let follower = &peers.addresses[(leader + 1) % 3];
    peers.running[leader].signal(Signal::STOP);
    let mut text = String::new();
    until("it is answered", || {
        let told = run(&["--api", follower, "leader", "--output", "json"]);
        text = told.1;
        told.0 == Some(0)
    });
    peers.running[leader].signal(Signal::CONT);
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_ne!(answer["leader"], leader + 1, "{answer}");
}
