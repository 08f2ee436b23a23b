//! What a stopped peer knows is saved whole, from a folder that would start, and checked when it is read.

use std::fs;

use crate::peers::{Command, GROUP, Numbers, Peers, is_soon};
use raft::{GroupId, Restored, SavedError, StartError, read_saved, save};

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

/// The others come back, are a majority of the old group, and go on as that.
#[test]
fn a_group_that_begins_anew_and_the_old_one_keep_apart() {
    let mut peers = Peers::start(3);
    for number in 0..5 {
        peers.add(number);
    }
    peers.all_have((0..5).collect());
    for id in 1..=3 {
        peers.shutdown(id);
    }
    let config = peers.config(1);
    let restored = |folder| Restored {
        group: GROUP,
        folder,
        id: 1,
        address: &config.members[&1],
    };
    let change = |state: &mut Numbers| state.0.push(99);
    let one = restored(&config.folder);
    let begun = one.from_own_folder(Numbers::default(), change);
    let (saved, before) = peers.wait(begun).unwrap();
    assert_eq!(saved.state.0, [0, 1, 2, 3, 4, 99]);
    let kept = read_saved::<Numbers>(&before.join("saved")).unwrap();
    assert_eq!(kept.state.0, [0, 1, 2, 3, 4]);

    peers.restart(1);
    assert_eq!(peers.leader(), 1);
    let first = peers.add(5);
    assert!(first.index > kept.applied.unwrap().0);
    let beginning = peers.consensus(1).beginning();
    assert_ne!(beginning, 0);
    assert!(!peers.consensus(1).was_born_alone());

    peers.restart(2);
    peers.restart(3);
    is_soon("the old group has a leader", || {
        let leader = peers.status(2).leader;
        leader.is_some_and(|leader| leader != 1) && peers.status(3).leader == leader
    });
    for (id, number) in [(2, 7), (3, 7), (1, 8)] {
        let consensus = peers.consensus(id);
        // One of the two leads; what either takes is of the old group.
        let _ = peers.wait(consensus.propose(Command::One(number)));
    }
    for (id, numbers) in [
        (1, vec![0, 1, 2, 3, 4, 99, 5, 8]),
        (2, vec![0, 1, 2, 3, 4, 7]),
        (3, vec![0, 1, 2, 3, 4, 7]),
    ] {
        is_soon("each has what its own group decided", || {
            peers.consensus(id).read(|state| state.0 == numbers)
        });
    }
    // The snapshot that it began with is behind it, and its own log is what counts.
    peers.shutdown(1);
    peers.restart(1);
    is_soon("it has all", || {
        peers.consensus(1).read(|state| state.0.last() == Some(&8))
    });
}

#[test]
fn a_folder_that_holds_a_peer_or_half_of_one_is_not_restored_into() {
    let mut peers = Peers::start(1);
    peers.add(1);
    peers.shutdown(1);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("saved");
    let config = peers.config(1);
    peers
        .wait(save(&config.folder, Numbers::default(), &file))
        .unwrap();
    let restore = |group, folder: &std::path::Path| {
        let restored = Restored {
            group,
            folder,
            id: 1,
            address: &config.members[&1],
        };
        peers.wait(restored.from_file(&file, |_: &mut Numbers| {}))
    };
    let occupied = restore(GROUP, &config.folder).unwrap_err();
    assert!(matches!(occupied, SavedError::Occupied), "{occupied:?}");
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let stranger = Restored {
        group: GROUP,
        folder: &folder,
        id: 7,
        address: "h:1",
    };
    let refused = stranger.from_file(&file, |_: &mut Numbers| {});
    let refused = peers.wait(refused).unwrap_err();
    assert!(
        matches!(refused, SavedError::NoMember { id: 7 }),
        "{refused:?}"
    );
    let other = restore(GroupId::from_bytes([3; 16]), &folder).unwrap_err();
    assert!(matches!(other, SavedError::OtherGroup { .. }), "{other:?}");

    // As if the power had gone in the middle.
    fs::create_dir_all(folder.join("restored")).unwrap();
    let new = raft::Config {
        folder: folder.clone(),
        ..config.clone()
    };
    let refused = raft::Newborn::open(new).err().unwrap();
    assert!(matches!(refused, StartError::Unfinished), "{refused:?}");
    fs::create_dir_all(folder.join("log")).unwrap();
    assert_eq!(restore(GROUP, &folder).unwrap().state.0, [1]);
    let again = restore(GROUP, &folder).unwrap_err();
    assert!(matches!(again, SavedError::Occupied), "{again:?}");
}
