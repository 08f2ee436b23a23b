//! A stopped peer's folder is damaged in one way; the peer then says what is wrong and does not serve, or it has
//! lost nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use raft::{Config, Consensus, GroupId, Newborn};
use tempfile::TempDir;

use super::{
    child::{Process, Said},
    disk::{Disk, Filesystem},
};
use crate::peers::{self, Numbers, Peers};

/// Bits that are flipped in each file, spread evenly.
const BITS: u64 = 24;
const NUMBERS: u32 = 150;

/// A peer that was stopped in order: it has a log of some entries, and a snapshot for what it dropped before them.
struct Stopped {
    peers: Peers,
    /// A snapshot from before the log was cut.
    first_snapshot: Vec<u8>,
}

impl Stopped {
    fn new() -> Self {
        let mut peers = Peers::start_with(1, |config| {
            config.snapshot_every = 40;
            config.keep_before_snapshot = 10;
        });
        let mut first_snapshot = Vec::new();
        for number in 0..NUMBERS {
            peers.add(number);
            if first_snapshot.is_empty() && peers.status(1).snapshot_index.is_some() {
                first_snapshot = fs::read(peers.config(1).folder.join("snapshot")).unwrap();
            }
        }
        peers::is_soon("the log is cut", || peers.status(1).purged_index > Some(60));
        peers.shutdown(1);
        Self {
            peers,
            first_snapshot,
        }
    }

    fn folder(&self) -> PathBuf {
        self.peers.config(1).folder
    }

    /// What a start over a copy of the folder says after `damage`; `None` if it serves, and then it serves all.
    fn says(&self, damage: impl FnOnce(&mut Config)) -> Option<String> {
        let place = tempfile::tempdir().unwrap();
        let mut config = self.peers.config(1);
        copy(&config.folder, place.path());
        config.folder = place.path().to_owned();
        damage(&mut config);
        start(&self.peers, config, place)
    }

    fn flipped(&self, file: &str) -> BTreeMap<Option<String>, u64> {
        let length = fs::metadata(self.folder().join(file)).unwrap().len();
        let mut outcomes = BTreeMap::new();
        for bit in 0..BITS {
            let outcome = self.says(|config| {
                change(&config.folder.join(file), |bytes| {
                    bytes[usize::try_from(length * bit / BITS).unwrap()] ^= 1 << (bit % 8);
                });
            });
            *outcomes.entry(outcome).or_default() += 1;
        }
        outcomes
    }
}

/// Starts a peer; gives what it says if it does not serve, in one line.
fn start(peers: &Peers, config: Config, _place: TempDir) -> Option<String> {
    let started = async { Consensus::start(Newborn::open(config)?, Numbers::default()).await };
    match peers.wait(started) {
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
            Some(format!("{error}{cause}"))
        }
        Ok(consensus) => {
            peers::is_soon("the peer leads", || {
                peers
                    .wait(consensus.confirm_leadership(Duration::from_secs(1)))
                    .is_ok()
            });
            let numbers = consensus.read(|state| state.0.clone());
            assert_eq!(
                numbers,
                (0..NUMBERS).collect::<Vec<_>>(),
                "it serves less than it had"
            );
            peers.wait(consensus.shutdown());
            None
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy(&file.path(), &target),
            false => drop(fs::copy(file.path(), target).unwrap()),
        }
    }
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

fn truncate(file: &Path, share: f64) {
    let length = fs::metadata(file).unwrap().len();
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_len((length as f64 * share) as u64).unwrap();
}

