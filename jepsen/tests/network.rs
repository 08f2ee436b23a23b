//! The network of the hosts over either data plane: links do what they are told, and whoever is killed leaves nothing.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// None, and why, if this machine cannot have that data plane.
fn jepsen(plane: &str) -> Option<Command> {
    let is_installed = |program: &str| {
        let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
        folders
            .iter()
            .any(|it| Path::new(it).join(program).exists())
    };
    let has_plane = match plane {
        "switch" => Path::new("/dev/net/tun").exists(),
        _ => is_installed("nft") && is_installed("bridge"),
    };
    let is_root = rustix::process::getuid().is_root();
    if !is_root || !is_installed("ip") || !has_plane {
        eprintln!("skipped: a network over a {plane} needs root, ip, and /dev/net/tun or nft");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_jepsen"));
    command.args(["network", "--plane", plane]);
    Some(command)
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn namespaces_of(owner: &str) -> usize {
    let all = names("/run/netns");
    all.iter().filter(|name| name.starts_with(owner)).count()
}

fn links_do_what_they_are_told_and_nothing_is_left(plane: &str, namespaces: usize) {
    let Some(mut command) = jepsen(plane) else {
        return;
    };
    let before = names("/sys/class/net");
    let mut killed = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    let up = loop {
        let line = lines.next().unwrap().unwrap();
        if line.contains("hosts up in") {
            break line;
        }
    };
    let owner = up.split(':').next().unwrap();
    assert_eq!(namespaces_of(owner), namespaces);
    assert_eq!(
        names("/sys/class/net"),
        before,
        "in the machine's own namespace"
    );
    killed.kill().unwrap();
    killed.wait().unwrap();

    let whole = jepsen(plane).unwrap().output().unwrap();
    let printed = String::from_utf8_lossy(&whole.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&whole.stderr).into_owned();
    assert!(whole.status.success(), "{printed}{complaint}");
    assert!(printed.contains("links do what they are told"), "{printed}");
    let own = printed
        .lines()
        .find_map(|line| line.split_once(": three hosts up"))
        .unwrap()
        .0;
    for owner in [owner, own] {
        assert_eq!(namespaces_of(owner), 0);
        assert!(!std::env::temp_dir().join(owner).exists());
    }
}

#[test]
fn as_root_links_over_a_switch() {
    links_do_what_they_are_told_and_nothing_is_left("switch", 3);
}

#[test]
fn as_root_links_over_a_bridge() {
    links_do_what_they_are_told_and_nothing_is_left("bridge", 4);
}
