//! What a stopped peer knows, saved into a file and shown.

use std::fs;

use crate::rig::{Peers, run};

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