#[test]
fn every_damage_has_its_name() {
    let stopped = Stopped::new();
    assert_eq!(stopped.says(|_| {}), None);
    let check = |expected: &str, damage: &dyn Fn(&mut Config)| {
        let said = stopped
            .says(damage)
            .unwrap_or_else(|| panic!("it serves; expected: {expected}"));
        assert!(said.contains(expected), "{said:?} should say {expected:?}");
    };
    let remove =
        |config: &mut Config, name: &str| fs::remove_file(config.folder.join(name)).unwrap();

    check("the log is lost", &|config| {
        fs::remove_dir_all(config.folder.join("log")).unwrap()
    });
    check("the folder holds a log, yet no identity", &|config| {
        remove(config, "identity")
    });
    check("`witness` is gone", &|config| remove(config, "witness"));
    check("`witness` is damaged", &|config| {
        truncate(&config.folder.join("witness"), 0.0)
    });
    check("the snapshot is lost: the log begins after", &|config| {
        remove(config, "snapshot")
    });
    check("it ends at entry", &|config| {
        fs::write(config.folder.join("snapshot"), &stopped.first_snapshot).unwrap();
    });
    for share in [0.0, 0.1, 0.5, 0.99] {
        check("cannot read the snapshot: record", &|config| {
            truncate(&config.folder.join("snapshot"), share);
        });
        check("cannot use the identity of the folder: record", &|config| {
            truncate(&config.folder.join("identity"), share);
        });
        check("`granted` is damaged: record", &|config| {
            truncate(&config.folder.join("granted"), share);
        });
    }
    check("belongs to peer 1, not to 2", &|config| config.id = 2);
    check("belongs to group", &|config| {
        config.group = GroupId::from_bytes([9; 16])
    });
    check("log", &|config| {
        truncate(&config.folder.join("log/db"), 0.0)
    });
    check("log", &|config| remove(config, "log/db"));
    // Then it assumes the longest lease.
    assert_eq!(stopped.says(|config| remove(config, "granted")), None);
    // What is cut off may be dead.
    for file in ["log/db", "log/conf"] {
        for share in [0.0, 0.2, 0.5, 0.9] {
            stopped.says(|config| truncate(&config.folder.join(file), share));
        }
    }
    stopped.says(|config| remove(config, "log/conf"));
}

#[test]
fn a_flipped_bit_is_named_or_harmless() {
    let stopped = Stopped::new();
    for file in ["identity", "snapshot", "granted"] {
        let outcomes = stopped.flipped(file);
        assert!(!outcomes.contains_key(&None), "{file}: {outcomes:#?}");
    }
    // The other note of the witness is older, and still bounds what may be forgotten.
    stopped.flipped("witness");
    stopped.flipped("log/db");
}

/// Starts the program until it serves, all it was told of before included.
fn serves(folder: &Path, before: &Said) {
    let mut process = Process::start(folder);
    assert!(
        process.listen_until(|said| said.is_serving),
        "{:?}",
        process.said.stopped
    );
    for (writer, number) in &before.numbers {
        assert!(
            process.said.numbers.get(writer) >= Some(number),
            "writer {writer} lost {number}"
        );
    }
}

#[test]
fn as_root_a_full_disk_stops_the_peer_and_loses_nothing() {
    let Some(disk) = Disk::new(Filesystem::Ext4) else {
        return;
    };
    let mut process = Process::start(&disk.home());
    assert!(process.listen_until(|said| said.acknowledged > 300));
    let filler = disk.fill();
    // It cannot flush, so it ends.
    let before = process.ended();
    let refused = Process::start(&disk.home()).ended();
    assert!(!refused.is_serving, "{refused:?}");
    fs::remove_file(filler).unwrap();
    serves(&disk.home(), &before);
}

#[test]
fn as_root_a_read_only_disk_is_named() {
    let Some(disk) = Disk::new(Filesystem::Ext4) else {
        return;
    };
    let mut process = Process::start(&disk.home());
    assert!(process.listen_until(|said| said.acknowledged > 300));
    process.kill();
    let before = process.ended();
    disk.restart_read_only();
    let refused = Process::start(&disk.home()).ended();
    let reason = refused.stopped.unwrap();
    assert!(reason.contains("Read-only file system"), "{reason}");
    disk.restart();
    serves(&disk.home(), &before);
}
