//! What a stopped peer knows, saved into a file and shown.

use std::fs;

use crate::installation::Installation;
use crate::rig::{Peers, free_address, program, run, told, traced, until};

#[test]
fn a_stopped_peer_is_saved_and_a_damaged_file_is_told() {
    let mut peers = Peers::start(1);
    let create = "cluster create main --durability async --member a=127.0.0.1:5432/8008@z1";
    let api = peers.api();
    let words: Vec<&str> = ["--api", &api]
        .into_iter()
        .chain(create.split(' '))
        .collect();
    assert_eq!(run(&words).0, Some(0));
    let folder = peers.folder.path().join("peer1").display().to_string();
    let file = peers.folder.path().join("saved").display().to_string();
    let save = ["peers", "snapshot", "save", &file, "--folder", &folder];
    let verify = ["peers", "snapshot", "verify", &file];

    let (code, _, errors) = run(&save);
    assert_eq!(code, Some(7), "{errors}");
    assert!(
        errors.contains("in use by another peer\nhint: stop this peer"),
        "{errors}"
    );
    assert_eq!(run(&verify).0, Some(4));

    peers.running.clear();
    let (code, saved, errors) = run(&save);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(
        saved.contains("peer 1 of group 00000000-0000-0000-0000-00000000000a knew all"),
        "{saved}"
    );
    assert!(
        saved.ends_with("cluster main: epoch 1, no primary\n"),
        "{saved}"
    );
    let (code, shown, _) = run(&verify);
    assert_eq!(code, Some(0));
    assert!(saved.ends_with(&shown), "{shown}");
    assert_eq!(run(&save).0, Some(7));
    let (code, json, _) = run(&[&verify[..], &["-o", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, Some(0));
    let cluster = serde_json::json!([{"name": "main", "epoch": 1, "primary": null}]);
    assert_eq!((&json["peer"], &json["clusters"]), (&1.into(), &cluster));
    assert!(
        json["index"].is_u64() && json["members"]["1"].is_string(),
        "{json}"
    );

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, _, errors) = run(&verify);
    assert_eq!(code, Some(3));
    assert!(
        errors.contains("damaged or no saved state: record fails its checksum"),
        "{errors}"
    );
}

/// The one that survives has joined with a token itself, so its configuration does not say who it is.
#[test]
fn a_group_begins_anew_and_takes_newcomers() {
    let mut group = Installation::start();
    let create = "cluster create main --durability async --member a=127.0.0.1:5432/8008@z1";
    let create: Vec<&str> = create.split(' ').collect();
    until("it is created", || group.run(&create).0 == Some(0));
    // A majority may have done without it so far.
    until("all peers have it", || {
        let listed = group.json(&["peers"]).unwrap_or_default();
        let listed = listed.as_array().into_iter().flatten();
        let applied: Vec<_> = listed.map(|peer| peer["applied_index"].as_u64()).collect();
        applied.len() == 3 && applied.iter().all(|it| *it == applied[0] && *it >= Some(2))
    });
    let config = group.path("p2.toml").display().to_string();
    let restore = ["peers", "snapshot", "restore", "--config", &config];
    let forced = [&restore[..], &["--force-new-cluster"]].concat();
    let (code, _, errors) = run(&forced);
    assert_eq!(code, Some(7), "{errors}");
    assert!(errors.contains("stop this peer"), "{errors}");
    let (code, _, errors) = run(&restore);
    assert_eq!(code, Some(2));
    assert!(errors.contains("<FILE>"), "{errors}");

    group.running.clear();
    let folder = group.path("p2").display().to_string();
    let file = group.path("saved").display().to_string();
    let save = ["peers", "snapshot", "save", &file, "--folder", &folder];
    assert_eq!(run(&save).0, Some(0));
    let (code, _, errors) = run(&[&restore[..], &[&file]].concat());
    assert_eq!(code, Some(7));
    assert!(errors.contains("holds a peer already"), "{errors}");

    let (code, said, errors) = run(&forced);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for sentence in [
        "cluster main is left out: its first data was still being created",
        "the files of before are in ",
        "the group begins anew with peer 2 alone; start it: primacy server --config ",
    ] {
        assert!(said.contains(sentence), "{said}");
    }
    let survivor = group.spawn("p2");
    // The certificates of the others are those of peers that there are no more.
    let owner = |verb: &[&str]| {
        let mut command = group.verb_with(&group.path("p2/tls"));
        command.env("PRIMACY_API", &group.addresses[1]);
        told(command.args(verb).output().unwrap())
    };
    until("it leads", || owner(&["leader"]).0 == Some(0));
    let address = free_address();
    let (code, token, errors) = owner(&["peers", "add", &address]);
    assert_eq!(code, Some(0), "{errors}");
    group.configure("fourth", &address, Some(token.trim()));
    let fourth = group.spawn("fourth");
    // Far above those that may have been given since.
    let number = "1001";
    until("it has a vote", || {
        owner(&["peers", "promote", number]).0 == Some(0)
    });
    // One that was given up comes back, and takes no part.
    let first = group.spawn("p1");
    until("it has started", || group.log("p1").contains("peer serves"));
    let told_by_p1 = |verb: &[&str]| {
        let mut command = group.verb();
        command.env("PRIMACY_API", &group.addresses[0]);
        told(command.args(verb).output().unwrap())
    };
    // While it still takes the survivor for its leader it passes the question on, and is told.
    let (code, _, errors) = told_by_p1(&["leader"]);
    let is_told = code == Some(3) && errors.contains("peer 1 was removed");
    assert!(code == Some(5) || is_told, "{code:?} {errors}");
    let listed = owner(&["peers", "--output", "json"]).1;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let ids: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, [2, 1001]);
    drop((survivor, first, fourth));
}

/// What changes a folder, or makes a change last.
const CHANGES: &str = "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync";

/// Killed at one system call after the other, until it is not any more: what is left is never taken for a peer, and the
/// next attempt ends what was begun.
#[test]
fn a_restore_that_is_killed_at_any_step_is_finished_by_the_next() {
    let mut peers = Peers::start(1);
    peers.running.clear();
    // Its entries stand above all that the old group may have written.
    let begun = "knew all up to entry 42949";
    let path = |name: &str| peers.folder.path().join(name).display().to_string();
    let (folder, file, config) = (path("peer1"), path("saved"), path("server1.toml"));
    let save = |file: &str| run(&["peers", "snapshot", "save", file, "--folder", &folder]);
    assert_eq!(save(&file).0, Some(0));
    let restore = ["peers", "snapshot", "restore", &file, "--config", &config];
    for step in 1.. {
        assert!(step < 2_000, "it has no end");
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        let inject = format!("{CHANGES}:signal=KILL:when={step}");
        let mut command = program();
        command.args(restore);
        let Some(mut command) = traced(CHANGES, &inject, &command) else {
            return;
        };
        let was_killed = !command.output().unwrap().status.success();
        let is_whole = match save(&path(&format!("after-{step}"))) {
            (Some(0), said, _) => {
                assert!(said.contains(begun), "{said}");
                true
            }
            _ => false,
        };
        let (code, _, errors) = run(&restore);
        match is_whole {
            false => assert_eq!(code, Some(0), "step {step}: {errors}"),
            true => assert!(errors.contains("holds a peer already"), "{errors}"),
        }
        let (_, said, errors) = save(&path(&format!("finished-{step}")));
        assert!(said.contains(begun), "{said}{errors}");
        if !was_killed {
            break;
        }
    }
}
