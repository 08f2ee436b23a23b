//! Readers that go away: a verb ends quietly, a peer goes on.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::process::Stdio;

use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_setpipe_size;

use crate::rig::{Peers, Running, program, run, told, until};

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let peers = Peers::start(1);
    let api = peers.api();
    for verb in [
        &["peers"][..],
        &["peers", "--output", "json"],
        &["status"],
        &["leader"],
        &["--help"],
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = program();
        command.args(["--api", &api]).args(verb).stdout(writer);
        let (code, _, errors) = told(command.output().unwrap());
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{verb:?}");
    }
    // A part is no whole: a full disk is a failure.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = program();
    command.args(["--api", &api, "peers"]).stdout(full);
    let (code, _, errors) = told(command.output().unwrap());
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.starts_with("error: cannot write the output: "));
}

#[test]
fn a_failure_that_nobody_reads_keeps_its_code() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = program();
    command.args(["--api", "127.0.0.1:1", "leader"]);
    let status = command.stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(5));
}

/// A group of one whose log goes into a pipe.
fn logging(peers: &mut Peers) -> BufReader<PipeReader> {
    let (reader, writer) = pipe().unwrap();
    let mut command = peers.command(0);
    command.env("RUST_LOG", "debug").stdout(Stdio::null());
    let peer = command.stderr(writer).spawn().unwrap();
    peers.running.push(Running(peer));
    let mut log = BufReader::new(reader);
    let mut line = String::new();
    while !line.contains("peer serves") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "its log ended");
    }
    log
}

/// It answers, and so do all tasks that log.
fn answers(peers: &mut Peers) {
    until("it leads", || peers.leader() == Some(0));
    for _ in 0..20 {
        let (code, _, errors) = run(&["--api", &peers.api(), "status"]);
        assert_eq!(code, Some(0), "{errors}");
    }
    assert!(peers.running[0].lives());
}

#[test]
fn a_peer_whose_log_is_closed_goes_on() {
    let mut peers = Peers::plan(1);
    drop(logging(&mut peers));
    answers(&mut peers);
}

#[test]
fn a_peer_whose_log_is_not_read_goes_on() {
    let mut peers = Peers::plan(1);
    let log = logging(&mut peers);
    // The least that the kernel gives: one page.
    let size = fcntl_setpipe_size(log.get_ref(), 4096).unwrap_or(65_536) as u64;
    until("the pipe is as good as full", || {
        run(&["--api", &peers.api(), "leader"]);
        ioctl_fionread(log.get_ref()).unwrap() > size - 1024
    });
    answers(&mut peers);
}
