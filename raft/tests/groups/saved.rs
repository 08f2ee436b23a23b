//! What a stopped peer knows is saved whole, from a folder that would start, and checked when it is read.

use std::fs;

use crate::peers::{GROUP, Numbers, Peers};
use raft::{SavedError, StartError, read_saved, save};

#[test]
fn a_stopped_peer_is_saved_down_to_its_last_entry() {
    let mut peers = Peers::start_with(3, |config| {
        config.snapshot_every = 20;
        config.keep_before_snapshot = 5;
    });
    let last = (0..70).map(|number| peers.add(number)).last().unwrap();
    peers.all_have((0..70).collect());
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("saved");
    let folder = peers.config(2).folder;

    let running = peers
        .wait(save(&folder, Numbers::default(), &file))
        .unwrap_err();
    assert!(
        matches!(running, SavedError::Folder(StartError::InUse)),
        "{running:?}"
    );
    let empty = peers
        .wait(save(place.path(), Numbers::default(), &file))
        .unwrap_err();
    assert!(
        matches!(empty, SavedError::Folder(StartError::Identity(_))),
        "{empty:?}"
    );

    peers.shutdown(2);
    let saved = peers
        .wait(save(&folder, Numbers::default(), &file))
        .unwrap();
    assert_eq!((saved.group, saved.peer), (GROUP, 2));
    assert!(saved.applied.unwrap().0 >= last.index);
    assert_eq!(saved.members, peers.config(2).members);
    assert_eq!(saved.state.0, (0..70).collect::<Vec<_>>());
    let read = read_saved::<Numbers>(&file).unwrap();
    assert_eq!((read.applied, read.state.0), (saved.applied, saved.state.0));
    let again = peers
        .wait(save(&folder, Numbers::default(), &file))
        .unwrap_err();
    assert!(matches!(again, SavedError::File(_)), "{again:?}");

    // The peer has not noticed.
    peers.restart(2);
    peers.add(70);
    peers.all_have((0..=70).collect());

    let bytes = fs::read(&file).unwrap();
    for byte in (0..bytes.len()).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(&file, flipped).unwrap();
        let error = read_saved::<Numbers>(&file).unwrap_err();
        assert!(matches!(error, SavedError::Damaged(_)), "{error:?}");
    }
}
